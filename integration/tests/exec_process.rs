//! A process that joins a container and comes with a document of its own (`exec --process`): what it
//! says holds, and what it does not say is as in the container.

use std::fs;

use anyhow::{Result, ensure};
use hostrun_integration::{Container, Outcome, Stage, on_stage, on_stage_of_hostrun};
use serde_json::{Value, json};

/// Runs a process described by this document.
fn exec(stage: &Stage, container: &Container<'_>, process: &Value) -> Result<Outcome> {
    let file = stage.dir().join("process.json");
    fs::write(&file, process.to_string())?;
    let file = file.to_string_lossy().into_owned();
    stage
        .call(["exec", "--process", &file, &container.id])
        .run()
}

fn status(text: &str, key: &str) -> String {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or("missing").trim().to_owned()
}

const STATUS: [&str; 2] = ["/bin/cat", "/proc/self/status"];

#[test]
fn what_the_document_leaves_out_is_as_in_the_container() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .capabilities(&["CAP_KILL", "CAP_CHOWN"])
            .set("/process/user/umask", json!(0o027))
            .set("/process/oomScoreAdj", json!(77))
            .set(
                "/process/rlimits",
                json!([{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 100}]),
            )
            .shell("sleep 60");
        let container = stage.start(&bundle)?;
        let script =
            "cat /proc/self/status /proc/self/oom_score_adj; umask; ulimit -n; ulimit -Hn; pwd";
        let process = json!({"cwd": "/", "args": ["/bin/sh", "-c", script]});
        let text = exec(stage, &container, &process)?.ok()?;
        assert_eq!(status(&text, "CapBnd"), "0000000000000021");
        assert_eq!(status(&text, "CapEff"), "0000000000000021");
        // It says nothing of new privileges, so it may gain them.
        assert_eq!(status(&text, "NoNewPrivs"), "0");
        let last: Vec<&str> = text.lines().rev().take(5).collect();
        if stage.runtime().is_runc() {
            // 1.1 leaves out the limits and the umask: whoever joins has those of who calls runc
            assert_eq!((last[0], last[4]), ("/", "77"));
        } else {
            assert_eq!(last, ["/", "100", "99", "0027", "77"]);
        }
        container.delete()
    })
}

#[test]
fn what_the_document_says_holds() -> Result<()> {
    on_stage(|stage| {
        let container = stage.start(&stage.bundle()?.shell("sleep 60"))?;
        let process = json!({
            "user": {"uid": 1000, "gid": 1001, "additionalGids": [2000]},
            "args": STATUS, "env": ["PATH=/bin"], "cwd": "/tmp", "noNewPrivileges": true,
            "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"],
                "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]}
        });
        let text = exec(stage, &container, &process)?.ok()?;
        assert_eq!(status(&text, "Uid"), "1000\t1000\t1000\t1000");
        assert_eq!(status(&text, "Gid"), "1001\t1001\t1001\t1001");
        assert_eq!(status(&text, "Groups"), "2000");
        assert_eq!(status(&text, "CapEff"), "0000000000000020");
        assert_eq!(status(&text, "CapAmb"), "0000000000000020");
        assert_eq!(status(&text, "NoNewPrivs"), "1");
        container.delete()
    })
}

#[test]
fn keys_are_matched_in_any_case() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .unset("/process/cwd")
            .set("/process/CWD", json!("/home/user"))
            .unset("/hostname")
            .set("/hostName", json!("spelt"))
            .shell("pwd; hostname; sleep 60");
        let container = stage.start(&bundle.shell("sleep 60"))?;
        let process = json!({"Cwd": "/tmp", "ARGS": ["/bin/sh", "-c", "pwd; hostname"],
            "user": {"UID": 0}, "terminal": null});
        assert_eq!(exec(stage, &container, &process)?.ok()?, "/tmp\nspelt\n");
        container.delete()
    })
}

