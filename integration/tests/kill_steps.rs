//! The runtime is killed at every step of every verb that changes a container. Afterwards the
//! container is gone or whole, and `delete --force` leaves nothing of it.
//!
//! A step is a system call. One call of the verb is traced to learn them; then strace sends SIGKILL
//! at the entry of each, by its name and how many of that name came before.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hostrun_integration::runtime::PATIENCE;
use hostrun_integration::{Bundle, Stage, cgroup, host, on_stage_of_hostrun};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::process::{Process, Syscall};
use serde_json::{Value, json};

/// `make test` tries one step of so many, another one in each verb; `make test-long` tries all.
fn stride() -> usize {
    match std::env::var("HOSTRUN_TEST_CHURN") {
        Ok(_) => 1,
        Err(_) => 9,
    }
}

/// A system call: its name, and the how many-th of that name it is.
type Step = (String, usize);

/// Calls the runtime to its end and lists its system calls.
fn steps(stage: &Stage, words: &[&str]) -> Result<Vec<Step>> {
    let trace = stage.dir().join("trace");
    let path = trace.to_string_lossy().into_owned();
    let strace = ["strace", "-qq", "-s", "0", "-o", &path];
    stage.call(words).under(strace).run()?.ok()?;
    let mut counts = BTreeMap::<String, usize>::new();
    let text = fs::read_to_string(&trace)?;
    let names = text.lines().filter_map(|line| line.split_once('('));
    let steps = names.filter(|(name, _)| name.chars().all(|c| c.is_alphanumeric() || c == '_'));
    let step = |(name, _): (&str, &str)| {
        let count = counts.entry(name.to_owned()).or_default();
        *count += 1;
        (name.to_owned(), *count)
    };
    Ok(steps.map(step).collect())
}

/// Calls the runtime and kills it at a step. Was it killed?
fn killed(stage: &Stage, words: &[&str], (name, number): &Step) -> Result<bool> {
    let inject = format!("inject={name}:signal=KILL:when={number}");
    let strace = ["strace", "-qq", "-o", "/dev/null", "-e", &inject];
    let out = stage.call(words).under(strace).run()?;
    // strace ends as what it traced did
    Ok(out.code() == 1009 || out.code() == 137)
}

