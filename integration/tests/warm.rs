//! Warm starts of the library, through runtime/examples/warm.rs: what comes out of a pool is what a cold
//! start makes, once, and nothing else is left.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::host::wait_for;
use hostrun_integration::runtime::{Call, Running};
use hostrun_integration::{Bundle, Stage, cgroup, namespace, on_stage_of_hostrun};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use serde_json::json;

const REASON: &str = "it has no pools";

/// The example on a bundle, found beside the binary under test.
fn warm(stage: &Stage, bundle: &Bundle, words: &[&str]) -> Result<Call> {
    let folder = stage.runtime().program().parent().context("no folder")?;
    let program = folder.join("examples/warm");
    ensure!(program.is_file(), "not built: run `make examples`");
    let root = stage.root().to_string_lossy().into_owned();
    let dir = bundle.write()?.to_string_lossy().into_owned();
    let words = [root.as_str(), dir.as_str()]
        .into_iter()
        .chain(words.iter().copied());
    Ok(Call::new(&program, words).within(Duration::from_mins(4)))
}

/// With a root that may be shared.
fn bundle(stage: &Stage) -> Result<Bundle> {
    Ok(stage.bundle()?.set("/root/readonly", json!(true)))
}

/// A full pool that is held, and spoken to through its input.
fn hold(stage: &Stage, bundle: &Bundle, count: &str) -> Result<(Running, fs::File)> {
    let (input, ours) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut running = warm(stage, bundle, &["hold", count])?
        .stdin(input)
        .spawn()?;
    running.wait_for(&format!("{count} ready, 0 more"))?;
    Ok((running, fs::File::from(ours)))
}

fn say(input: &mut fs::File, line: &str) -> Result<()> {
    Ok(std::io::Write::write_all(
        input,
        format!("{line}\n").as_bytes(),
    )?)
}

/// What a process sees of itself and its container; namespaces are "own" or "the machine's".
fn facts(call: Call) -> Result<BTreeMap<String, String>> {
    let text = call.run()?.ok()?;
    let mut facts = BTreeMap::new();
    for (key, value) in text.lines().filter_map(|line| line.split_once('\t')) {
        let value = match key.strip_prefix("namespace ") {
            Some(kind) if namespace::own(kind)? == value => "the machine's",
            Some(_) => "own",
            None => value,
        };
        facts.insert(key.to_owned(), value.to_owned());
    }
    ensure!(facts.len() > 60, "only {} facts: {text}", facts.len());
    Ok(facts)
}

fn same_cold_and_warm(stage: &Stage, bundle: &Bundle) -> Result<()> {
    let bundle = bundle.clone().shell(include_str!("facts.sh"));
    let cold = facts(warm(stage, &bundle, &["cold", &stage.id()])?)?;
    let warm = facts(warm(stage, &bundle, &["run", &stage.id()])?)?;
    let keys = cold.keys().chain(warm.keys());
    for key in keys {
        let (cold, warm) = (cold.get(key), warm.get(key));
        ensure!(cold == warm, "{key}: cold {cold:?}, warm {warm:?}");
    }
    Ok(())
}

#[test]
fn a_plain_container_from_a_pool_is_that_of_a_cold_start() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| same_cold_and_warm(stage, &bundle(stage)?))
}

#[test]
fn a_locked_down_container_from_a_pool_is_that_of_a_cold_start() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let shared = stage.folder("shared")?;
        let bundle = bundle(stage)?
            .set(
                "/process/user",
                json!({"uid": 1000, "gid": 1000, "umask": 0o027, "additionalGids": [2000]}),
            )
            .set("/process/oomScoreAdj", json!(100))
            .set(
                "/linux/sysctl",
                json!({"kernel.msgmax": "4242", "net.ipv4.ip_forward": "1"}),
            )
            .bind(&shared, "/volume", &["rbind", "ro", "nosuid"])
            .set(
                "/linux/seccomp",
                json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                    "syscalls": [{"names": ["getcpu"], "action": "SCMP_ACT_ERRNO"}]}),
            )
            .capabilities(&[]);
        same_cold_and_warm(stage, &bundle)
    })
}

#[test]
fn a_filter_that_a_parked_process_could_not_wait_behind_comes_after_the_wait() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let filter = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["recvmsg", "accept4", "sendto"], "action": "SCMP_ACT_KILL_PROCESS"}]});
        for no_new_privileges in [true, false] {
            let bundle = bundle(stage)?
                .set("/linux/seccomp", filter.clone())
                .set("/process/noNewPrivileges", json!(no_new_privileges));
            same_cold_and_warm(stage, &bundle)?;
        }
        Ok(())
    })
}

#[test]
fn a_container_in_a_user_namespace_from_a_pool_is_that_of_a_cold_start() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        same_cold_and_warm(stage, &bundle(stage)?.mapped()?)
    })
}

#[test]
fn a_sandbox_is_told_its_program_and_says_if_there_is_none() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let bundle = bundle(stage)?;
        let words = [
            "run",
            &stage.id(),
            "sh",
            "-c",
            "echo $# $1; exit 5",
            "a",
            "b c",
        ];
        let out = warm(stage, &bundle, &words)?.run()?;
        assert_eq!((out.stdout().as_str(), out.code()), ("1 b c\n", 5));
        let out = warm(stage, &bundle, &["run", &stage.id(), "/bin/nothere"])?.run()?;
        ensure!(
            out.code() == 127 && out.stderr().contains("no such file"),
            "{}",
            out.stderr()
        );
        let long = "x".repeat(70_000);
        let out = warm(stage, &bundle, &["run", &stage.id(), "true", &long])?.run()?;
        ensure!(out.stderr().contains("process.args"), "{}", out.stderr());
        Ok(())
    })
}

