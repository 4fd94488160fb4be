//! containerd from Debian's packages, with its own shim for runc told to run hostrun.

use std::fs;

use anyhow::{Result, ensure};
use hostrun_integration::client::{Containerd, on_containerd};
use hostrun_integration::host;
use hostrun_integration::pty::Pty;
use rustix::process::{Pid, Signal, kill_process};

/// `ctr task exec` of words in a container.
fn exec(
    containerd: &Containerd<'_>,
    flags: &[&str],
    name: &str,
    words: &[&str],
) -> hostrun_integration::runtime::Call {
    let id = format!("exec-{}", words.join("-").len());
    containerd.call(&[&["task", "exec", "--exec-id", &id], flags, &[name], words].concat())
}

/// Ends a container that runs and removes it, each step by hand.
fn end(containerd: &Containerd<'_>, name: &str) -> Result<()> {
    containerd.ok(&["task", "kill", "--signal", "SIGKILL", name])?;
    containerd.wait_until(name, "STOPPED")?;
    containerd.call(&["task", "rm", name]).run()?;
    containerd.ok(&["container", "rm", name]).map(drop)
}

#[test]
fn containerd_runs_to_the_end_and_tells_the_exit_code() -> Result<()> {
    on_containerd(|containerd| {
        assert_eq!(containerd.shell(&[], "echo hello")?, "hello\n");
        for (words, expected) in [
            (&["true"][..], 0),
            (&["sh", "-c", "exit 7"], 7),
            (&["not-there"], 1),
            (&["/etc/passwd"], 1),
        ] {
            let run = containerd.run(&["--rm"], &containerd.name(), words);
            let out = run.run()?;
            assert_eq!(out.code(), expected, "{words:?}: {}", out.stderr());
            let text = match words {
                ["not-there"] => "executable file not found in $PATH",
                ["/etc/passwd"] => "permission denied",
                _ => "",
            };
            ensure!(out.stderr().contains(text), "{words:?}: {}", out.stderr());
        }
        Ok(())
    })
}

#[test]
fn containerd_keeps_the_output_of_a_container_in_the_background() -> Result<()> {
    on_containerd(|containerd| {
        let log = containerd.world().dir().join(containerd.name());
        let uri = format!("file://{}", log.display());
        let script = "echo one; echo two >&2; sleep 60";
        let name = containerd.background(&["--log-uri", &uri], script)?;
        let said = || fs::read_to_string(&log).unwrap_or_default();
        host::wait_for("both lines", || {
            said().contains("one\n") && said().contains("two\n")
        })?;
        let tasks = containerd.ok(&["task", "ls"])?;
        ensure!(tasks.contains(&name), "{tasks}");
        end(containerd, &name)
    })
}

#[test]
fn containerd_executes_beside_the_first_process() -> Result<()> {
    on_containerd(|containerd| {
        let name = containerd.background(&[], "sleep 60")?;
        let out = exec(containerd, &[], &name, &["echo", "beside"]).run()?;
        assert_eq!(out.ok()?, "beside\n");
        let out = exec(containerd, &[], &name, &["sh", "-c", "exit 7"]).run()?;
        assert_eq!(out.code(), 7, "{}", out.stderr());
        let out = exec(containerd, &[], &name, &["no-such-program"]).run()?;
        ensure!(
            out.stderr().contains("executable file not found in $PATH"),
            "{}",
            out.stderr()
        );
        let flags = ["--user", "1000:1000", "--cwd", "/tmp"];
        let out = exec(containerd, &flags, &name, &["sh", "-c", "id -u; pwd"]).run()?;
        assert_eq!(out.ok()?, "1000\n/tmp\n");
        end(containerd, &name)
    })
}

#[test]
fn containerd_executes_at_a_terminal() -> Result<()> {
    on_containerd(|containerd| {
        let name = containerd.background(&[], "sleep 60")?;
        let mut pty = Pty::open()?;
        pty.resize(90, 33)?;
        let script = "tty; while [ \"$(stty size)\" != '33 90' ]; do sleep 0.05; done; echo sized;
            read line; echo \"got $line\"; exit 5";
        let run = pty.spawn(exec(containerd, &["-t"], &name, &["sh", "-c", script]))?;
        let screen = pty.wait_for("sized")?;
        ensure!(screen.contains("/dev/pts/"), "{screen:?}");
        pty.type_keys("keys\r")?;
        pty.wait_for("got keys")?;
        assert_eq!(run.wait()?.code(), 5);
        end(containerd, &name)
    })
}

