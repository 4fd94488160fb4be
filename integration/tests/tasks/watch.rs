//! What can be seen of containers from outside.

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::client::{Containerd, task};
use hostrun_integration::host;
use hostrun_integration::runtime::Running;
use rustix::process::{Pid, Signal, kill_process};

use super::end;

/// Starts `ctr events`.
fn listen(containerd: &Containerd<'_>) -> Result<Running> {
    let events = containerd.call(&["events"]).spawn()?;
    // it says nothing when it begins to listen, so something happens until it has heard of it
    let noise = containerd.name();
    host::wait_for("ctr to listen", || {
        let words = ["namespaces", "create", &noise];
        let rest = ["namespaces", "remove", &noise];
        containerd.ok(&words).is_ok()
            && containerd.ok(&rest).is_ok()
            && events.stdout().contains(&noise)
    })?;
    Ok(events)
}

/// What `ctr events` says when it has told of a container's whole life, in whichever order that ends.
fn all_of(containerd: &Containerd<'_>, events: Running, name: &str) -> Result<String> {
    let told = |topic: &str| {
        let said = events.stdout();
        let mut own = said.lines().filter(|line| line.contains(name));
        own.any(|line| line.contains(topic))
    };
    // containerd's own shim may end before it has told of the delete
    let deleted = || told("/tasks/delete") || !containerd.journal().is_shim();
    let over = || told("/containers/delete") && deleted();
    let whole = host::wait_for("the events of a whole life", over);
    stop_listening(containerd)?;
    let said = events.wait()?.stdout();
    whole.map(|()| said)
}

/// Ends `ctr events`.
fn stop_listening(containerd: &Containerd<'_>) -> Result<()> {
    // nsenter stands between the test and the process in the world
    for (pid, words) in containerd.world().processes()? {
        if words.ends_with(" events") {
            kill_process(Pid::from_raw(pid).context("no pid")?, Signal::TERM)?;
        }
    }
    Ok(())
}

pub(crate) fn shows_statistics_and_processes(containerd: &Containerd<'_>) -> Result<()> {
    let name = containerd.background(&[], "sleep 61 & while :; do :; done")?;
    let metrics = containerd.ok(&["task", "metrics", &name])?;
    ensure!(
        metrics.contains("cpu") || metrics.contains("pids"),
        "{metrics}"
    );
    let pids = || containerd.ok(&["task", "ps", &name]).unwrap_or_default();
    // a heading and two processes
    host::wait_for("two processes", || pids().lines().count() == 3)?;
    end(containerd, &name)
}

pub(crate) fn tells_events(containerd: &Containerd<'_>) -> Result<()> {
    let events = listen(containerd)?;
    let name = containerd.name();
    let run = containerd.run(&["--rm"], &name, &["sh", "-c", "exit 3"]);
    assert_eq!(run.run()?.code(), 3);
    let told = all_of(containerd, events, &name)?;
    let own: Vec<&str> = told.lines().filter(|line| line.contains(&name)).collect();
    for event in ["create", "start", "exit"] {
        let topic = format!("/tasks/{event}");
        ensure!(
            own.iter().any(|line| line.contains(&topic)),
            "no {topic}: {own:#?}"
        );
    }
    Ok(())
}

pub(crate) fn cleans_up_after_a_shim_that_was_killed(containerd: &Containerd<'_>) -> Result<()> {
    let name = containerd.background(&[], "sleep 81 & sleep 81 & wait")?;
    let (address, _) = task::address(containerd.world(), &name)?;
    super::trouble::kill_shim(containerd, &name)?;
    // containerd calls the shim's binary once more, which force-deletes the container
    host::wait_for("no task", || {
        containerd
            .status(&name)
            .is_ok_and(|now| now.is_empty() || now == "UNKNOWN")
    })?;
    let gone = || {
        let all = containerd.world().processes();
        all.is_ok_and(|all| !all.iter().any(|(_, words)| words.contains("sleep 81")))
    };
    host::wait_for("the container killed", gone)?;
    let socket = containerd
        .world()
        .path(address.trim_start_matches("unix://"));
    // containerd's own shim leaves it
    ensure!(
        !containerd.journal().is_shim() || !socket.exists(),
        "{address} is left"
    );
    containerd.call(&["task", "rm", "--force", &name]).run()?;
    containerd.ok(&["container", "rm", &name]).map(drop)
}

pub(crate) fn tells_what_it_is(containerd: &Containerd<'_>) -> Result<()> {
    // containerd 2.x asks the shim's program for this
    let stock = "io.containerd.runc.v2";
    let (words, expected) = if containerd.journal().is_shim() {
        (containerd.journal().program()?, "io.containerd.hostrun.v1")
    } else {
        (stock, stock)
    };
    let out = containerd.ok(&["plugins", "inspect-runtime", "--runtime", words])?;
    let told: serde_json::Value = serde_json::from_str(&out)?;
    let name = told.pointer("/Name").and_then(serde_json::Value::as_str);
    assert_eq!(name, Some(expected), "{out}");
    let hooks = told.pointer("/Features/hooks").context("no features")?;
    ensure!(hooks.to_string().contains("createRuntime"), "{out}");
    Ok(())
}

pub(crate) fn tells_of_memory_that_ran_out(containerd: &Containerd<'_>) -> Result<()> {
    if !hostrun_integration::cgroup::has_controller("memory") {
        return host::skip(
            "tells_of_memory_that_ran_out",
            "no memory controller: shim_limits.rs has it in the virtual machine",
        );
    }
    let events = listen(containerd)?;
    let name = containerd.name();
    let flags = ["--rm", "--memory-limit", "33554432"];
    // a second process is killed, not the first, which tells of it
    let script = "sh -c 'x=a; while :; do x=$x$x; done'; echo it was $?; exit 9";
    let out = containerd.run(&flags, &name, &["sh", "-c", script]).run()?;
    assert_eq!(out.code(), 9, "{}", out.stderr());
    assert_eq!(out.stdout(), "it was 137\n");
    let told = all_of(containerd, events, &name)?;
    let place = |topic: &str| {
        let mut lines = told.lines().filter(|line| line.contains(&name));
        lines
            .position(|line| line.contains(topic))
            .context(topic.to_owned())
    };
    ensure!(place("/tasks/oom")? < place("/tasks/exit")?, "{told}");
    Ok(())
}

pub(crate) fn checkpoints(containerd: &Containerd<'_>) -> Result<()> {
    let check = containerd.world().call(["criu", "check"]).run();
    if !check.is_ok_and(|check| check.code() == 0) {
        return host::skip(
            "checkpoints",
            "criu does not work on this kernel: see make test-vm",
        );
    }
    let name = containerd.background(&[], "sleep 60")?;
    let images = containerd.world().dir().join(containerd.name());
    let path = images.to_string_lossy();
    containerd.ok(&["task", "checkpoint", "--image-path", &path, &name])?;
    ensure!(images.join("inventory.img").is_file(), "no images");
    assert_eq!(containerd.status(&name)?, "RUNNING");
    end(containerd, &name)
}