#[test]
fn a_pool_never_gives_the_same_sandbox_twice_nor_makes_more_than_its_bound() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let bundle = bundle(stage)?.shell("readlink /proc/self/ns/net");
        let (mut running, mut input) = hold(stage, &bundle, "3")?;
        for left in (0..3).rev() {
            let id = stage.id();
            say(&mut input, &id)?;
            running.wait_for(&format!("{id}: 0, {left} ready"))?;
        }
        let id = stage.id();
        say(&mut input, &id)?;
        running.wait_for(&format!("none ready\n{id}: 1"))?;
        let text = running.stdout();
        let networks = text.lines().filter(|line| line.starts_with("net:["));
        let networks: std::collections::BTreeSet<&str> = networks.collect();
        ensure!(networks.len() == 3, "not three networks: {text}");
        drop(input);
        running.wait()?.ok().map(drop)
    })
}

#[test]
fn a_sandbox_whose_volume_was_replaced_or_that_died_is_thrown_away() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let volume = stage.folder("volume")?;
        fs::write(volume.join("which"), "old")?;
        let bundle = bundle(stage)?
            .bind(&volume, "/volume", &["bind", "ro"])
            .shell("cat /volume/which");
        let (mut running, mut input) = hold(stage, &bundle, "2")?;
        let groups = || cgroup::below(&stage.cgroup());
        let parked: Vec<_> = groups()
            .into_iter()
            .filter(|group| group.to_string_lossy().contains("parked-"))
            .collect();
        ensure!(parked.len() == 2, "{parked:?}");
        let id = stage.id();
        // the first of them
        let first = parked.iter().min().context("none")?;
        fs::write(first.join("cgroup.kill"), "1")?;
        say(&mut input, &id)?;
        running.wait_for(&format!("{id}: 0, 0 ready"))?;
        ensure!(running.stdout().contains("old"), "{}", running.stdout());
        drop(input);
        running.wait()?.ok()?;

        let (mut running, mut input) = hold(stage, &bundle, "2")?;
        fs::rename(&volume, stage.dir().join("volume-before"))?;
        fs::create_dir(&volume)?;
        let id = stage.id();
        say(&mut input, &id)?;
        running.wait_for(&format!("none ready\n{id}: 1, 0 ready"))?;
        drop(input);
        running.wait()?.ok().map(drop)
    })
}

#[test]
fn parked_sandboxes_die_with_their_holder_and_the_next_pool_takes_the_rest_away() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let bundle = bundle(stage)?;
        let (running, _input) = hold(stage, &bundle, "3")?;
        let parked = || -> Vec<_> {
            let groups = cgroup::below(&stage.cgroup()).into_iter();
            groups
                .filter(|group| group.to_string_lossy().contains("parked-"))
                .collect()
        };
        ensure!(parked().len() == 3, "{:?}", parked());
        running.signal(Signal::KILL)?;
        ensure!(running.wait()?.code() != 0, "it lived");
        wait_for("the end of all that was parked", || {
            let empty = |text: String| text.contains("populated 0");
            parked()
                .iter()
                .all(|group| fs::read_to_string(group.join("cgroup.events")).is_ok_and(empty))
        })?;
        warm(stage, &bundle, &["run", &stage.id()])?.run()?.ok()?;
        ensure!(parked().is_empty(), "{:?}", parked());
        let names = fs::read_dir(stage.root())?.map(|entry| Ok(entry?.file_name()));
        let names: Vec<_> = names.collect::<Result<_>>()?;
        let left = names
            .iter()
            .any(|name| name.to_string_lossy().contains("parked-"));
        ensure!(!left, "{names:?}");
        Ok(())
    })
}

#[test]
fn a_container_that_was_taken_is_an_ordinary_created_one() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let bundle = bundle(stage)?.shell("sleep 60");
        let (mut running, mut input) = hold(stage, &bundle, "2")?;
        let id = stage.id();
        say(&mut input, &format!("keep {id}"))?;
        running.wait_for(&format!("keep {id}: 0, 1 ready"))?;
        drop(input);
        running.wait()?.ok()?;
        // its maker is gone
        let status = |wanted: &str| -> Result<()> {
            let state = stage.call(["state", &id]).run()?.ok()?;
            let state: serde_json::Value = serde_json::from_str(&state)?;
            ensure!(
                state["status"] == wanted && state["id"] == id.as_str(),
                "{state}"
            );
            Ok(())
        };
        status("created")?;
        stage.call(["start", &id]).run()?.ok()?;
        status("running")?;
        let out = stage
            .call(["exec", &id, "cat", "/proc/self/cgroup"])
            .run()?
            .ok()?;
        ensure!(out.lines().any(|line| line == "0::/"), "{out}");
        stage.call(["delete", "--force", &id]).run()?.ok().map(drop)
    })
}

#[test]
fn a_thousand_starts_from_eight_threads_leave_nothing() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let out = warm(stage, &bundle(stage)?, &["threads", "1000", "8"])?.run()?;
        ensure!(out.code() == 0, "{}{}", out.stdout(), out.stderr());
        let wanted =
            "1000 containers from 8 threads\n0 failed\n0 children left\n0 descriptors more\n";
        assert_eq!(out.stdout(), wanted);
        Ok(())
    })
}
