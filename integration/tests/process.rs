//! What the payload is: its words, user, rights, limits, streams, signals and exit code.

use anyhow::{Result, ensure};
use hostrun_integration::host::wait_for;
use hostrun_integration::{Outcome, Stage, elf, on_stage, on_stage_of_hostrun};
use rustix::process::Signal;
use serde_json::json;

/// The value behind `key:` in /proc/PID/status.
fn status(text: &str, key: &str) -> String {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or("missing").trim().to_owned()
}

fn shell(stage: &Stage, script: &str) -> Result<Outcome> {
    stage.run(&stage.bundle()?.shell(script))
}

#[test]
fn the_exit_code_is_the_payloads() -> Result<()> {
    on_stage(|stage| {
        for code in [0, 1, 7, 125, 255] {
            assert_eq!(shell(stage, &format!("exit {code}"))?.code(), code);
        }
        Ok(())
    })
}

#[test]
fn death_by_signal_is_128_and_the_signal() -> Result<()> {
    on_stage(|stage| {
        // process one of a pid namespace ignores its own signals, so a child does the dying outside
        for (signal, code) in [(Signal::KILL, 137), (Signal::ABORT, 134)] {
            let bundle = stage
                .bundle()?
                .without_namespace("pid")
                .shell("echo $$; exec sleep 60");
            let mut run = stage.run_call(&bundle)?.spawn()?;
            run.wait_for("\n")?;
            let pid = rustix::process::Pid::from_raw(run.stdout().trim().parse()?);
            rustix::process::kill_process(pid.ok_or(rustix::io::Errno::SRCH)?, signal)?;
            assert_eq!(run.wait()?.code(), code);
        }
        Ok(())
    })
}

#[test]
fn a_missing_program_is_127_and_one_that_cannot_run_126() -> Result<()> {
    on_stage_of_hostrun("runc gives 1 for both", |stage| {
        let missing = stage.run(&stage.bundle()?.args(&["/bin/not-there"]))?;
        assert_eq!(missing.code(), 127, "{}", missing.stderr());
        let bundle = stage.bundle()?.file("/bin/data", 0o644, b"#!/bin/sh\n")?;
        let blocked = stage.run(&bundle.args(&["/bin/data"]))?;
        assert_eq!(blocked.code(), 126, "{}", blocked.stderr());
        Ok(())
    })
}

#[test]
fn a_program_is_found_through_the_containers_path() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .file("/opt/tool", 0o755, &elf::exit(9))?
            .set("/process/env", json!(["PATH=/nowhere:/opt"]))
            .args(&["tool"]);
        assert_eq!(stage.run(&bundle)?.code(), 9);
        Ok(())
    })
}

#[test]
fn standard_input_reaches_the_payload_and_ends() -> Result<()> {
    on_stage(|stage| {
        let call = stage.run_call(&stage.bundle()?.shell("cat; echo end"))?;
        assert_eq!(call.input("first\nlast").run()?.ok()?, "first\nlastend\n");
        Ok(())
    })
}

#[test]
fn output_and_errors_keep_apart() -> Result<()> {
    on_stage(|stage| {
        let out = shell(stage, "echo data; echo talk >&2")?;
        assert_eq!(
            (out.stdout().as_str(), out.stderr().as_str()),
            ("data\n", "talk\n")
        );
        Ok(())
    })
}

#[test]
fn a_signal_to_the_runtime_reaches_the_payload() -> Result<()> {
    on_stage(|stage| {
        for (name, signal) in [
            ("TERM", Signal::TERM),
            ("HUP", Signal::HUP),
            ("USR1", Signal::USR1),
        ] {
            let script = format!(
                "trap 'echo got {name}; exit 42' {name}; echo ready; while :; do sleep 0.1; done"
            );
            let call = stage.run_call(&stage.bundle()?.shell(&script))?;
            // whoever calls the suite may ignore some, and what is ignored is not forwarded
            let mut run = call.under(["env", "--default-signal"]).spawn()?;
            run.wait_for("ready\n")?;
            run.signal(signal)?;
            let out = run.wait()?;
            assert_eq!(out.stdout(), format!("ready\ngot {name}\n"));
            assert_eq!(out.code(), 42);
        }
        Ok(())
    })
}

