//! Warm starts of the library, through runtime/examples/warm.rs: what comes out of a pool is what a cold
//! start makes, once, and nothing else is left.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use hostrun_integration::host::wait_for;
use hostrun_integration::runtime::Call;
use hostrun_integration::warm::{Holder, bundle, call, parked};
use hostrun_integration::{Bundle, Stage, namespace, on_stage_of_hostrun};
use rustix::process::Signal;
use serde_json::json;

const REASON: &str = "it has no pools";

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
    ensure!(facts.len() > 200, "only {} facts: {text}", facts.len());
    Ok(facts)
}

/// Out of a pool in two steps or one, and of a process that was created by the one that starts it.
fn same_cold_and_warm(stage: &Stage, bundle: &Bundle) -> Result<()> {
    let bundle = bundle.clone().shell(include_str!("facts.sh"));
    let cold = facts(call(stage, &bundle, &["cold", &stage.id()])?)?;
    for how in ["take", "run", "line"] {
        let warm = facts(call(stage, &bundle, &[how, &stage.id()])?)?;
        let keys = cold.keys().chain(warm.keys());
        for key in keys {
            let (cold, warm) = (cold.get(key), warm.get(key));
            ensure!(cold == warm, "{key}: cold {cold:?}, {how} {warm:?}");
        }
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
fn a_container_with_a_terminal_from_a_pool_is_that_of_a_cold_start() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let size = json!({"height": 33, "width": 77});
        let bundle = bundle(stage)?
            .set("/process/terminal", json!(true))
            .set("/process/consoleSize", size);
        same_cold_and_warm(stage, &bundle)
    })
}

#[test]
fn a_sandbox_is_told_its_program_and_says_if_there_is_none() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let bundle = bundle(stage)?;
        let long = "x".repeat(70_000);
        for how in ["take", "run"] {
            let tell = |words: &[&str]| {
                let id = stage.id();
                let words = [&[how, id.as_str()], words].concat();
                let out = call(stage, &bundle, &words)?.run()?;
                // a start that fails leaves a container that was created
                stage.call(["delete", "--force", &id]).run()?.ok()?;
                anyhow::Ok(out)
            };
            let out = tell(&["sh", "-c", "echo $# $1; exit 5", "a", "b c"])?;
            assert_eq!((out.stdout().as_str(), out.code()), ("1 b c\n", 5));
            for (program, code, text) in [
                ("/bin/nothere", 127, "no such file"),
                ("/etc/passwd", 126, "permission denied"),
                ("/proc/self/exe", 126, "magic link"),
            ] {
                let out = tell(&[program])?;
                ensure!(
                    out.code() == code && out.stderr().contains(text),
                    "{how} {program}: {} {}",
                    out.code(),
                    out.stderr()
                );
            }
            let out = tell(&["true", &long])?;
            ensure!(out.stderr().contains("process.args"), "{}", out.stderr());
        }
        Ok(())
    })
}

#[test]
fn a_pool_never_gives_the_same_sandbox_twice_nor_makes_more_than_its_bound() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let bundle = bundle(stage)?.shell("readlink /proc/self/ns/net");
        let mut holder = Holder::new(stage, &bundle, 3)?;
        for left in (0..3).rev() {
            holder.ask(&stage.id(), &format!("0, {left} ready"))?;
        }
        let id = stage.id();
        holder.say(&id)?;
        holder.running.wait_for(&format!("none ready\n{id}: 1"))?;
        let text = holder.end()?;
        let networks = text.lines().filter(|line| line.starts_with("net:["));
        let networks: std::collections::BTreeSet<&str> = networks.collect();
        ensure!(networks.len() == 3, "not three networks: {text}");
        Ok(())
    })
}

#[test]
fn parked_sandboxes_die_with_their_holder_and_the_next_pool_takes_the_rest_away() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let bundle = bundle(stage)?;
        let holder = Holder::new(stage, &bundle, 3)?;
        ensure!(parked(stage).len() == 3, "{:?}", parked(stage));
        holder.running.signal(Signal::KILL)?;
        ensure!(holder.running.wait()?.code() != 0, "it lived");
        wait_for("the end of all that was parked", || {
            let empty = |text: String| text.contains("populated 0");
            parked(stage)
                .iter()
                .all(|group| fs::read_to_string(group.join("cgroup.events")).is_ok_and(empty))
        })?;
        call(stage, &bundle, &["take", &stage.id()])?.run()?.ok()?;
        ensure!(parked(stage).is_empty(), "{:?}", parked(stage));
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
        let mut holder = Holder::new(stage, &bundle, 2)?;
        let id = stage.id();
        holder.ask(&format!("keep {id}"), "0, 1 ready")?;
        holder.end()?;
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
        let threads = call(stage, &bundle(stage)?, &["threads", "1000", "8"])?;
        let out = threads.within(Duration::from_mins(4)).run()?;
        ensure!(out.code() == 0, "{}{}", out.stdout(), out.stderr());
        let wanted =
            "1000 containers from 8 threads\n0 failed\n0 children left\n0 descriptors more\n";
        assert_eq!(out.stdout(), wanted);
        Ok(())
    })
}