#[test]
fn containerd_runs_at_a_terminal() -> Result<()> {
    on_containerd(|containerd| {
        let mut pty = Pty::open()?;
        let script = "tty; echo ready; read line; echo \"got $line\"; exit 6";
        let words = ["sh", "-c", script];
        let run = pty.spawn(containerd.run(&["--rm", "-t"], &containerd.name(), &words))?;
        let screen = pty.wait_for("ready")?;
        ensure!(screen.contains("/dev/pts/"), "{screen:?}");
        pty.type_keys("hello\r")?;
        pty.wait_for("got hello")?;
        assert_eq!(run.wait()?.code(), 6);
        Ok(())
    })
}

#[test]
fn containerd_passes_its_input_on() -> Result<()> {
    on_containerd(|containerd| {
        let words = [
            "sh",
            "-c",
            "while [ \"$line\" != two ]; do read line; echo \"got $line\"; done",
        ];
        let run = containerd.run(&["--rm"], &containerd.name(), &words);
        let out = run.input("one\ntwo\n").run()?;
        assert_eq!(out.ok()?, "got one\ngot two\n");
        Ok(())
    })
}

#[test]
fn containerd_pauses_and_goes_on() -> Result<()> {
    on_containerd(|containerd| {
        let name = containerd.background(&[], "sleep 60")?;
        containerd.ok(&["task", "pause", &name])?;
        assert_eq!(containerd.status(&name)?, "PAUSED");
        let refused = exec(containerd, &[], &name, &["true"]).run()?;
        ensure!(refused.code() != 0, "exec in a paused container");
        containerd.ok(&["task", "resume", &name])?;
        assert_eq!(containerd.status(&name)?, "RUNNING");
        end(containerd, &name)
    })
}

#[test]
fn containerd_sends_signals() -> Result<()> {
    on_containerd(|containerd| {
        let folder = containerd.world().dir().join(containerd.name());
        let uri = format!("file://{}", folder.display());
        let script =
            "trap 'echo again' USR1; trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done";
        let name = containerd.background(&["--log-uri", &uri], script)?;
        let says = |text: &str| {
            let said = || fs::read_to_string(&folder).is_ok_and(|log| log.contains(text));
            host::wait_for(text, said)
        };
        says("ready")?;
        containerd.ok(&["task", "kill", "-s", "SIGUSR1", &name])?;
        says("again")?;
        containerd.ok(&["task", "kill", "-s", "SIGTERM", &name])?;
        containerd.wait_until(&name, "STOPPED")?;
        let removed = containerd.call(&["task", "rm", &name]).run()?;
        ensure!(
            removed.stderr().contains("non-zero exit code 3") || removed.code() == 3,
            "{removed:?}"
        );
        containerd.ok(&["container", "rm", &name]).map(drop)
    })
}

#[test]
fn containerd_kills_every_process_of_a_container_in_the_hosts_pid_namespace() -> Result<()> {
    on_containerd(|containerd| {
        let name = containerd.name();
        let script = "sleep 60 & sleep 60 & wait";
        let flags = ["--detach", "--with-ns", "pid:/proc/1/ns/pid"];
        containerd
            .run(&flags, &name, &["sh", "-c", script])
            .run()?
            .ok()?;
        containerd.ok(&["task", "kill", "--all", "-s", "SIGKILL", &name])?;
        containerd.wait_until(&name, "STOPPED")?;
        containerd.call(&["task", "rm", &name]).run()?;
        containerd.ok(&["container", "rm", &name]).map(drop)
    })
}

#[test]
fn containerd_shows_statistics_and_processes() -> Result<()> {
    on_containerd(|containerd| {
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
    })
}

