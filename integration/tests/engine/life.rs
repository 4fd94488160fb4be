//! From run to rm.

use anyhow::{Result, ensure};
use hostrun_integration::client::engine::{Engine, IMAGE, Kind};
use hostrun_integration::host::wait_for;

/// Waits for its end by a signal it heeds.
const PATIENT: &str = "trap 'echo bye; exit 3' TERM; trap 'echo again' USR1; echo ready;
    while :; do sleep 0.05; done";

pub(crate) fn exit_codes(engine: &Engine<'_>) -> Result<()> {
    assert_eq!(engine.shell(&[], "echo hello")?, "hello\n");
    for (words, expected) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["/etc/passwd"], 126),
        (&["not-there"], 127),
        (&["/not/there"], 127),
    ] {
        let all = [&["run", "--rm", IMAGE], words].concat();
        let out = engine.call(&all).run()?;
        assert_eq!(out.code(), expected, "{words:?}: {}", out.stderr());
    }
    // the init of the engine, process 1, tells a death by signal
    let killed = ["run", "--rm", "--init", IMAGE, "sh", "-c", "kill -TERM $$"];
    assert_eq!(engine.code(&killed)?, 128 + 15);
    let out = engine.call(&["run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2"]);
    let out = out.run()?;
    ensure!(
        out.stdout() == "out\n" && out.stderr() == "err\n",
        "{out:?}"
    );
    Ok(())
}

pub(crate) fn background(engine: &Engine<'_>) -> Result<()> {
    let name = engine.background(&[], "echo one; echo two >&2; exit 9")?;
    assert_eq!(engine.ok(&["wait", &name])?.trim(), "9");
    let logs = engine.call(&["logs", &name]).run()?;
    ensure!(
        logs.stdout() == "one\n" && logs.stderr() == "two\n",
        "{logs:?}"
    );
    assert_eq!(engine.inspect(&name, "{{.State.ExitCode}}")?, "9");
    // a container that has ended starts once more
    engine.ok(&["start", &name])?;
    assert_eq!(engine.ok(&["wait", &name])?.trim(), "9");
    assert_eq!(engine.ok(&["logs", &name])?, "one\none\n");
    engine.ok(&["rm", &name])?;
    ensure!(engine.code(&["inspect", &name])? != 0, "still there");
    Ok(())
}

pub(crate) fn created_then_started(engine: &Engine<'_>) -> Result<()> {
    let name = engine.name();
    engine.ok(&["create", "--name", &name, IMAGE, "echo", "late"])?;
    assert_eq!(engine.inspect(&name, "{{.State.Status}}")?, "created");
    assert_eq!(engine.ok(&["start", "-a", &name])?, "late\n");
    engine.ok(&["rm", &name]).map(drop)
}

pub(crate) fn signals(engine: &Engine<'_>) -> Result<()> {
    let name = engine.background(&[], PATIENT)?;
    engine.wait_for_log(&name, "ready")?;
    engine.ok(&["kill", "-s", "USR1", &name])?;
    engine.wait_for_log(&name, "again")?;
    engine.ok(&["stop", "-t", "20", &name])?;
    engine.wait_for_log(&name, "bye")?;
    assert_eq!(engine.inspect(&name, "{{.State.ExitCode}}")?, "3");

    let deaf = engine.background(
        &[],
        "trap '' TERM; echo ready; while :; do sleep 0.05; done",
    )?;
    engine.wait_for_log(&deaf, "ready")?;
    engine.ok(&["stop", "-t", "1", &deaf])?;
    assert_eq!(engine.inspect(&deaf, "{{.State.ExitCode}}")?, "137");

    let killed = engine.background(&[], "sleep 60")?;
    engine.ok(&["kill", &killed])?;
    assert_eq!(engine.ok(&["wait", &killed])?.trim(), "137");
    ensure!(
        engine.code(&["kill", &killed])? != 0,
        "killed what had ended"
    );
    Ok(())
}

