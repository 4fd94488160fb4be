//! One bundle under the runtime under test and under runc: the process must see the same.
//!
//! What may differ stands in `integration/differences.md`, each with its reason.

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::oracle::{Facts, same};
use hostrun_integration::pty::Pty;
use hostrun_integration::{Bundle, Runtime, Stage, namespace, on_stage};
use serde_json::json;

const SCRIPT: &str = include_str!("facts.sh");

/// Splits the script's output; namespaces become "own" or "the machine's".
fn parse(text: &str) -> Result<Facts> {
    let mut facts = Facts::new();
    for line in text.lines().filter(|line| line.contains('\t')) {
        let (key, value) = line
            .trim_end_matches('\r')
            .split_once('\t')
            .context("no tab")?;
        let value = match key.strip_prefix("namespace ") {
            Some(kind) if namespace::own(kind)? == value => "the machine's",
            Some(_) => "own",
            None => value,
        };
        let value = if key == "status SigIgn" {
            without_libc_signals(value)?
        } else {
            value.to_owned()
        };
        facts.insert(key.to_owned(), value);
    }
    ensure!(facts.len() > 60, "only {} facts: {text}", facts.len());
    Ok(facts)
}

/// Ignored signals are the caller's. Those from 32 on are left out: libcs keep some for themselves,
/// and a runtime in Go resets others than one in Rust.
fn without_libc_signals(mask: &str) -> Result<String> {
    Ok(format!(
        "{:016x}",
        u64::from_str_radix(mask, 16)? & 0x7fff_ffff
    ))
}

fn run_words(stage: &Stage, bundle: &Bundle) -> Result<Vec<String>> {
    let dir = bundle.write()?.to_string_lossy().into_owned();
    Ok(vec!["run".into(), "--bundle".into(), dir, stage.id()])
}

/// What the payload of `bundle` sees.
fn facts(stage: &Stage, runtime: &Runtime, bundle: &Bundle) -> Result<Facts> {
    let words = run_words(stage, bundle)?;
    parse(&stage.call_of(runtime, words).run()?.ok()?)
}

fn compare(stage: &Stage, bundle: &Bundle) -> Result<()> {
    let theirs = facts(stage, &Runtime::oracle()?, bundle)?;
    same(&facts(stage, stage.runtime(), bundle)?, &theirs)
}

#[test]
fn a_plain_bundle_looks_the_same() -> Result<()> {
    on_stage(|stage| compare(stage, &stage.bundle()?.shell(SCRIPT)))
}

#[test]
fn an_ordinary_user_looks_the_same() -> Result<()> {
    on_stage(|stage| {
        let user = json!({"uid": 1000, "gid": 1000, "umask": 0o027, "additionalGids": [2000]});
        compare(
            stage,
            &stage
                .bundle()?
                .set("/process/user", user)
                .set("/process/cwd", json!("/tmp"))
                .shell(SCRIPT),
        )
    })
}

#[test]
fn a_locked_down_bundle_looks_the_same() -> Result<()> {
    on_stage(|stage| {
        let shared = stage.folder("shared")?;
        let bundle = stage
            .bundle()?
            .set("/root/readonly", json!(true))
            .set("/process/oomScoreAdj", json!(100))
            .set("/linux/sysctl", json!({"kernel.msgmax": "4242", "net.ipv4.ip_forward": "1"}))
            .set("/linux/devices", json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o600, "uid": 3, "gid": 4}]))
            .mount("/run", "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=0755", "size=1m"])
            .bind(&shared, "/volume", &["rbind", "ro", "nosuid"])
            .set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{"names": ["getcpu"], "action": "SCMP_ACT_ERRNO"}]}))
            .capabilities(&[])
            .shell(SCRIPT);
        compare(stage, &bundle)
    })
}

#[test]
fn a_bundle_open_to_the_machine_looks_the_same() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .without_namespace("network")
            .without_namespace("ipc")
            .without_namespace("uts")
            .unset("/hostname")
            .set("/linux/maskedPaths", json!([]))
            .set("/linux/readonlyPaths", json!([]))
            .set("/process/noNewPrivileges", json!(false))
            .unset("/process/rlimits")
            .without_mount("/dev/mqueue")
            .shell(SCRIPT);
        compare(stage, &bundle)
    })
}

#[test]
fn a_user_namespace_looks_the_same() -> Result<()> {
    on_stage(|stage| {
        let mapping = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        let bundle = stage
            .bundle()?
            .namespace("user", None)
            .set("/linux/uidMappings", mapping.clone())
            .set("/linux/gidMappings", mapping)
            .shell(SCRIPT);
        compare(stage, &bundle)
    })
}

#[test]
fn a_payload_at_a_terminal_looks_the_same() -> Result<()> {
    on_stage(|stage| {
        let seen = |runtime: &Runtime| -> Result<Facts> {
            let script = format!("stty -onlcr -echo; {SCRIPT}\necho the-end");
            let bundle = stage.bundle()?.set("/process/terminal", json!(true));
            let bundle = bundle.set(
                "/linux/cgroupsPath",
                json!(format!("{}/tty", stage.cgroup())),
            );
            let words = run_words(stage, &bundle.shell(&script))?;
            let mut pty = Pty::open()?;
            let run = pty.spawn(stage.call_of(runtime, words))?;
            let screen = pty.wait_for("the-end")?;
            run.wait()?;
            parse(&screen)
        };
        // the root of each run is a folder of its own
        let without_root = |mut facts: Facts| {
            facts.remove("mount /");
            facts
        };
        same(
            &without_root(seen(stage.runtime())?),
            &without_root(seen(&Runtime::oracle()?)?),
        )
    })
}

#[test]
fn a_process_of_exec_looks_the_same() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage.bundle()?.shell("sleep 60");
        let seen = |runtime: &Runtime| -> Result<Facts> {
            let id = stage.id();
            let dir = bundle.write()?.to_string_lossy().into_owned();
            for words in [vec!["create", "--bundle", &dir, &id], vec!["start", &id]] {
                stage.call_of(runtime, words).run()?.ok()?;
            }
            let out = stage
                .call_of(runtime, ["exec", &id, "/bin/sh", "-c", SCRIPT])
                .run()?;
            stage
                .call_of(runtime, ["delete", "--force", &id])
                .run()?
                .ok()?;
            parse(&out.ok()?)
        };
        let ours = seen(stage.runtime())?;
        same(&ours, &seen(&Runtime::oracle()?)?)
    })
}
