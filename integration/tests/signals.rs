//! Signals: those to a runtime in the foreground, those to a container that waits to be started, and
//! those that end a hook.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::host::{slow, wait_for};
use hostrun_integration::refusal::refused;
use hostrun_integration::{on_stage, on_stage_of_hostrun};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

#[test]
fn a_created_container_that_is_asked_to_end_ends() -> Result<()> {
    on_stage(|stage| {
        // its first process is process 1, whom the kernel spares what it has no handler for
        for signal in ["HUP", "INT", "QUIT", "ABRT", "TERM"] {
            let container = stage.create(&stage.bundle()?.shell("sleep 60"))?;
            for harmless in ["WINCH", "CHLD", "CONT"] {
                container.kill(harmless)?;
            }
            assert_eq!(container.state()?["status"], "created", "{signal}");
            container.kill(signal)?;
            container.wait_until("stopped").context(signal)?;
            container.delete()?;
        }
        Ok(())
    })
}

#[test]
fn what_ends_a_created_container_means_nothing_to_the_program_that_is_started() -> Result<()> {
    on_stage(|stage| {
        let container = stage.create(&stage.bundle()?.args(&["/bin/sleep", "60"]))?;
        container.start()?;
        // runc's start does not wait for execve
        let comm = format!("/proc/{}/comm", container.pid()?);
        wait_for("the program", || {
            fs::read_to_string(&comm).is_ok_and(|name| name == "sleep\n")
        })?;
        // process 1 again, and no handler of ours is left in it
        for signal in ["HUP", "INT", "QUIT", "ABRT", "TERM"] {
            container.kill(signal)?;
        }
        assert_eq!(container.state()?["status"], "running");
        let status = fs::read_to_string(format!("/proc/{}/status", container.pid()?))?;
        ensure!(status.contains("SigCgt:\t0000000000000000"), "{status}");
        container.delete()
    })
}

#[test]
fn a_runtime_in_the_foreground_hands_on_every_signal_but_its_own() -> Result<()> {
    const SENT: [(&str, i32); 14] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("USR1", 10),
        ("USR2", 12),
        ("ALRM", 14),
        ("CONT", 18),
        ("TSTP", 20),
        ("TTIN", 21),
        ("TTOU", 22),
        ("XCPU", 24),
        ("PWR", 30),
        ("37", 37),
        ("64", 64),
    ];
    on_stage(|stage| {
        let traps = SENT
            .map(|(name, _)| format!("trap 'echo {name}' {name}; "))
            .concat();
        // those of the runtime's own: a child that ended, its terminal, urgent data
        let others = "for s in CHLD WINCH URG; do trap \"echo $s\" $s; done; trap 'exit 7' TERM; ";
        let wait = "echo ready; while :; do read line <&9; done";
        let script = format!("mkfifo /fifo; exec 9<>/fifo; {traps}{others}{wait}");
        // whoever calls the suite may ignore some, and what is ignored is not forwarded
        let run = stage.run_call(&stage.bundle()?.shell(&script))?;
        let mut run = run.under(["env", "--default-signal"]).spawn()?;
        run.wait_for("ready\n")?;
        let send = |pid: i32, signal: i32| -> Result<()> {
            let kill = ["kill", &format!("-{signal}"), &pid.to_string()].map(str::to_owned);
            let done = std::process::Command::new("env").args(kill).status()?;
            ensure!(done.success(), "kill -{signal}");
            Ok(())
        };
        for number in [17, 28, 23] {
            send(run.pid(), number)?;
        }
        for (name, number) in SENT {
            send(run.pid(), number)?;
            run.wait_for(&format!("\n{name}\n")).context(name)?;
        }
        send(run.pid(), 15)?;
        let out = run.wait()?;
        let names = SENT.map(|(name, _)| name);
        let said = out.stdout();
        // runc 1.1 hands on those that Go's scheduler sends to itself
        let ours = |name: &&str| *name != "URG" || !stage.runtime().is_runc();
        let said: Vec<&str> = said.lines().skip(1).filter(ours).collect();
        assert_eq!((out.code(), said), (7, names.to_vec()));
        Ok(())
    })
}

#[test]
fn a_program_that_runs_is_running_for_all_before_its_creator_says_so() -> Result<()> {
    on_stage_of_hostrun("the delayed system call is hostrun's", |stage| {
        let bundle = stage.bundle()?.shell("echo here >/here; sleep 60");
        let here = bundle.rootfs().join("here");
        let (id, dir) = (stage.id(), bundle.write()?.to_string_lossy().into_owned());
        // the call that puts the record in place
        let run = stage.call(["run", "--bundle", &dir, &id]);
        let run = run.under(slow("renameat", 5000)).spawn()?;
        wait_for("the program", || {
            fs::read_to_string(&here).is_ok_and(|text| text == "here\n")
        })?;
        ensure!(
            !stage.root().join(&id).join("state.json").exists(),
            "the record was there too soon to tell"
        );
        let exec = stage.call(["exec", &id, "cat", "/here"]).run()?;
        assert_eq!(exec.ok()?, "here\n");
        let state = stage.call(["state", &id]).run()?.ok()?;
        ensure!(state.contains("\"running\""), "{state}");
        stage.call(["kill", &id, "KILL"]).run()?.ok()?;
        let out = run.wait()?;
        // its creator found the record in place and went on
        assert_eq!((out.code(), out.stderr().as_str()), (137, ""));
        Ok(())
    })
}

#[test]
fn the_signal_that_ended_a_hook_is_named() -> Result<()> {
    on_stage(|stage| {
        for (signal, words) in [("SEGV", "segmentation fault"), ("KILL", "killed")] {
            for kind in ["createRuntime", "startContainer"] {
                let script = format!("kill -{signal} $$; sleep 1");
                let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
                let bundle = stage.bundle()?.set(&format!("/hooks/{kind}"), hook);
                let out = stage.run(&bundle.shell("echo it ran"))?;
                let line = refused(stage, kind, &out, 125)?;
                let wanted = format!("signal: {words}");
                ensure!(line.contains(&wanted), "{kind}: {line}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_hook_that_its_filter_kills_leaves_the_kernels_words() -> Result<()> {
    on_stage(|stage| {
        let filter = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]
        });
        let hook = json!([{"path": "/bin/mkdir", "args": ["mkdir", "/dev/shm/hook"]}]);
        let bundle = stage.bundle()?.set("/linux/seccomp", filter);
        let bundle = bundle.set("/hooks/startContainer", hook);
        let line = refused(stage, "hook", &stage.run(&bundle.shell("true"))?, 125)?;
        ensure!(
            line.contains("error running startContainer hook #0")
                || stage.runtime().is_runc() && line.contains("error running hook #0"),
            "{line}"
        );
        ensure!(line.contains("bad system call"), "{line}");
        Ok(())
    })
}

#[test]
fn a_runtime_that_is_killed_takes_no_program_with_it() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage.bundle()?.shell("echo ready; sleep 60");
        let mut run = stage.run_call(&bundle)?.spawn()?;
        run.wait_for("ready\n")?;
        let pid = Pid::from_raw(run.pid()).context("no pid")?;
        kill_process(pid, Signal::KILL)?;
        run.wait()?;
        let ids = stage.call(["list", "--quiet"]).run()?.ok()?;
        let id = ids.trim();
        let state = stage.call(["state", id]).run()?.ok()?;
        ensure!(state.contains("\"running\""), "{state}");
        stage.call(["delete", "--force", id]).run()?.ok().map(drop)
    })
}