pub(crate) fn restart(engine: &Engine<'_>) -> Result<()> {
    let name = engine.background(&[], PATIENT)?;
    let pid = || engine.inspect(&name, "{{.State.Pid}}");
    let before = pid()?;
    engine.wait_for_log(&name, "ready")?;
    engine.ok(&["restart", "-t", "20", &name])?;
    engine.wait_until(&name, "running")?;
    ensure!(pid()? != before, "the same process");
    engine.wait_for_log(&name, "bye")?;
    engine.remove(&[&name])
}

pub(crate) fn pause(engine: &Engine<'_>) -> Result<()> {
    let name = engine.background(&[], "while :; do echo tick; sleep 0.02; done")?;
    engine.wait_for_log(&name, "tick")?;
    engine.ok(&["pause", &name])?;
    assert_eq!(engine.inspect(&name, "{{.State.Status}}")?, "paused");
    // what it said before may still be on its way
    let mut ticks = 0;
    wait_for("the end of its ticks", || {
        let before = ticks;
        std::thread::sleep(std::time::Duration::from_millis(300));
        ticks = engine
            .ok(&["logs", &name])
            .map_or(0, |log| log.lines().count());
        ticks > 0 && ticks == before
    })?;
    ensure!(
        engine.code(&["exec", &name, "true"])? != 0,
        "exec in a paused one"
    );
    ensure!(engine.code(&["pause", &name])? != 0, "paused twice");
    engine.ok(&["unpause", &name])?;
    assert_eq!(engine.inspect(&name, "{{.State.Status}}")?, "running");
    assert_eq!(engine.ok(&["exec", &name, "echo", "warm"])?, "warm\n");
    // what is paused can be removed
    engine.ok(&["pause", &name])?;
    engine.remove(&[&name])
}

pub(crate) fn update(engine: &Engine<'_>) -> Result<()> {
    let name = engine.background(&[], "sleep 60")?;
    // nothing is limited by it, and the runtime is told so
    match engine.kind() {
        Kind::Docker => engine.ok(&["update", "--restart", "no", &name])?,
        Kind::Podman => engine.ok(&["update", "--cpu-shares", "0", &name])?,
    };
    let journal = engine.journal();
    ensure!(
        journal.is_shim() || journal.has_verb("update"),
        "no update was called"
    );
    assert_eq!(engine.ok(&["exec", &name, "echo", "alive"])?, "alive\n");
    engine.remove(&[&name])
}

pub(crate) fn removal(engine: &Engine<'_>) -> Result<()> {
    let running = engine.background(&["--init"], "sleep 60 & sleep 60 & wait")?;
    ensure!(
        engine.code(&["rm", &running])? != 0,
        "removed while it runs"
    );
    engine.remove(&[&running])?;
    let tag = format!("localhost/{}:gone", engine.journal().name());
    engine.ok(&["tag", IMAGE, &tag])?;
    let name = engine.name();
    engine.ok(&["run", "--name", &name, &tag, "true"])?;
    engine.ok(&["rm", &name])?;
    engine.ok(&["rmi", &tag])?;
    let images = engine.ok(&["images", "-q", &tag])?;
    ensure!(images.trim().is_empty(), "still there: {images}");
    Ok(())
}

pub(crate) fn many_at_a_time(engine: &Engine<'_>) -> Result<()> {
    let mut started = Vec::new();
    for number in 0..6 {
        let script = format!("echo number {number}; exit {number}");
        let words = ["run", "--rm", IMAGE, "sh", "-c", &script];
        started.push(engine.call(&words).spawn()?);
    }
    for (number, run) in started.into_iter().enumerate() {
        let out = run.wait()?;
        assert_eq!(out.code(), i32::try_from(number)?, "{}", out.stderr());
        assert_eq!(out.stdout(), format!("number {number}\n"));
    }
    Ok(())
}
