//! What the containers of a pod have together, and with the machine.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::client::Cri;
use hostrun_integration::client::cri::message::{
    Mount, Namespaces, PodConfig, PodLinux, PodSecurity, of,
};
use hostrun_integration::client::cri::{Container, Pod};
use hostrun_integration::host;

use super::{STAYS, plain, usual};

/// A pod whose namespaces are of these kinds.
fn pod<'a>(cri: &'a Cri<'_>, network: i32, pid: i32, ipc: i32) -> Result<Pod<'a>> {
    cri.pod(|config, security| with(config, security, network, pid, ipc))
}

fn with(config: &mut PodConfig, security: &mut PodSecurity, network: i32, pid: i32, ipc: i32) {
    if network == of::POD {
        "pod-of-its-own".clone_into(&mut config.hostname);
    }
    security.namespaces = Some(Namespaces {
        network,
        pid,
        ipc,
        ..Namespaces::default()
    });
}

/// The namespace of a container, as it sees it.
fn namespace(container: &Container<'_>, kind: &str) -> Result<String> {
    container.shell(&format!("readlink /proc/self/ns/{kind}"))
}

/// The same of the machine.
fn of_the_machine(cri: &Cri<'_>, kind: &str) -> Result<String> {
    let link = format!("/proc/self/ns/{kind}");
    cri.world().call(["readlink", &link]).run()?.ok()
}

/// Whether any process of the machine has these words.
fn runs(cri: &Cri<'_>, words: &str) -> bool {
    let all = cri.world().processes().unwrap_or_default();
    all.iter().any(|(_, running)| running == words)
}

pub(crate) fn shares_processes_where_the_pod_does(cri: &Cri<'_>) -> Result<()> {
    let pod = pod(cri, of::NODE, of::POD, of::POD)?;
    let first = pod.start("sleep 7201 & sleep 7202", usual)?;
    let second = pod.start(STAYS, usual)?;
    assert_eq!(namespace(&first, "pid")?, namespace(&second, "pid")?);
    ensure!(namespace(&first, "pid")? != of_the_machine(cri, "pid")?);
    // process 1 is the pod's own
    assert_eq!(second.shell("cat /proc/1/comm")?, "catatonit\n");
    let seen = second.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")?;
    ensure!(
        seen.contains("sleep 7201") && seen.contains("sleep 7202"),
        "{seen}"
    );
    // all of the one end with it, and nobody else
    first.stop(0)?;
    assert_eq!(first.status()?.exit_code, 137);
    host::wait_for("the end of all of it", || {
        !runs(cri, "sleep 7201") && !runs(cri, "sleep 7202")
    })?;
    assert_eq!(second.shell("echo here")?, "here\n");
    let third = pod.start("echo started again; exit 3", usual)?;
    assert_eq!(third.wait()?.exit_code, 3);
    pod.remove()?;
    ensure!(!runs(cri, "sleep 0.05"), "something is left");

    // the machine's own
    let pod = self::pod(cri, of::NODE, of::NODE, of::NODE)?;
    let container = pod.start(STAYS, usual)?;
    for kind in ["pid", "ipc", "net"] {
        assert_eq!(
            namespace(&container, kind)?,
            of_the_machine(cri, kind)?,
            "{kind}"
        );
    }
    container.stop(0)?;
    pod.remove()
}

pub(crate) fn shares_the_processes_of_one_container_with_another(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(plain)?;
    let target = pod.start("sleep 7301", usual)?;
    let alone = pod.start(STAYS, usual)?;
    ensure!(namespace(&target, "pid")? != namespace(&alone, "pid")?);
    let looks = pod.start(STAYS, |_, security| {
        if let Some(namespaces) = &mut security.namespaces {
            namespaces.pid = of::TARGET;
            namespaces.target.clone_from(&target.id);
        }
    })?;
    assert_eq!(namespace(&looks, "pid")?, namespace(&target, "pid")?);
    assert_eq!(looks.shell("tr '\\0' ' ' </proc/1/cmdline")?, "sleep 7301 ");
    // through it the files of the one are seen by the other
    target.shell("echo seen >/tmp/file")?;
    assert_eq!(looks.shell("cat /proc/1/root/tmp/file")?, "seen\n");
    looks.stop(30)?;
    assert_eq!(looks.status()?.exit_code, 5);
    assert_eq!(target.shell("echo here")?, "here\n");
    pod.remove()
}

pub(crate) fn shares_ipc_and_memory_and_nothing_else(cri: &Cri<'_>) -> Result<()> {
    let pods = [cri.pod(plain)?, cri.pod(plain)?];
    let mut seen = Vec::new();
    for pod in &pods {
        let (first, second) = (pod.start(STAYS, usual)?, pod.start(STAYS, usual)?);
        first.shell("echo shared >/dev/shm/file; echo own >/tmp/file")?;
        let found = second.shell("cat /dev/shm/file; ls /tmp")?;
        assert_eq!(found, "shared\n");
        assert_eq!(namespace(&first, "ipc")?, namespace(&second, "ipc")?);
        ensure!(namespace(&first, "mnt")? != namespace(&second, "mnt")?);
        seen.push(namespace(&first, "ipc")?);
        seen.push(of_the_machine(cri, "ipc")?);
    }
    // one of each pod, and the machine's twice
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3, "{seen:?}");
    for pod in pods {
        pod.remove()?;
    }
    Ok(())
}