#[test]
fn containerd_tells_events() -> Result<()> {
    on_containerd(|containerd| {
        let mut events = containerd.call(&["events"]).spawn()?;
        // it says nothing when it begins to listen, so something happens until it has heard of it
        let noise = containerd.name();
        host::wait_for("ctr to listen", || {
            let words = ["namespaces", "create", &noise];
            let rest = ["namespaces", "remove", &noise];
            containerd.ok(&words).is_ok()
                && containerd.ok(&rest).is_ok()
                && events.stdout().contains(&noise)
        })?;
        let name = containerd.name();
        let run = containerd.run(&["--rm"], &name, &["sh", "-c", "exit 3"]);
        assert_eq!(run.run()?.code(), 3);
        events.wait_for("/containers/delete")?;
        let told = events.stdout();
        let own: Vec<&str> = told.lines().filter(|line| line.contains(&name)).collect();
        for event in ["create", "start", "exit", "delete"] {
            let topic = format!("/tasks/{event}");
            ensure!(
                own.iter().any(|line| line.contains(&topic)),
                "no {topic}: {own:#?}"
            );
        }
        // nsenter stands between the test and the process in the world
        for (pid, words) in containerd.world().processes()? {
            if words.ends_with(" events") {
                kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM)?;
            }
        }
        events.wait().map(drop)
    })
}

#[test]
fn containerd_gives_what_is_asked_for() -> Result<()> {
    on_containerd(|containerd| {
        let status = |flags: &[&str], key: &str| -> Result<String> {
            let script =
                format!("grep ^{key}: /proc/self/status | tr -s '[:space:]' ' ' | cut -d ' ' -f 2");
            Ok(containerd.shell(flags, &script)?.trim().to_owned())
        };
        let usual = u64::from_str_radix(&status(&[], "CapBnd")?, 16)?;
        let less = u64::from_str_radix(&status(&["--cap-drop", "CAP_CHOWN"], "CapBnd")?, 16)?;
        assert_eq!(usual ^ less, 1);
        assert_eq!(status(&["--seccomp"], "Seccomp")?, "2");
        assert_eq!(status(&[], "NoNewPrivs")?, "1");
        assert_eq!(containerd.shell(&["--cwd", "/tmp"], "pwd")?, "/tmp\n");
        let out = containerd.shell(&["--read-only"], "touch /file 2>/dev/null || echo no")?;
        assert_eq!(out, "no\n");
        let folder = containerd.world().dir().join(containerd.name());
        fs::create_dir(&folder)?;
        let mount = format!(
            "type=bind,src={},dst=/data,options=rbind:rw",
            folder.display()
        );
        containerd.shell(&["--mount", &mount], "echo kept >/data/file")?;
        assert_eq!(fs::read_to_string(folder.join("file"))?, "kept\n");
        let out = containerd.shell(&["--env", "COLOUR=green"], "echo $COLOUR")?;
        assert_eq!(out, "green\n");
        let out = containerd.shell(&["--net-host"], "readlink /proc/self/ns/net")?;
        let own = containerd
            .world()
            .call(["readlink", "/proc/self/ns/net"])
            .run()?
            .ok()?;
        assert_eq!(out, own);
        let script = "mkdir /tmp/m; mount -t tmpfs x /tmp/m && echo mounted";
        assert_eq!(containerd.shell(&["--privileged"], script)?, "mounted\n");
        Ok(())
    })
}

#[test]
fn containerd_removes_what_still_runs() -> Result<()> {
    on_containerd(|containerd| {
        let name = containerd.background(&[], "trap '' TERM; sleep 60 & sleep 60 & wait")?;
        ensure!(
            containerd.call(&["container", "rm", &name]).run()?.code() != 0,
            "removed while it runs"
        );
        containerd.call(&["task", "rm", "--force", &name]).run()?;
        containerd.ok(&["container", "rm", &name])?;
        assert_eq!(containerd.status(&name)?, "");
        Ok(())
    })
}

#[test]
fn containerd_cleans_up_after_a_shim_that_was_killed() -> Result<()> {
    on_containerd(|containerd| {
        let name = containerd.background(&[], "sleep 60 & sleep 60 & wait")?;
        let shims = containerd.world().processes()?;
        let shim = shims
            .iter()
            .find(|(_, words)| words.contains("containerd-shim") && words.contains(&name));
        let Some((pid, _)) = shim else {
            anyhow::bail!("no shim of {name} in {shims:#?}");
        };
        kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL)?;
        // containerd calls the shim's binary once more, which force-deletes the container
        host::wait_for("no task", || {
            containerd
                .status(&name)
                .is_ok_and(|now| now.is_empty() || now == "UNKNOWN")
        })?;
        let gone = || {
            let all = containerd.world().processes();
            all.is_ok_and(|all| !all.iter().any(|(_, words)| words.contains("sleep 60")))
        };
        host::wait_for("the container killed", gone)?;
        containerd.call(&["task", "rm", "--force", &name]).run()?;
        containerd.ok(&["container", "rm", &name]).map(drop)
    })
}
