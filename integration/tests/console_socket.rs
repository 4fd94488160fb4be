//! Sockets that get a descriptor: the master of a terminal, and a pidfd.

use std::os::fd::OwnedFd;

use anyhow::{Result, ensure};
use hostrun_integration::host::wait_for;
use hostrun_integration::socket::Receiver;
use hostrun_integration::{Bundle, Stage, on_stage, on_stage_of_hostrun};
use serde_json::json;

/// A bundle with a terminal that writes a line and stays.
fn with_terminal(stage: &Stage) -> Result<Bundle> {
    let script = "echo here; tty; sleep 60";
    Ok(stage
        .bundle()?
        .set("/process/terminal", json!(true))
        .shell(script))
}

/// Reads from a terminal until it has shown `text`.
fn shows(master: &OwnedFd, text: &str) -> Result<()> {
    let mut seen = String::new();
    let mut buffer = [0_u8; 1024];
    while !seen.contains(text) {
        let count = rustix::io::read(master, &mut buffer)?;
        seen.push_str(&String::from_utf8_lossy(
            buffer.get(..count).unwrap_or_default(),
        ));
    }
    Ok(())
}

#[test]
fn the_master_of_a_created_containers_terminal_is_sent_before_it_starts() -> Result<()> {
    on_stage(|stage| {
        let console = Receiver::listen(&stage.dir().join("s"))?;
        let bundle = with_terminal(stage)?;
        let (id, dir) = (stage.id(), bundle.write()?.to_string_lossy().into_owned());
        let create = [
            "create",
            "--bundle",
            &dir,
            "--console-socket",
            &console.path(),
            &id,
        ];
        stage.call(create).run()?.ok()?;
        let (name, master) = console.receive()?;
        assert_eq!(name, "/dev/ptmx");
        stage.call(["start", &id]).run()?.ok()?;
        shows(&master, "/dev/pts/0")?;
        stage.call(["delete", "--force", &id]).run()?.ok().map(drop)
    })
}

#[test]
fn a_detached_run_and_exec_send_theirs_and_the_path_is_the_callers() -> Result<()> {
    on_stage(|stage| {
        let console = Receiver::listen(&stage.dir().join("s"))?;
        let bundle = with_terminal(stage)?;
        let (id, dir) = (stage.id(), bundle.write()?.to_string_lossy().into_owned());
        // runc 1.1 looks for it beside the bundle's config, later ones where the caller stands
        let path = console.path();
        let socket = if stage.runtime().is_runc() {
            &path
        } else {
            "s"
        };
        let run = [
            "run",
            "--bundle",
            &dir,
            "-d",
            "--pid-file",
            "p",
            "--console-socket",
            socket,
            &id,
        ];
        stage.call(run).in_dir(stage.dir()).run()?.ok()?;
        let (_, master) = console.receive()?;
        shows(&master, "here")?;
        ensure!(stage.dir().join("p").exists(), "the pid file is elsewhere");
        let words = [
            "exec",
            "-t",
            "-d",
            "--console-socket",
            socket,
            &id,
            "echo",
            "there",
        ];
        stage.call(words).in_dir(stage.dir()).run()?.ok()?;
        let (_, second) = console.receive()?;
        shows(&second, "there")?;
        stage.call(["delete", "--force", &id]).run()?.ok().map(drop)
    })
}

#[test]
fn a_terminal_without_anybody_at_its_end_is_refused_and_so_is_a_socket_without_a_terminal()
-> Result<()> {
    on_stage(|stage| {
        let console = Receiver::listen(&stage.dir().join("s"))?;
        let loud = with_terminal(stage)?;
        let dir = loud.write()?.to_string_lossy().into_owned();
        let plain = stage.bundle()?;
        let plain = plain.write()?.to_string_lossy().into_owned();
        let none = "cannot allocate tty if runc will detach without setting console socket";
        let many = "cannot use console socket if runc will not detach or allocate tty";
        let path = console.path();
        let ids = [stage.id(), stage.id(), stage.id(), stage.id()];
        let [first, second, third, fourth] = ids.each_ref().map(String::as_str);
        let calls: [(&[&str], &str); 4] = [
            (&["create", "--bundle", &dir, first], none),
            (&["run", "--bundle", &dir, "-d", second], none),
            (
                &[
                    "create",
                    "--bundle",
                    &plain,
                    "--console-socket",
                    &path,
                    third,
                ],
                many,
            ),
            (
                &["run", "--bundle", &dir, "--console-socket", &path, fourth],
                many,
            ),
        ];
        for (words, text) in calls {
            let out = stage.call(words).run()?;
            ensure!(
                out.code() != 0 && out.stderr().contains(text),
                "{words:?}: {}",
                out.stderr()
            );
        }
        ensure!(console.is_idle()?, "something was sent");
        Ok(())
    })
}

#[test]
fn a_console_socket_that_is_not_there_leaves_no_container() -> Result<()> {
    on_stage(|stage| {
        let bundle = with_terminal(stage)?;
        let (id, dir) = (stage.id(), bundle.write()?.to_string_lossy().into_owned());
        let create = [
            "create",
            "--bundle",
            &dir,
            "--console-socket",
            "/not/there",
            &id,
        ];
        let out = stage.call(create).run()?;
        ensure!(out.code() != 0, "it was made");
        ensure!(
            out.stderr().contains("no such file or directory"),
            "{}",
            out.stderr()
        );
        ensure!(
            stage.call(["state", &id]).run()?.code() != 0,
            "it is still there"
        );
        Ok(())
    })
}

#[test]
fn the_pidfd_of_a_container_and_of_exec_is_sent() -> Result<()> {
    on_stage_of_hostrun(
        "runc has --pidfd-socket since 1.2; the oracle is older",
        |stage| {
            let socket = Receiver::listen(&stage.dir().join("s"))?;
            let bundle = stage.bundle()?.args(&["/bin/sleep", "60"]);
            let (id, dir) = (stage.id(), bundle.write()?.to_string_lossy().into_owned());
            let create = [
                "create",
                "--bundle",
                &dir,
                "--pidfd-socket",
                &socket.path(),
                &id,
            ];
            stage.call(create).run()?.ok()?;
            let (name, init) = socket.receive()?;
            assert_eq!(name, "standard");
            stage.call(["start", &id]).run()?.ok()?;
            let words = [
                "exec",
                "-d",
                "--pidfd-socket",
                &socket.path(),
                &id,
                "sleep",
                "60",
            ];
            stage.call(words).run()?.ok()?;
            let (name, exec) = socket.receive()?;
            assert_eq!(name, "setns");
            let pids = || {
                stage
                    .call(["ps", "--format", "json", &id])
                    .run()
                    .map(|out| out.stdout())
            };
            let kill = |fd: &OwnedFd| {
                rustix::process::pidfd_send_signal(fd, rustix::process::Signal::KILL)
            };
            kill(&exec)?;
            wait_for("the executed process to end", || {
                pids().is_ok_and(|list| !list.contains(','))
            })?;
            kill(&init)?;
            wait_for("the container to end", || {
                let state = stage.call(["state", &id]).run();
                state.is_ok_and(|state| state.stdout().contains("stopped"))
            })?;
            stage.call(["delete", &id]).run()?.ok().map(drop)
        },
    )
}
