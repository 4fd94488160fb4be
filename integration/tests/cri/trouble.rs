//! containerd and shims that are killed.

use std::fs;

use anyhow::{Result, ensure};
use hostrun_integration::client::cri::answer::state;
use hostrun_integration::client::cri::message::Mount;
use hostrun_integration::client::{Containerd, Cri};
use hostrun_integration::host;
use rustix::process::{Pid, Signal, kill_process};

use super::{STAYS, plain, usual};

/// containerd 2.x that comes back takes a shim that tells of no processes for one that never had a container.
fn forgets_the_dead(cri: &Cri<'_>) -> bool {
    cri.world().has_newer_programs() && !cri.journal().is_shim()
}

pub(crate) fn goes_on_while_containerd_is_dead(cri: &Cri<'_>) -> Result<()> {
    let daemon = Containerd::new(cri.world(), cri.journal());
    let pod = cri.pod(plain)?;
    let volume = cri.world().dir().join(format!("volume-{}", pod.id));
    fs::create_dir(&volume)?;
    let mount = Mount {
        container: "/volume".to_owned(),
        host: volume.to_string_lossy().into_owned(),
        ..Mount::default()
    };
    let wait = "echo waits; while [ ! -e /volume/go ]; do sleep 0.02; done; touch /volume/";
    let ends = pod.start(&format!("{wait}ended; exit 42"), |config, _| {
        config.mounts.push(mount.clone());
    })?;
    let stays = pod.start(
        &format!("{wait}goes-on; while :; do echo goes on; sleep 0.1; done"),
        |config, _| config.mounts.push(mount.clone()),
    )?;
    let created = pod.create(STAYS, usual)?;

    daemon.kill_daemon()?;
    fs::write(volume.join("go"), "")?;
    host::wait_for("both to go on", || {
        ["ended", "goes-on"]
            .iter()
            .all(|name| volume.join(name).exists())
    })?;
    daemon.start_daemon()?;
    cri.wait_until_ready()?;

    assert_eq!(pod.status()?.state, 0, "the pod is not ready");
    let status = ends.wait()?;
    ensure!(
        status.exit_code == 42 || forgets_the_dead(cri),
        "{status:?}"
    );
    assert_eq!(stays.status()?.state, state::RUNNING);
    assert_eq!(stays.shell("echo here")?, "here\n");
    // its output finds its way again
    host::wait_for("its log", || {
        stays.wrote().is_ok_and(|wrote| wrote.contains("goes on"))
    })?;
    created.start()?;
    created.stop(30)?;
    assert_eq!(created.status()?.exit_code, 5);
    let more = pod.start("exit 3", usual)?;
    assert_eq!(more.wait()?.exit_code, 3);
    pod.remove()
}

pub(crate) fn is_removed_when_its_shim_was_killed(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(plain)?;
    let containers = [pod.start(STAYS, usual)?, pod.start(STAYS, usual)?];
    let all = cri.world().processes()?.into_iter();
    let shims =
        all.filter(|(_, words)| words.contains("containerd-shim") && words.contains(&pod.id));
    let shims: Vec<i32> = shims.map(|(pid, _)| pid).collect();
    assert_eq!(shims.len(), 1, "one shim for a pod");
    for pid in shims.into_iter().filter_map(Pid::from_raw) {
        kill_process(pid, Signal::KILL)?;
    }
    host::wait_for("the pod to be known as dead", || {
        pod.status().is_ok_and(|status| status.state == 1)
    })?;
    for container in &containers {
        ensure!(container.wait()?.exit_code != 0, "nobody saw its end");
    }
    // the kubelet makes another in its place
    let next = cri.pod(plain)?;
    assert_eq!(next.told("echo next", usual)?, "next\n");
    pod.remove()?;
    next.remove()
}
