//! Those who are killed: containerd, the shim, both.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::client::Containerd;
use hostrun_integration::host;
use rustix::process::{Pid, Signal, kill_process};

use super::{end, exec, remove};

/// Kills these, as the machine does.
pub(crate) fn kill(pids: &[i32]) -> Result<()> {
    for pid in pids {
        kill_process(Pid::from_raw(*pid).context("no pid")?, Signal::KILL)?;
    }
    Ok(())
}

/// Kills the shim that has a container.
pub(crate) fn kill_shim(containerd: &Containerd<'_>, name: &str) -> Result<()> {
    let all = containerd.world().processes()?.into_iter();
    let shims = all.filter(|(_, words)| words.contains("containerd-shim") && words.contains(name));
    let pids: Vec<i32> = shims.map(|(pid, _)| pid).collect();
    ensure!(!pids.is_empty(), "no shim of {name}");
    kill(&pids)
}

/// Whether anything in the world runs these words.
fn runs(containerd: &Containerd<'_>, words: &str) -> bool {
    let all = containerd.world().processes().unwrap_or_default();
    all.iter().any(|(_, running)| running.ends_with(words))
}

/// containerd 2.x that comes back takes a shim without processes for one that never had a container, and
/// its own shim tells of no processes when the container has ended.
fn forgets_the_dead(containerd: &Containerd<'_>) -> bool {
    containerd.world().has_newer_programs() && !containerd.journal().is_shim()
}

pub(crate) fn keeps_exit_codes_while_containerd_is_dead(containerd: &Containerd<'_>) -> Result<()> {
    let dir = containerd.world().dir().join(containerd.name());
    fs::create_dir(&dir)?;
    let mount = format!("type=bind,src={},dst=/data,options=rbind:rw", dir.display());
    let log = dir.join("log");
    let uri = format!("file://{}", log.display());
    let wait = "while [ ! -e /data/go ]; do sleep 0.02; done; echo went on";
    let flags = ["--mount", &mount, "--log-uri", &uri];
    let ends = containerd.background(&flags, &format!("{wait}; exit 42"))?;
    let stays = containerd.background(&flags, &format!("{wait}; sleep 77"))?;
    let paused = containerd.background(&[], "sleep 78")?;
    containerd.ok(&["task", "pause", &paused])?;

    containerd.kill_daemon()?;
    fs::write(dir.join("go"), "")?;
    let said = || fs::read_to_string(&log).unwrap_or_default();
    host::wait_for("both to go on", || said().matches("went on").count() == 2)?;
    // its exit is told to nobody
    host::wait_for("one's end", || !runs(containerd, "exit 42"))?;
    containerd.start_daemon()?;

    if forgets_the_dead(containerd) {
        containerd.wait_until(&ends, "")?;
    } else {
        containerd.wait_until(&ends, "STOPPED")?;
    }
    let removed = containerd.call(&["task", "rm", &ends]).run()?;
    let told = removed.stderr();
    let known = told.contains("exit code 42") || removed.code() == 42;
    ensure!(known || forgets_the_dead(containerd), "{told}");
    containerd.ok(&["container", "rm", &ends])?;
    assert_eq!(containerd.status(&stays)?, "RUNNING");
    let out = exec(containerd, &[], &stays, &["echo", "beside"]).run()?;
    assert_eq!(out.ok()?, "beside\n");
    assert_eq!(containerd.status(&paused)?, "PAUSED");
    containerd.ok(&["task", "resume", &paused])?;
    end(containerd, &paused)?;
    end(containerd, &stays)
}

pub(crate) fn tells_events_of_the_time_containerd_was_dead(
    containerd: &Containerd<'_>,
) -> Result<()> {
    let dir = containerd.world().dir().join(containerd.name());
    fs::create_dir(&dir)?;
    let mount = format!("type=bind,src={},dst=/data,options=rbind:rw", dir.display());
    let script = "while [ ! -e /data/go ]; do sleep 0.02; done; exit 43";
    let name = containerd.background(&["--mount", &mount], script)?;
    containerd.kill_daemon()?;
    fs::write(dir.join("go"), "")?;
    host::wait_for("its end", || !runs(containerd, "exit 43"))?;
    containerd.start_daemon()?;
    // whoever waits is told, though the event was for another daemon
    let status = if forgets_the_dead(containerd) {
        ""
    } else {
        "STOPPED"
    };
    containerd.wait_until(&name, status)?;
    remove(containerd, &name)
}

pub(crate) fn cleans_up_when_shim_and_containerd_were_killed(
    containerd: &Containerd<'_>,
) -> Result<()> {
    let name = containerd.background(&[], "sleep 79 & sleep 79 & wait")?;
    containerd.kill_daemon()?;
    kill_shim(containerd, &name)?;
    containerd.start_daemon()?;
    host::wait_for("the container killed", || !runs(containerd, "sleep 79"))?;
    let gone = || {
        containerd
            .status(&name)
            .is_ok_and(|now| now.is_empty() || now == "UNKNOWN")
    };
    host::wait_for("no task", gone)?;
    containerd.call(&["task", "rm", "--force", &name]).run()?;
    containerd.ok(&["container", "rm", &name]).map(drop)
}

pub(crate) fn cleans_up_when_the_shim_of_a_paused_container_was_killed(
    containerd: &Containerd<'_>,
) -> Result<()> {
    let name = containerd.background(&[], "sleep 80 & sleep 80 & wait")?;
    containerd.ok(&["task", "pause", &name])?;
    kill_shim(containerd, &name)?;
    host::wait_for("the container killed", || !runs(containerd, "sleep 80"))?;
    containerd.call(&["task", "rm", "--force", &name]).run()?;
    containerd.ok(&["container", "rm", &name]).map(drop)
}
