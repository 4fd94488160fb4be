//! Containers in the background: ps, exec, logs, kill, stop, rm, inspect.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::pty::Pty;
use hostrun_integration::runtime::PATIENCE;
use hostrun_integration::{Stage, on_stage_of_hostrun};

fn with_loaded_image(test: impl FnOnce(&Stage, &str) -> Result<()>) -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let image = Image::new(stage.dir())?;
        let name = stage.call(["load", "-q", &image.source()]).run()?.ok()?;
        test(stage, name.trim())
    })
}

/// Calls a verb that must succeed.
fn verb(stage: &Stage, words: &[&str]) -> Result<String> {
    stage.call(words).run()?.ok()
}

/// Starts in the background and returns the id.
fn start(stage: &Stage, words: &[&str]) -> Result<String> {
    let id = stage.image_call([&["-d"], words].concat()).run()?.ok()?;
    assert_eq!(id.trim().len(), 64, "not an id: {id}");
    Ok(id.trim().to_owned())
}

/// Asks until the answer is right.
fn eventually(what: &str, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !ask()? {
        ensure!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn a_container_in_the_background_lives_until_it_is_removed() -> Result<()> {
    with_loaded_image(|stage, image| {
        let script =
            "trap 'echo bye; exit 9' TERM; echo hello; echo talk >&2; while :; do sleep 0.1; done";
        let id = start(
            stage,
            &[
                "--name",
                "worker",
                "-l",
                "kind=test",
                image,
                "sh",
                "-c",
                script,
            ],
        )?;
        assert_eq!(verb(stage, &["ps", "-q", "--no-trunc"])?.trim(), id);
        ensure!(verb(stage, &["ps"])?.contains("worker"), "ps shows no name");
        eventually("logs say hello", || {
            Ok(verb(stage, &["logs", "worker"])?.contains("hello"))
        })?;
        let inspected: serde_json::Value =
            serde_json::from_str(&verb(stage, &["inspect", "worker"])?)?;
        ensure!(inspected.to_string().contains(&id), "{inspected}");
        assert_eq!(
            verb(stage, &["exec", "worker", "echo", "inside"])?,
            "inside\n"
        );
        assert_eq!(
            stage
                .call(["exec", "worker", "sh", "-c", "exit 5"])
                .run()?
                .code(),
            5
        );
        assert_eq!(
            stage.call(["exec", "worker", "/not/there"]).run()?.code(),
            127
        );
        ensure!(
            stage.call(["rm", "worker"]).run()?.code() != 0,
            "removed while it runs"
        );
        verb(stage, &["stop", "worker"])?;
        assert_eq!(verb(stage, &["ps", "-q"])?, "");
        assert_eq!(verb(stage, &["ps", "-a", "-q", "--no-trunc"])?.trim(), id);
        let logs = stage.call(["logs", "worker"]).run()?;
        assert_eq!(
            (logs.stdout().as_str(), logs.stderr().as_str()),
            ("hello\nbye\n", "talk\n")
        );
        verb(stage, &["rm", "worker"])?;
        assert_eq!(verb(stage, &["ps", "-a", "-q"])?, "");
        Ok(())
    })
}

#[test]
fn stop_kills_what_does_not_listen() -> Result<()> {
    with_loaded_image(|stage, image| {
        let script = "trap '' TERM; while :; do sleep 0.1; done";
        let id = start(stage, &["--name", "deaf", image, "sh", "-c", script])?;
        let begin = Instant::now();
        verb(stage, &["stop", "-t", "1", &id])?;
        ensure!(
            begin.elapsed() < Duration::from_secs(10),
            "took {:?}",
            begin.elapsed()
        );
        verb(stage, &["rm", &id]).map(drop)
    })
}

#[test]
fn kill_sends_the_signal_asked_for() -> Result<()> {
    with_loaded_image(|stage, image| {
        let script = "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.1; done";
        let id = start(stage, &[image, "sh", "-c", script])?;
        eventually("ready", || {
            Ok(verb(stage, &["logs", &id])?.contains("ready"))
        })?;
        verb(stage, &["kill", "-s", "USR1", &id])?;
        eventually("the signal", || {
            Ok(verb(stage, &["logs", &id])?.contains("usr1"))
        })?;
        verb(stage, &["rm", "--force", &id]).map(drop)
    })
}

#[test]
fn rm_removes_a_background_container_at_its_end() -> Result<()> {
    with_loaded_image(|stage, image| {
        start(stage, &["--rm", image, "true"])?;
        eventually("gone", || Ok(verb(stage, &["ps", "-a", "-q"])?.is_empty()))
    })
}

#[test]
fn a_name_in_use_is_refused() -> Result<()> {
    with_loaded_image(|stage, image| {
        let id = start(stage, &["--name", "once", image, "sleep", "60"])?;
        let out = stage
            .call(["run", "--rm", "--name", "once", image, "true"])
            .run()?;
        assert_eq!(out.code(), 125, "{}", out.stderr());
        ensure!(out.stderr().contains("once"), "{}", out.stderr());
        verb(stage, &["rm", "-f", &id]).map(drop)
    })
}

#[test]
fn exec_changes_user_folder_and_environment() -> Result<()> {
    with_loaded_image(|stage, image| {
        let id = start(stage, &[image, "sleep", "60"])?;
        let words = [
            "exec",
            "-u",
            "user",
            "-w",
            "/tmp",
            "-e",
            "X=y",
            &id,
            "sh",
            "-c",
            "id -u; pwd; echo $X",
        ];
        assert_eq!(verb(stage, &words)?, "1000\n/tmp\ny\n");
        let status = [
            "exec",
            &id,
            "grep",
            "-E",
            "^(Seccomp|CapInh|CapAmb):",
            "/proc/self/status",
        ];
        assert_eq!(
            verb(stage, &status)?,
            "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\nSeccomp:\t2\n"
        );
        for user in ["nosuchuser", "4294967296", "-1"] {
            assert_eq!(
                stage.call(["exec", "-u", user, &id, "id"]).run()?.code(),
                125,
                "{user}"
            );
        }
        verb(stage, &["rm", "-f", &id]).map(drop)
    })
}

#[test]
fn a_terminal_in_an_image_and_in_exec() -> Result<()> {
    with_loaded_image(|stage, image| {
        let mut pty = Pty::open()?;
        let run = pty.spawn(stage.image_call([
            "--rm",
            "-it",
            image,
            "sh",
            "-c",
            "tty; read x; echo got $x; exit 7",
        ]))?;
        pty.wait_for("/dev/")?;
        pty.type_keys("word\r")?;
        pty.wait_for("got word")?;
        assert_eq!(run.wait()?.code(), 7);
        let id = start(stage, &[image, "sleep", "60"])?;
        let exec = pty.spawn(stage.call(["exec", "-it", &id, "sh", "-c", "stty size; exit 8"]))?;
        pty.wait_for("24 80")?;
        assert_eq!(exec.wait()?.code(), 8);
        verb(stage, &["rm", "-f", &id]).map(drop)
    })
}