#[test]
fn user_group_and_supplementary_groups_are_exactly_those_asked_for() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .set(
                "/process/user",
                json!({"uid": 1000, "gid": 1001, "additionalGids": [2000, 3000]}),
            )
            .shell("grep -E '^(Uid|Gid|Groups)' /proc/self/status");
        let text = stage.run(&bundle)?.ok()?;
        assert_eq!(status(&text, "Uid"), "1000\t1000\t1000\t1000");
        assert_eq!(status(&text, "Gid"), "1001\t1001\t1001\t1001");
        assert_eq!(status(&text, "Groups"), "2000 3000");
        Ok(())
    })
}

#[test]
fn cve_2022_36109_the_machines_groups_are_not_inherited() -> Result<()> {
    on_stage(|stage| {
        let call = stage.run_call(&stage.bundle()?.shell("grep ^Groups /proc/self/status"))?;
        let text = call.under(["setpriv", "--groups", "4,27"]).run()?.ok()?;
        assert_eq!(status(&text, "Groups"), "");
        Ok(())
    })
}

#[test]
fn umask_is_the_one_asked_for() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .set("/process/user/umask", json!(0o027))
            .shell("umask");
        assert_eq!(stage.run(&bundle)?.ok()?, "0027\n");
        Ok(())
    })
}

#[test]
fn the_five_capability_sets_are_exactly_those_asked_for() -> Result<()> {
    on_stage(|stage| {
        let some = json!(["CAP_KILL", "CAP_CHOWN"]);
        let bundle = stage
            .bundle()?
            .set(
                "/process/capabilities",
                json!({"bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID"], "permitted": some,
                       "effective": ["CAP_CHOWN", "CAP_KILL"], "inheritable": ["CAP_KILL"],
                       "ambient": ["CAP_KILL"]}),
            )
            .set("/process/user", json!({"uid": 1000, "gid": 1000}))
            .shell("grep ^Cap /proc/self/status");
        let text = stage.run(&bundle)?.ok()?;
        // after execve of an ordinary user what is left is what was ambient
        assert_eq!(status(&text, "CapInh"), "0000000000000020");
        assert_eq!(status(&text, "CapPrm"), "0000000000000020");
        assert_eq!(status(&text, "CapEff"), "0000000000000020");
        assert_eq!(status(&text, "CapBnd"), "00000000000000a1");
        assert_eq!(status(&text, "CapAmb"), "0000000000000020");
        Ok(())
    })
}

#[test]
fn no_new_privileges_is_set_and_left_as_asked() -> Result<()> {
    on_stage(|stage| {
        for (asked, seen) in [(true, "1"), (false, "0")] {
            let bundle = stage
                .bundle()?
                .set("/process/noNewPrivileges", json!(asked));
            let text = stage.run(&bundle.shell("cat /proc/self/status"))?.ok()?;
            assert_eq!(status(&text, "NoNewPrivs"), seen);
        }
        Ok(())
    })
}

#[test]
fn resource_limits_are_set() -> Result<()> {
    on_stage(|stage| {
        let limits = json!([
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            {"type": "RLIMIT_NPROC", "soft": 77, "hard": 78}
        ]);
        let bundle = stage.bundle()?.set("/process/rlimits", limits);
        let text = stage.run(&bundle.shell("cat /proc/self/limits"))?.ok()?;
        for (name, soft, hard) in [
            ("Max open files", "100", "200"),
            ("Max core file size", "0", "0"),
            ("Max processes", "77", "78"),
        ] {
            let line = text
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap_or_default();
            let numbers: Vec<&str> = line
                .trim_start_matches(name)
                .split_whitespace()
                .take(2)
                .collect();
            assert_eq!(numbers, [soft, hard], "{name}");
        }
        Ok(())
    })
}

#[test]
fn oom_score_adjustment_is_set() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage.bundle()?.set("/process/oomScoreAdj", json!(321));
        assert_eq!(
            stage
                .run(&bundle.shell("cat /proc/self/oom_score_adj"))?
                .ok()?,
            "321\n"
        );
        Ok(())
    })
}

