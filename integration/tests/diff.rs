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

/// What the process sees that `words` and the script start in a container of `bundle`.
fn seen_by_exec(
    stage: &Stage,
    runtime: &Runtime,
    bundle: &Bundle,
    words: &[&str],
) -> Result<Facts> {
    let id = stage.id();
    let dir = bundle.write()?.to_string_lossy().into_owned();
    for words in [vec!["create", "--bundle", &dir, &id], vec!["start", &id]] {
        stage.call_of(runtime, words).run()?.ok()?;
    }
    let at_terminal = words.contains(&"--tty");
    let before = if at_terminal {
        "stty -onlcr -echo; "
    } else {
        ""
    };
    let script = format!("{before}{SCRIPT}\necho the-end");
    let words = [&["exec"], words, &[&id, "/bin/sh", "-c", &script]].concat();
    let call = stage.call_of(runtime, words);
    let text = if at_terminal {
        let mut pty = Pty::open()?;
        let exec = pty.spawn(call)?;
        let screen = pty.wait_for("the-end")?;
        exec.wait()?;
        screen
    } else {
        call.run()?.ok()?
    };
    let delete = stage.call_of(runtime, ["delete", "--force", &id]);
    delete.run()?.ok()?;
    parse(&text)
}

/// The root of each bundle is a folder of its own.
fn compare_exec(stage: &Stage, bundle: &Bundle, words: &[&str]) -> Result<()> {
    let ours = seen_by_exec(stage, stage.runtime(), bundle, words)?;
    same(
        &ours,
        &seen_by_exec(stage, &Runtime::oracle()?, bundle, words)?,
    )
}

#[test]
fn a_process_of_exec_looks_the_same() -> Result<()> {
    on_stage(|stage| compare_exec(stage, &stage.bundle()?.shell("sleep 60"), &[]))
}

#[test]
fn a_process_of_exec_at_a_terminal_looks_the_same() -> Result<()> {
    on_stage(|stage| compare_exec(stage, &stage.bundle()?.shell("sleep 60"), &["--tty"]))
}

#[test]
fn a_process_of_exec_as_another_user_looks_the_same() -> Result<()> {
    on_stage(|stage| {
        // Go raises the soft limit of open files in `runc init`, sometimes after runc has set it
        let limits = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
        let bundle = stage
            .bundle()?
            .set("/process/rlimits", limits)
            .set("/process/oomScoreAdj", json!(77))
            .capabilities(&["CAP_KILL", "CAP_CHOWN"])
            .shell("sleep 60");
        let user = ["--user", "1000:1000", "--additional-gids", "2000"];
        let words = ["--cwd", "/tmp", "--env", "A=b c", "--cap", "CAP_SYS_TIME"];
        compare_exec(stage, &bundle, &[&user[..], &words[..]].concat())?;
        compare_exec(stage, &bundle, &["--user", "1000", "--no-new-privs"])
    })
}

#[test]
fn a_process_of_exec_in_a_locked_down_container_looks_the_same() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .set("/root/readonly", json!(true))
            .set(
                "/linux/seccomp",
                json!({"defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{"names": ["getcpu"], "action": "SCMP_ACT_ERRNO"}]}),
            )
            .capabilities(&[])
            .shell("sleep 60");
        compare_exec(stage, &bundle, &[])
    })
}

#[test]
fn a_process_of_exec_in_a_user_namespace_looks_the_same() -> Result<()> {
    on_stage(|stage| {
        let mapping = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        let bundle = stage
            .bundle()?
            .namespace("user", None)
            .set("/linux/uidMappings", mapping.clone())
            .set("/linux/gidMappings", mapping)
            .shell("sleep 60");
        compare_exec(stage, &bundle, &[])?;
        compare_exec(stage, &bundle, &["--user", "1000:1000"])
    })
}
