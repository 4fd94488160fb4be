//! A container at a real terminal.

use anyhow::{Result, ensure};
use hostrun_integration::pty::Pty;
use hostrun_integration::{Bundle, Stage, on_stage};
use rustix::process::Signal;
use serde_json::json;

fn with_terminal(stage: &Stage, script: &str) -> Result<Bundle> {
    Ok(stage
        .bundle()?
        .set("/process/terminal", json!(true))
        .shell(script))
}

#[test]
fn the_payload_has_a_controlling_terminal_of_the_right_size() -> Result<()> {
    on_stage(|stage| {
        // runc sets the size only after the start, so there it may come late; busybox knows no size of 0
        let patience = if stage.runtime().is_runc() { 100 } else { 0 };
        let script = format!(
            "tty; tries={patience}
            while [ $tries -gt 0 ] && [ \"$(stty size 2>/dev/null)\" != '30 100' ]; do sleep 0.1; tries=$((tries-1)); done
            stty size; test -t 0 -a -t 1 -a -t 2; echo all $?"
        );
        let bundle = with_terminal(stage, &script)?;
        let mut pty = Pty::open()?;
        pty.resize(100, 30)?;
        let run = pty.spawn(stage.run_call(&bundle)?)?;
        let screen = pty.wait_for("all 0")?;
        ensure!(screen.contains("/dev/"), "{screen:?}");
        ensure!(screen.contains("30 100"), "{screen:?}");
        assert_eq!(run.wait()?.code(), 0);
        Ok(())
    })
}

#[test]
fn the_outer_terminal_is_raw_meanwhile_and_restored_after() -> Result<()> {
    on_stage(|stage| {
        let bundle = with_terminal(stage, "echo ready; read line; echo got $line; exit 5")?;
        let mut pty = Pty::open()?;
        let before = pty.modes()?;
        ensure!(!pty.is_raw()?, "raw before the start");
        let run = pty.spawn(stage.run_call(&bundle)?)?;
        pty.wait_for("ready")?;
        ensure!(pty.is_raw()?, "not raw while the container runs");
        pty.type_keys("hello\r")?;
        pty.wait_for("got hello")?;
        assert_eq!(run.wait()?.code(), 5);
        assert_eq!(pty.modes()?, before);
        Ok(())
    })
}

#[test]
fn the_terminal_is_restored_when_the_payload_is_killed() -> Result<()> {
    on_stage(|stage| {
        let bundle = with_terminal(
            stage,
            "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done",
        )?;
        let mut pty = Pty::open()?;
        let before = pty.modes()?;
        let run = pty.spawn(stage.run_call(&bundle)?)?;
        pty.wait_for("ready")?;
        run.signal(Signal::TERM)?;
        assert_eq!(run.wait()?.code(), 9);
        assert_eq!(pty.modes()?, before);
        Ok(())
    })
}

#[test]
fn a_change_of_size_reaches_the_payload() -> Result<()> {
    on_stage(|stage| {
        let bundle = with_terminal(
            stage,
            "trap 'stty size' WINCH; trap exit TERM; echo ready; while :; do sleep 0.1; done",
        )?;
        let mut pty = Pty::open()?;
        let run = pty.spawn(stage.run_call(&bundle)?)?;
        pty.wait_for("ready")?;
        pty.resize(132, 43)?;
        pty.wait_for("43 132")?;
        run.signal(Signal::TERM)?;
        run.wait()?;
        Ok(())
    })
}

#[test]
fn control_c_is_a_key_for_the_payload_and_not_for_the_runtime() -> Result<()> {
    on_stage(|stage| {
        let bundle = with_terminal(
            stage,
            "trap 'echo interrupted; exit 4' INT; echo ready; while :; do sleep 0.1; done",
        )?;
        let mut pty = Pty::open()?;
        let run = pty.spawn(stage.run_call(&bundle)?)?;
        pty.wait_for("ready")?;
        pty.type_keys("\u{3}")?;
        pty.wait_for("interrupted")?;
        assert_eq!(run.wait()?.code(), 4);
        Ok(())
    })
}

#[test]
fn the_console_is_a_terminal_and_belongs_to_the_user() -> Result<()> {
    on_stage(|stage| {
        let script = "stat -c '%u %t' /dev/console; echo to console >/dev/console; echo end";
        let bundle =
            with_terminal(stage, script)?.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        let mut pty = Pty::open()?;
        let run = pty.spawn(stage.run_call(&bundle)?)?;
        let screen = pty.wait_for("end")?;
        // major 136, hexadecimal 88, is a pseudo terminal
        ensure!(screen.contains("1000 88"), "{screen:?}");
        ensure!(screen.contains("to console"), "{screen:?}");
        assert_eq!(run.wait()?.code(), 0);
        Ok(())
    })
}