#[test]
fn environment_and_folder_are_exactly_those_asked_for() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .set(
                "/process/env",
                json!(["PATH=/bin", "HOME=/home/user", "TWO=a b", "EMPTY="]),
            )
            .set("/process/cwd", json!("/home/user"))
            .args(&[
                "/bin/sh",
                "-c",
                "cat /proc/1/environ | tr '\\0' '\\n' | sort; pwd",
            ]);
        let text = stage.run(&bundle)?.ok()?;
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "EMPTY=",
                "HOME=/home/user",
                "PATH=/bin",
                "TWO=a b",
                "/home/user"
            ]
        );
        Ok(())
    })
}

#[test]
fn home_comes_from_the_containers_passwd() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .set("/process/user", json!({"uid": 1000, "gid": 1000}))
            .shell("echo $HOME");
        assert_eq!(stage.run(&bundle)?.ok()?, "/home/user\n");
        Ok(())
    })
}

#[test]
fn a_missing_working_directory_is_made() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .set("/process/cwd", json!("/work/deep"))
            .shell("pwd");
        assert_eq!(stage.run(&bundle)?.ok()?, "/work/deep\n");
        Ok(())
    })
}

#[test]
fn the_session_keyring_is_the_containers_own() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .set("/linux/maskedPaths", json!([]))
            .shell("cat /proc/keys");
        let text = stage.run(&bundle)?.ok()?;
        ensure!(text.contains("_ses"), "no session keyring: {text}");
        Ok(())
    })
}

#[test]
fn a_lifecycle_goes_through_the_states_of_the_spec() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .shell("sleep 60")
            .set("/annotations", json!({"org.example": "yes"}));
        let container = stage.create(&bundle)?;
        let state = container.state()?;
        assert_eq!(state["status"], "created");
        assert_eq!(state["id"], container.id.as_str());
        assert_eq!(state["bundle"], json!(bundle.dir()));
        assert_eq!(state["annotations"]["org.example"], "yes");
        ensure!(state["ociVersion"].is_string(), "{state}");
        ensure!(
            std::fs::exists(format!("/proc/{}", container.pid()?))?,
            "{state}"
        );
        container.start()?;
        assert_eq!(container.state()?["status"], "running");
        ensure!(
            container.call("start", &[])?.code() != 0,
            "a second start went through"
        );
        ensure!(
            container.call("delete", &[])?.code() != 0,
            "deleted while it runs"
        );
        container.kill("KILL")?;
        container.wait_until("stopped")?;
        container.call("delete", &[])?.ok()?;
        ensure!(
            container.call("state", &[])?.code() != 0,
            "still known after delete"
        );
        Ok(())
    })
}

#[test]
fn kill_takes_names_and_numbers() -> Result<()> {
    on_stage(|stage| {
        for signal in ["TERM", "SIGTERM", "15"] {
            let script = "trap 'exit 3' TERM; echo >/ready; while :; do sleep 0.1; done";
            let bundle = stage.bundle()?.shell(script);
            let container = stage.start(&bundle)?;
            wait_for("the trap", || bundle.rootfs().join("ready").exists())?;
            container.kill(signal)?;
            container.wait_until("stopped")?;
            container.call("delete", &[])?.ok()?;
        }
        Ok(())
    })
}

#[test]
fn exec_runs_in_the_containers_namespaces_and_cgroup() -> Result<()> {
    on_stage(|stage| {
        let container = stage.start(&stage.bundle()?.shell("sleep 60"))?;
        for kind in ["pid", "mnt", "ipc", "uts", "net", "cgroup"] {
            let seen = container
                .exec(&["readlink", &format!("/proc/self/ns/{kind}")])?
                .ok()?;
            assert_eq!(
                seen.trim(),
                hostrun_integration::namespace::of(container.pid()?, kind)?
            );
        }
        assert_eq!(
            container
                .exec(&["cat", "/proc/self/cgroup"])?
                .ok()?
                .trim()
                .lines()
                .last(),
            Some("0::/")
        );
        assert_eq!(container.exec(&["sh", "-c", "exit 6"])?.code(), 6);
        container.delete()
    })
}