pub(crate) fn has_a_network_of_its_own(cri: &Cri<'_>) -> Result<()> {
    let pods = [
        pod(cri, of::POD, of::CONTAINER, of::POD)?,
        pod(cri, of::POD, of::CONTAINER, of::POD)?,
    ];
    let mut found = Vec::new();
    for pod in &pods {
        let address = pod.status()?.network.context("no network")?.address;
        let (first, second) = (pod.start(STAYS, usual)?, pod.start(STAYS, usual)?);
        assert_eq!(namespace(&first, "net")?, namespace(&second, "net")?);
        assert_eq!(namespace(&first, "uts")?, namespace(&second, "uts")?);
        let has = first.shell("ip -o -4 addr show eth0")?;
        ensure!(has.contains(&format!(" {address}/")), "{address}: {has}");
        assert_eq!(
            second.shell("hostname; cat /etc/hostname")?,
            "pod-of-its-own\n".repeat(2)
        );
        found.push((address, first));
    }
    let [(address, server), (_, client)] = &found[..] else {
        anyhow::bail!("not two");
    };
    server.shell("(echo hello | nc -l -p 8080) >/dev/null 2>&1 &")?;
    let answer = || client.shell(&format!("nc -w 1 {address} 8080 </dev/null"));
    host::wait_for("an answer", || answer().is_ok_and(|said| said == "hello\n"))?;
    for pod in pods {
        pod.remove()?;
    }
    Ok(())
}

pub(crate) fn sets_the_sysctls_of_its_namespaces(cri: &Cri<'_>) -> Result<()> {
    let wanted = [
        ("kernel.shm_rmid_forced", "1"),
        ("net.ipv4.ip_unprivileged_port_start", "80"),
        ("fs.mqueue.msg_max", "12"),
    ];
    let pod = cri.pod(|config, security| {
        with(config, security, of::POD, of::CONTAINER, of::POD);
        let sysctls = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
        config.linux = Some(PodLinux {
            sysctls: sysctls.into(),
            ..PodLinux::default()
        });
    })?;
    let container = pod.start(STAYS, usual)?;
    for (name, value) in wanted {
        let file = format!("cat /proc/sys/{}", name.replace('.', "/"));
        assert_eq!(container.shell(&file)?.trim(), value, "{name}");
        let outside = cri.world().call(["sh", "-c", &file]).run()?.ok()?;
        ensure!(outside.trim() != value, "{name} is the machine's");
    }
    pod.remove()
}

pub(crate) fn sees_mounts_come_and_go_in_volumes(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(|_, security| security.privileged = true)?;
    let volume = cri.world().dir().join(format!("volume-{}", pod.id));
    fs::create_dir_all(volume.join("sub"))?;
    fs::write(volume.join("file"), "of the machine\n")?;
    let path = volume.to_string_lossy().into_owned();
    let outside = |script: &str| -> Result<String> {
        let words = ["sh", "-c", script, "sh", &path];
        cri.world().call(words).run()?.ok()
    };
    outside("mount --bind \"$1\" \"$1\" && mount --make-shared \"$1\"")?;
    let mount = |readonly, propagation| Mount {
        container: "/volume".to_owned(),
        host: path.clone(),
        readonly,
        propagation,
    };
    let closed = pod.start(STAYS, |config, _| config.mounts.push(mount(true, 0)))?;
    let follows = pod.start(STAYS, |config, _| config.mounts.push(mount(false, 1)))?;
    let both = pod.start(STAYS, |config, security| {
        config.mounts.push(mount(false, 2));
        security.privileged = true;
    })?;
    let refused = closed.exec(&["sh", "-c", "cat /volume/file; touch /volume/new"])?;
    assert_eq!(refused.stdout, b"of the machine\n");
    ensure!(refused.exit_code != 0, "it can be written to");

    outside("mount -t tmpfs tmpfs \"$1/sub\" && echo mounted >\"$1/sub/file\"")?;
    let look = "cat /volume/sub/file 2>/dev/null || echo nothing";
    for (container, sees) in [
        (&closed, "nothing\n"),
        (&follows, "mounted\n"),
        (&both, "mounted\n"),
    ] {
        assert_eq!(container.shell(look)?, sees);
    }
    outside("umount \"$1/sub\"")?;
    assert_eq!(follows.shell(look)?, "nothing\n");

    both.shell("mount -t tmpfs tmpfs /volume/sub && echo inside >/volume/sub/file")?;
    assert_eq!(outside("cat \"$1/sub/file\"")?, "inside\n");
    assert_eq!(follows.shell(look)?, "inside\n");
    outside("umount \"$1/sub\"")?;
    pod.remove()?;
    outside("umount \"$1\"").map(drop)
}