#[test]
fn an_unknown_capability_is_named_and_left_out() -> Result<()> {
    on_stage(|stage| {
        let container = stage.start(&stage.bundle()?.shell("sleep 60"))?;
        let sets = json!({"bounding": ["CAP_KILL", "CAP_MOON"], "effective": ["CAP_KILL"],
            "permitted": ["CAP_KILL"]});
        let process = json!({"cwd": "/", "args": STATUS, "capabilities": sets});
        let out = exec(stage, &container, &process)?;
        assert_eq!(status(&out.ok()?, "CapBnd"), "0000000000000020");
        let quiet = stage.runtime().is_runc();
        // runc 1.1 warns in a place of its own
        ensure!(
            quiet || out.stderr().contains("CAP_MOON"),
            "{}",
            out.stderr()
        );
        container.delete()
    })
}

#[test]
fn a_document_that_makes_no_sense_is_refused() -> Result<()> {
    on_stage(|stage| {
        let container = stage.start(&stage.bundle()?.shell("sleep 60"))?;
        for (process, text) in [
            (
                json!({"args": ["/bin/true"]}),
                "Cwd property must not be empty",
            ),
            (
                json!({"args": ["/bin/true"], "cwd": "tmp"}),
                "Cwd must be an absolute path",
            ),
            (json!({"cwd": "/"}), "args must not be empty"),
            (json!({"cwd": "/", "args": []}), "args must not be empty"),
        ] {
            let out = exec(stage, &container, &process)?;
            ensure!(out.code() == 255, "{process}: {}", out.code());
            ensure!(out.stderr().contains(text), "{process}: {}", out.stderr());
        }
        container.delete()
    })
}

#[test]
fn scheduler_and_priority_of_its_own_come_before_the_containers() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 knows neither", |stage| {
        let bundle = stage
            .bundle()?
            .set(
                "/process/scheduler",
                json!({"policy": "SCHED_BATCH", "nice": 19}),
            )
            .set(
                "/process/ioPriority",
                json!({"class": "IOPRIO_CLASS_BE", "priority": 4}),
            )
            .shell("sleep 60");
        let container = stage.start(&bundle)?;
        let script = "ionice; cut -d ' ' -f 41 /proc/self/stat";
        let plain = json!({"cwd": "/", "args": ["/bin/sh", "-c", script]});
        let seen = exec(stage, &container, &plain)?.ok()?;
        assert_eq!(seen, "best-effort: prio 4\n3\n");
        let own = json!({"cwd": "/", "args": ["/bin/sh", "-c", script],
            "ioPriority": {"class": "IOPRIO_CLASS_IDLE"}, "scheduler": {"policy": "SCHED_IDLE"}});
        assert_eq!(exec(stage, &container, &own)?.ok()?, "idle\n5\n");
        let deadline = json!({"cwd": "/", "args": ["/bin/cut", "-d", " ", "-f", "41", "/proc/self/stat"],
            "scheduler": {"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK"], "nice": 19,
                "priority": 0, "runtime": 42000, "deadline": 100_000, "period": 1_000_000}});
        assert_eq!(exec(stage, &container, &deadline)?.ok()?, "6\n");
        container.delete()
    })
}

#[test]
fn processors_are_those_of_the_document_and_the_mask_is_told_who_debugs() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 does not know it", |stage| {
        if std::thread::available_parallelism()?.get() < 2 {
            return hostrun_integration::host::skip("affinity", "one processor");
        }
        let container = stage.start(&stage.bundle()?.shell("sleep 60"))?;
        for (cpus, mask, seen) in [
            ("1", "0x2", "1"),
            ("0-1", "0x3", "0-1"),
            ("0,1", "0x3", "0-1"),
        ] {
            let process = json!({"cwd": "/", "args": ["/bin/grep", "Cpus_allowed_list", "/proc/self/status"],
                "execCPUAffinity": {"initial": cpus, "final": cpus}});
            let file = stage.dir().join("process.json");
            fs::write(&file, process.to_string())?;
            let file = file.to_string_lossy().into_owned();
            let out = stage
                .call(["--debug", "exec", "--process", &file, &container.id])
                .run()?;
            assert_eq!(status(&out.ok()?, "Cpus_allowed_list"), seen);
            let line = format!(": affinity: {mask}");
            ensure!(out.stderr().contains(&line), "{line}: {}", out.stderr());
        }
        container.delete()
    })
}
