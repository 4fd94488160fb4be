//! The task service itself, called without containerd between: what `ctr` cannot ask for.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::client::Containerd;
use hostrun_integration::client::task::{
    self, Any, Connected, Empty, Exec, Kill, Pids, Resize, Started, State, Stats, Tasks, Update,
    Waited,
};
use hostrun_integration::host;
use serde_json::json;

use super::{end, remove};

const CREATED: i32 = 1;
const RUNNING: i32 = 2;
const STOPPED: i32 = 3;
const PAUSED: i32 = 4;
const KILL: u32 = 9;

/// Codes of gRPC.
const NOT_FOUND: i32 = 5;
const UNIMPLEMENTED: i32 = 12;

/// A container that does nothing, and its shim's service.
fn idle(containerd: &Containerd<'_>) -> Result<(String, Tasks)> {
    let name = containerd.background(&[], "sleep 60")?;
    let tasks = Tasks::of(containerd.world(), &name)?;
    Ok((name, tasks))
}

fn kill(id: &str, exec_id: &str) -> Kill {
    Kill {
        id: id.to_owned(),
        exec_id: exec_id.to_owned(),
        signal: KILL,
        all: false,
    }
}

/// A process for `Exec` without streams.
fn words(id: &str, exec_id: &str, words: &[&str]) -> Result<Exec> {
    let spec =
        json!({"args": words, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    Ok(Exec {
        id: id.to_owned(),
        exec_id: exec_id.to_owned(),
        spec: Some(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
            value: serde_json::to_vec(&spec)?,
        }),
        ..Exec::default()
    })
}

pub(crate) fn tells_the_state_of_every_process(containerd: &Containerd<'_>) -> Result<()> {
    let (name, mut tasks) = idle(containerd)?;
    let state: State = tasks.call("State", &task::container(&name))?;
    assert_eq!((state.id.as_str(), state.status), (name.as_str(), RUNNING));
    ensure!(state.bundle.ends_with(&name), "{state:?}");
    let connected: Connected = tasks.call("Connect", &task::container(&name))?;
    assert_eq!(connected.task_pid, state.pid);
    ensure!(
        connected.shim_pid > 0 && connected.shim_pid != state.pid,
        "{connected:?}"
    );
    let pids: Pids = tasks.call("Pids", &task::container(&name))?;
    ensure!(
        pids.processes.iter().any(|one| one.pid == state.pid),
        "{pids:?}"
    );
    let _: Empty = tasks.call("Pause", &task::container(&name))?;
    let paused: State = tasks.call("State", &task::container(&name))?;
    assert_eq!(paused.status, PAUSED);
    let _: Empty = tasks.call("Resume", &task::container(&name))?;

    let second = task::executed(&name, "second");
    let _: Empty = tasks.call("Exec", &words(&name, "second", &["sleep", "50"])?)?;
    let created: State = tasks.call("State", &second)?;
    assert_eq!(created.status, CREATED);
    let started: Started = tasks.call("Start", &second)?;
    let running: State = tasks.call("State", &second)?;
    assert_eq!((running.status, running.pid), (RUNNING, started.pid));
    let _: Empty = tasks.call("Kill", &kill(&name, "second"))?;
    let waited: Waited = tasks.call("Wait", &second)?;
    assert_eq!(waited.exit_status, 137);
    let stopped: State = tasks.call("State", &second)?;
    assert_eq!((stopped.status, stopped.exit_status), (STOPPED, 137));
    let gone: task::Deleted = tasks.call("Delete", &second)?;
    assert_eq!((gone.pid, gone.exit_status), (started.pid, 137));
    assert_eq!(tasks.refused("State", &second)?.code, NOT_FOUND);
    end(containerd, &name)
}

pub(crate) fn answers_for_strangers_with_not_found(containerd: &Containerd<'_>) -> Result<()> {
    let (name, mut tasks) = idle(containerd)?;
    for stranger in [task::container("nobody"), task::executed(&name, "nobody")] {
        for method in ["State", "Start", "Delete", "Wait"] {
            let refused = tasks.refused(method, &stranger)?;
            assert_eq!(refused.code, NOT_FOUND, "{method} {stranger:?}: {refused}");
        }
        let refused = tasks.refused("Kill", &kill(&stranger.id, &stranger.exec_id))?;
        assert_eq!(refused.code, NOT_FOUND, "Kill {stranger:?}: {refused}");
    }
    for method in ["Pause", "Resume", "Pids", "Stats", "Update", "Checkpoint"] {
        let refused = tasks.refused(method, &task::container("nobody"))?;
        assert_eq!(refused.code, NOT_FOUND, "{method}: {refused}");
    }
    let refused = tasks.refused("Frobnicate", &task::container(&name))?;
    assert_eq!(refused.code, UNIMPLEMENTED, "{refused}");
    end(containerd, &name)
}

pub(crate) fn updates_a_limit(containerd: &Containerd<'_>) -> Result<()> {
    let (name, mut tasks) = idle(containerd)?;
    let file = format!("/sys/fs/cgroup/default/{name}/hugetlb.2MB.max");
    let file = containerd.world().path(&file);
    if !file.is_file() {
        end(containerd, &name)?;
        return host::skip("updates_a_limit", "no hugetlb controller");
    }
    let update = |limit: u64| Update {
        id: name.clone(),
        resources: Some(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".to_owned(),
            value: json!({"unified": {"hugetlb.2MB.max": limit.to_string()}})
                .to_string()
                .into_bytes(),
        }),
    };
    let before = fs::read_to_string(&file)?;
    let _: Empty = tasks.call("Update", &update(4 << 21))?;
    let now = fs::read_to_string(&file)?;
    ensure!(
        now != before && now.trim() == "8388608",
        "{before} to {now}"
    );
    end(containerd, &name)
}

