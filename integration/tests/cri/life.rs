//! From `RunPodSandbox` to `RemovePodSandbox`.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::client::Cri;
use hostrun_integration::client::cri::answer::{self, Empty, state};
use hostrun_integration::client::cri::message::{Id, Mount};
use hostrun_integration::host;

use super::{STAYS, plain, usual};

pub(crate) fn lives_from_run_to_remove(cri: &Cri<'_>) -> Result<()> {
    let version: answer::Version = cri.call("Version", &Empty {})?;
    assert_eq!((&*version.runtime, &*version.api), ("containerd", "v1"));
    let told: answer::Status = cri.call("Status", &Empty {})?;
    let conditions = told.status.context("no status")?.conditions;
    for kind in ["RuntimeReady", "NetworkReady"] {
        let found = conditions.iter().find(|condition| condition.kind == kind);
        ensure!(found.context(kind)?.holds, "{conditions:?}");
    }

    let note = ("example.org/note".to_owned(), "kept".to_owned());
    let pod = cri.pod(|config, _| config.annotations.extend([note.clone()]))?;
    let status = pod.status()?;
    assert_eq!((status.state, &*status.handler), (0, cri.handler()));
    assert_eq!(status.annotations.get(&note.0), Some(&note.1));
    let known = |state: i32| -> Result<bool> {
        let all = cri.pods()?;
        Ok(all
            .iter()
            .any(|item| item.id == pod.id && item.state == state))
    };
    ensure!(known(0)?, "the pod is not listed");

    let container = pod.create(STAYS, usual)?;
    assert_eq!(container.status()?.state, state::CREATED);
    container.start()?;
    let status = container.status()?;
    assert_eq!(status.state, state::RUNNING);
    ensure!(status.started_at >= status.created_at, "{status:?}");
    let listed = pod.containers()?;
    assert_eq!(listed.len(), 1, "{listed:?}");
    let done = container.exec(&["sh", "-c", "echo out; echo err >&2; exit 3"])?;
    assert_eq!(
        (&*done.stdout, &*done.stderr, done.exit_code),
        (&b"out\n"[..], &b"err\n"[..], 3)
    );

    container.stop(30)?;
    let status = container.status()?;
    assert_eq!((status.state, status.exit_code), (state::EXITED, 5));
    // what is called once may be called twice
    container.stop(30)?;
    container.remove()?;
    container.remove()?;
    ensure!(pod.containers()?.is_empty(), "a container is left");
    pod.stop()?;
    ensure!(known(1)?, "the pod is still ready");
    pod.remove()?;
    cri.call::<Empty>("RemovePodSandbox", &pod.named())?;
    ensure!(!known(0)? && !known(1)?, "the pod is still listed");
    let stranger = cri.refused("PodSandboxStatus", &pod.named())?;
    assert_eq!(stranger.code, 5, "{stranger}");
    Ok(())
}

pub(crate) fn tells_exit_codes_and_last_words(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(plain)?;
    let words = cri.world().dir().join(format!("last-{}", pod.id));
    for (script, code, reason) in [
        ("exit 0", 0, "Completed"),
        ("exit 42", 42, "Error"),
        // process 1 is ended by no signal of its own
        ("kill -TERM $$; exit 9", 9, "Error"),
    ] {
        fs::write(&words, "")?;
        let script = format!("echo 'last words' >/dev/termination-log; {script}");
        let container = pod.start(&script, |config, _| {
            config.mounts.push(Mount {
                container: "/dev/termination-log".to_owned(),
                host: words.to_string_lossy().into_owned(),
                ..Mount::default()
            });
        })?;
        let status = container.wait()?;
        assert_eq!((status.exit_code, &*status.reason), (code, reason));
        ensure!(status.finished_at >= status.created_at, "{status:?}");
        assert_eq!(fs::read_to_string(&words)?, "last words\n");
        container.remove()?;
    }
    pod.remove()
}

pub(crate) fn tells_why_a_program_does_not_start(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(plain)?;
    for (word, why) in [
        ("not-there", "executable file not found in $PATH"),
        ("/not/there", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
    ] {
        let container = pod.create("", |config, _| config.command = vec![word.to_owned()])?;
        let refused = cri.refused("StartContainer", &container.named())?;
        ensure!(refused.message.contains(why), "{refused}");
        let status = container.status()?;
        assert_eq!((status.state, status.exit_code), (state::EXITED, 128));
        assert_eq!(status.reason, "StartError");
        ensure!(status.message.contains(why), "{status:?}");
        container.remove()?;
    }
    let container = pod.start(STAYS, usual)?;
    let done = cri.refused(
        "ExecSync",
        &hostrun_integration::client::cri::message::Exec {
            id: container.id.clone(),
            command: vec!["not-there".to_owned()],
            timeout: 0,
        },
    )?;
    ensure!(
        done.message.contains("executable file not found in $PATH"),
        "{done}"
    );
    pod.remove()
}

pub(crate) fn starts_a_container_again_and_again(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(plain)?;
    let mut last: Option<Id> = None;
    for attempt in 0..3 {
        let container = pod.start("echo crashed; exit 1", |config, _| {
            config.log = format!("crashes/{attempt}.log");
            if let Some(name) = &mut config.name {
                "crashes".clone_into(&mut name.name);
                name.attempt = attempt;
            }
        })?;
        assert_eq!(container.wait()?.exit_code, 1);
        assert_eq!(container.wrote()?, "crashed\n");
        // the kubelet keeps the one before, for its log
        if let Some(last) = last.replace(container.named()) {
            cri.call::<Empty>("RemoveContainer", &last)?;
        }
    }
    assert_eq!(pod.containers()?.len(), 1);
    assert_eq!(pod.status()?.state, 0);
    pod.remove()
}

pub(crate) fn stops_with_a_grace_period(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(plain)?;
    for (script, timeout, code) in [
        (STAYS, 30, 5),
        // process 1 hears only what it listens to
        ("echo stays; sleep 60", 1, 137),
        (
            "trap '' TERM; echo stays; while :; do sleep 0.05; done",
            1,
            137,
        ),
        (STAYS, 0, 137),
    ] {
        let container = pod.start(script, usual)?;
        host::wait_for("its first word", || {
            container.wrote().is_ok_and(|wrote| wrote == "stays\n")
        })?;
        container.stop(timeout)?;
        let status = container.status()?;
        assert_eq!(
            (status.state, status.exit_code),
            (state::EXITED, code),
            "{script}"
        );
        container.remove()?;
    }
    pod.remove()
}

pub(crate) fn ends_what_runs_when_the_pod_stops(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(plain)?;
    let containers = [pod.start(STAYS, usual)?, pod.start("sleep 60", usual)?];
    let created = pod.create(STAYS, usual)?;
    pod.stop()?;
    for container in &containers {
        let status = container.status()?;
        assert_eq!((status.state, status.exit_code), (state::EXITED, 137));
    }
    let late = cri.refused("StartContainer", &created.named())?;
    ensure!(late.message.contains("not running"), "{late}");
    pod.remove()?;
    let left = cri.refused("ContainerStatus", &created.named())?;
    assert_eq!(left.code, 5, "{left}");
    Ok(())
}

pub(crate) fn measures_what_a_container_takes(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(plain)?;
    let container = pod.start(STAYS, usual)?;
    let about: answer::AboutUse = cri.call("ContainerStats", &container.named())?;
    let stats = about.stats.context("no statistics")?;
    assert_eq!(stats.whose.context("nobody's")?.id, container.id);
    pod.remove()
}