/// The container's status once nothing moves any more; `None` where there is none.
fn settled(stage: &Stage, id: &str) -> Result<Option<String>> {
    let end = Instant::now() + PATIENCE;
    loop {
        let out = stage.call(["state", id]).run()?;
        if out.code() != 0 {
            return Ok(None);
        }
        let state: Value = serde_json::from_str(&out.stdout())?;
        let status = state.get("status").and_then(Value::as_str);
        let status = status.context("no status")?.to_owned();
        if status != "creating" {
            return Ok(Some(status));
        }
        ensure!(Instant::now() < end, "half made for ever: {state}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn force(stage: &Stage, bundle: &Bundle, id: &str) -> Result<()> {
    stage.call(["delete", "--force", id]).run()?.ok()?;
    ensure!(!stage.root().join(id).exists(), "its state is left");
    let group = cgroup::dir(&bundle.cgroup()?);
    ensure!(!group.exists(), "its cgroup is left");
    let mounts = stage.mounts()?;
    let name = stage.dir().to_string_lossy().into_owned();
    ensure!(
        !mounts.iter().any(|line| line.contains(&name)),
        "a mount is left"
    );
    Ok(())
}

/// Whoever is created can be started, whoever runs has its program.
fn is_whole(stage: &Stage, bundle: &Bundle, id: &str, status: &str) -> Result<()> {
    let procs = cgroup::read(&bundle.cgroup()?, "cgroup.procs").unwrap_or_default();
    match status {
        "created" => stage.call(["start", id]).run()?.ok().map(drop),
        "running" => {
            ensure!(!procs.is_empty(), "nothing runs in it");
            Ok(())
        }
        "stopped" => Ok(()),
        other => bail!("it is {other}"),
    }
}

/// Kills `verb` step by step. `make` brings the container to where the verb is called.
fn every_step(
    stage: &Stage,
    verb: &str,
    bundle: &Bundle,
    make: impl Fn(&str) -> Result<()>,
) -> Result<()> {
    let dir = bundle.write()?.to_string_lossy().into_owned();
    let words = |id: &str| -> Vec<String> {
        let words = match verb {
            "create" | "run" => vec![verb, "--bundle", &dir, id],
            _ => vec![verb, id],
        };
        words.into_iter().map(str::to_owned).collect()
    };
    let id = stage.id();
    make(&id)?;
    let call = words(&id);
    let call: Vec<&str> = call.iter().map(String::as_str).collect();
    let steps = steps(stage, &call)?;
    force(stage, bundle, &id)?;
    let (mut seen, mut kills, mut tries) = (BTreeMap::<String, usize>::new(), 0, 0);
    // the last steps of all, when everything is done but to say so, are always tried
    let last = steps.len().saturating_sub(4);
    let tried = steps.iter().enumerate();
    for (index, step) in tried.filter(|(index, _)| index % stride() == 0 || *index >= last) {
        let id = stage.id();
        make(&id)?;
        let call = words(&id);
        let call: Vec<&str> = call.iter().map(String::as_str).collect();
        tries += 1;
        kills += usize::from(killed(stage, &call, step)?);
        let check = || -> Result<String> {
            let status = settled(stage, &id)?;
            // what is being deleted may be killed already, and dies while we look
            if let Some(status) = status.as_ref().filter(|_| verb != "delete") {
                is_whole(stage, bundle, &id, status)?;
            }
            force(stage, bundle, &id)?;
            Ok(status.unwrap_or_else(|| "gone".to_owned()))
        };
        let status = check().with_context(|| format!("{verb} killed at step {index}: {step:?}"))?;
        *seen.entry(status).or_default() += 1;
    }
    // a step that comes earlier or not at all in another call kills nobody
    ensure!(
        kills > 4 && 2 * kills > tries,
        "{verb} was killed {kills} times in {tries} tries, of {} steps: {seen:?}",
        steps.len()
    );
    Ok(())
}

/// With hooks of every kind, so that their steps are among those.
fn hooked(bundle: Bundle) -> Bundle {
    let hook = json!([{"path": "/bin/true"}]);
    let kinds = [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ];
    kinds.into_iter().fold(bundle, |bundle, kind| {
        bundle.set(&format!("/hooks/{kind}"), hook.clone())
    })
}

fn at_every_step(verb: &str, seconds: &str, made: &[&str]) -> Result<()> {
    on_stage_of_hostrun("its steps are its own", |stage| {
        for hooks in [false, true] {
            let bundle = stage.bundle()?.args(&["/bin/sleep", seconds]);
            let bundle = if hooks { hooked(bundle) } else { bundle };
            let dir = bundle.write()?.to_string_lossy().into_owned();
            every_step(stage, verb, &bundle, |id| {
                for before in made {
                    let words = match *before {
                        "create" => vec!["create", "--bundle", &dir, id],
                        other => vec![other, id],
                    };
                    stage.call(words).run()?.ok()?;
                }
                Ok(())
            })
            .with_context(|| format!("hooks: {hooks}"))?;
        }
        ensure!(
            fs::read_dir(stage.root())?.next().is_none(),
            "state is left"
        );
        Ok(())
    })
}

#[test]
fn a_container_is_gone_or_whole_when_create_is_killed_at_any_step() -> Result<()> {
    at_every_step("create", "60", &[])
}

#[test]
fn a_container_is_gone_or_whole_when_run_is_killed_at_any_step() -> Result<()> {
    at_every_step("run", "0.3", &[])
}

#[test]
fn a_container_is_created_or_started_when_start_is_killed_at_any_step() -> Result<()> {
    at_every_step("start", "60", &["create"])
}

#[test]
fn delete_can_be_finished_when_it_is_killed_at_any_step() -> Result<()> {
    at_every_step("delete", "60", &["create"])
}

fn is_in(process: &Process, call: i64) -> bool {
    let at = process.syscall();
    matches!(at, Ok(Syscall::Blocked { syscall_number, .. }) if syscall_number == call)
}

/// Its creator was slow, and died before it wrote down whom it made.
#[test]
fn a_container_that_nobody_wrote_down_is_deleted_by_force() -> Result<()> {
    on_stage_of_hostrun("its steps are its own", |stage| {
        let bundle = stage.bundle()?.args(&["/bin/sleep", "60"]);
        let dir = bundle.write()?.to_string_lossy().into_owned();
        let id = stage.id();
        let steps = steps(stage, &["create", "--bundle", &dir, &id])?;
        force(stage, &bundle, &id)?;
        let writes = steps.iter().filter(|(name, _)| name == "write").count();
        let inject = format!("inject=write:delay_enter=60s:when={writes}");
        let id = stage.id();
        let words = ["create", "--bundle", &dir, &id];
        let strace = ["strace", "-qq", "-o", "/dev/null", "-e", &inject];
        let creation = stage.call(words).under(strace).spawn()?;
        let (group, mut creator) = (bundle.cgroup()?, None);
        host::wait_for("a process that waits to be started", || {
            let procs = cgroup::read(&group, "cgroup.procs").unwrap_or_default();
            let pid = procs.trim().parse().ok();
            let process = pid.and_then(|pid| Process::new(pid).ok());
            let waits = process.filter(|process| is_in(process, nix::libc::SYS_accept4));
            creator = waits.and_then(|process| Some(process.stat().ok()?.ppid));
            creator.is_some()
        })?;
        let creator = Pid::from_raw(creator.context("no creator")?);
        kill(creator, Signal::SIGKILL)?;
        // strace would wait for the end of the delay
        kill(Pid::from_raw(creation.pid()), Signal::SIGKILL)?;
        creation.wait()?;
        force(stage, &bundle, &id)
    })
}