pub(crate) fn measures_with_the_message_of_cgroup_v2(containerd: &Containerd<'_>) -> Result<()> {
    let (name, mut tasks) = idle(containerd)?;
    let stats: Stats = tasks.call("Stats", &task::container(&name))?;
    let stats = stats.stats.context("no statistics")?;
    assert_eq!(stats.type_url, "io.containerd.cgroups.v2.Metrics");
    end(containerd, &name)
}

pub(crate) fn resizes_terminals_and_nothing_else(containerd: &Containerd<'_>) -> Result<()> {
    let (name, mut tasks) = idle(containerd)?;
    let resize = Resize {
        id: name.clone(),
        width: 100,
        height: 50,
        ..Resize::default()
    };
    // there is no terminal, which is no error
    let _: Empty = tasks.call("ResizePty", &resize)?;
    let _: Empty = tasks.call("CloseIO", &task::container(&name))?;
    end(containerd, &name)
}

pub(crate) fn answers_a_thousand_kills_at_once(containerd: &Containerd<'_>) -> Result<()> {
    let (name, mut tasks) = idle(containerd)?;
    let begun = Instant::now();
    let mut open = Vec::new();
    // one that executes runc for each has its troubles with a thousand
    let count = if containerd.journal().is_shim() {
        1000
    } else {
        20
    };
    for _ in 0..count {
        open.push(tasks.send("Kill", &kill(&name, ""))?);
    }
    let mut good = 0;
    while !open.is_empty() {
        let (stream, answer) = tasks.connection().receive()?;
        open.retain(|one| *one != stream);
        match answer {
            Ok(_) => good += 1,
            Err(status) => assert_eq!(status.code, NOT_FOUND, "{status}"),
        }
    }
    ensure!(good > 0, "nobody killed it");
    ensure!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    containerd.wait_until(&name, "STOPPED")?;
    remove(containerd, &name)
}

pub(crate) fn serves_others_while_a_client_never_reads(containerd: &Containerd<'_>) -> Result<()> {
    let (name, mut tasks) = idle(containerd)?;
    let mut deaf = Tasks::of(containerd.world(), &name)?;
    // until nothing more fits, or the shim has had enough of it
    deaf.connection().give_up_after(Duration::from_secs(1))?;
    let mut calls = (0..5000).map(|_| deaf.send("State", &task::container(&name)));
    drop(calls.find(Result::is_err));
    drop(calls);
    let state: State = tasks.call("State", &task::container(&name))?;
    assert_eq!(state.status, RUNNING);
    let waiting = tasks.send("Wait", &task::container(&name))?;
    end(containerd, &name).context("while a client does not read")?;
    let (stream, answer) = tasks.connection().receive()?;
    assert_eq!(stream, waiting);
    ensure!(answer.is_ok(), "{answer:?}");
    drop(deaf);
    Ok(())
}

pub(crate) fn survives_what_is_no_call(containerd: &Containerd<'_>) -> Result<()> {
    let (name, mut tasks) = idle(containerd)?;
    let long = [&[0xff; 4][..], &[0, 0, 0, 1, 1, 0]].concat();
    let noise = [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        // longer than anything may be
        &long,
        // no message at all
        &[0, 0, 0, 4, 0, 0, 0, 1, 1, 0, 0xff, 0xff, 0xff, 0xff],
        // a call cut short
        &[0, 0, 0, 9, 0, 0, 0, 1, 1, 0, 10],
        // kinds and numbers of streams that no client sends
        &[0, 0, 0, 0, 0, 0, 0, 2, 1, 0],
        &[0, 0, 0, 0, 0, 0, 0, 1, 77, 0],
    ];
    for bytes in noise {
        let mut other = Tasks::of(containerd.world(), &name)?;
        other.connection().send_raw(bytes)?;
        drop(
            other
                .connection()
                .is_closed_within(Duration::from_millis(50)),
        );
    }
    let state: State = tasks.call("State", &task::container(&name))?;
    assert_eq!(state.status, RUNNING);
    end(containerd, &name)
}

pub(crate) fn keeps_no_descriptor_of_what_has_ended(containerd: &Containerd<'_>) -> Result<()> {
    let (name, mut tasks) = idle(containerd)?;
    let connected: Connected = tasks.call("Connect", &task::container(&name))?;
    let shim = connected.shim_pid;
    let open = || -> Result<usize> {
        // its number is of the world's namespace
        let proc = containerd.world().path(&format!("/proc/{shim}/fd"));
        Ok(fs::read_dir(proc)?.count())
    };
    let lives = |tasks: &mut Tasks, from: u32, to: u32| -> Result<()> {
        for number in from..to {
            let id = format!("life-{number}");
            let process = task::executed(&name, &id);
            let _: Empty = tasks.call("Exec", &words(&name, &id, &["true"])?)?;
            let _: Started = tasks.call("Start", &process)?;
            let _: Waited = tasks.call("Wait", &process)?;
            let _: task::Deleted = tasks.call("Delete", &process)?;
        }
        Ok(())
    };
    lives(&mut tasks, 0, 5)?;
    let before = open()?;
    lives(&mut tasks, 5, 40)?;
    let after = open()?;
    // less than one for each life: what Go's runtime opens for itself comes and goes
    ensure!(after <= before + 10, "{before} descriptors, then {after}");
    end(containerd, &name)
}
