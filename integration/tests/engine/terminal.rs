//! Processes beside the first, streams and terminals.

use anyhow::{Result, ensure};
use hostrun_integration::client::engine::{Engine, IMAGE, Kind};
use hostrun_integration::pty::Pty;

pub(crate) fn exec(engine: &Engine<'_>) -> Result<()> {
    let name = engine.background(&[], "sleep 60")?;
    let exec = |flags: &[&str], words: &[&str]| {
        engine
            .call(&[&["exec"], flags, &[&name], words].concat())
            .run()
    };
    assert_eq!(exec(&[], &["echo", "beside"])?.ok()?, "beside\n");
    for (words, expected) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "kill -KILL $$"], 137),
        (&["/etc/passwd"], 126),
        // Docker knows no other code for a program that does not start
        (
            &["not-there"],
            if engine.kind() == Kind::Docker {
                126
            } else {
                127
            },
        ),
    ] {
        let out = exec(&[], words)?;
        assert_eq!(
            out.code(),
            expected,
            "{words:?}: {}{}",
            out.stdout(),
            out.stderr()
        );
    }
    let flags = ["-u", "1000:1000", "-w", "/tmp", "-e", "COLOUR=green"];
    let out = exec(&flags, &["sh", "-c", "id -u; id -g; pwd; echo $COLOUR"])?;
    assert_eq!(out.ok()?, "1000\n1000\n/tmp\ngreen\n");
    let input = engine.call(&["exec", "-i", &name, "cat"]).input("through");
    assert_eq!(input.run()?.ok()?, "through");
    // one that nobody waits for
    engine.ok(&["exec", "-d", &name, "sh", "-c", "echo done >/tmp/file"])?;
    let seen = || {
        exec(&[], &["cat", "/tmp/file"])
            .is_ok_and(|out| out.code() == 0 && out.stdout() == "done\n")
    };
    hostrun_integration::host::wait_for("the file of a detached exec", seen)?;
    engine.remove(&[&name])
}

pub(crate) fn exec_with_terminal(engine: &Engine<'_>) -> Result<()> {
    let name = engine.background(&[], "sleep 60")?;
    let mut pty = Pty::open()?;
    pty.resize(90, 33)?;
    let script = "test -t 0 -a -t 1 -a -t 2; echo all $?; tty; while [ \"$(stty size)\" != '33 90' ]; do \
                  sleep 0.05; done; echo sized; read line; echo \"got $line\"; exit 5";
    let run = pty.spawn(engine.call(&["exec", "-it", &name, "sh", "-c", script]))?;
    let screen = pty.wait_for("sized")?;
    ensure!(
        screen.contains("all 0") && screen.contains("/dev/pts/"),
        "{screen:?}"
    );
    pty.type_keys("keys\r")?;
    pty.wait_for("got keys")?;
    assert_eq!(run.wait()?.code(), 5);
    engine.remove(&[&name])
}

pub(crate) fn run_with_terminal(engine: &Engine<'_>) -> Result<()> {
    let mut pty = Pty::open()?;
    let before = pty.modes()?;
    let words = [
        "run",
        "--rm",
        "-it",
        IMAGE,
        "sh",
        "-c",
        "tty; ls -l /dev/console; echo ready; read line; echo \"got $line\"; exit 6",
    ];
    let run = pty.spawn(engine.call(&words))?;
    let screen = pty.wait_for("ready")?;
    ensure!(
        screen.contains("/dev/pts/") && screen.contains("crw"),
        "{screen:?}"
    );
    pty.type_keys("hello\r")?;
    pty.wait_for("got hello")?;
    assert_eq!(run.wait()?.code(), 6);
    assert_eq!(pty.modes()?, before, "the terminal is not as it was before");
    Ok(())
}

pub(crate) fn input(engine: &Engine<'_>) -> Result<()> {
    let words = ["run", "--rm", "-i", IMAGE, "sh", "-c", "cat; exit 4"];
    let long = "a line of the input\n".repeat(20_000);
    let out = engine.call(&words).input(long.as_str()).run()?;
    assert_eq!(out.code(), 4);
    ensure!(
        out.stdout() == long,
        "{} bytes came back",
        out.stdout().len()
    );
    Ok(())
}

pub(crate) fn attach(engine: &Engine<'_>) -> Result<()> {
    let script = "while [ \"$line\" != end ]; do
        if read -t 1 line; then echo \"got $line\"; else echo waiting; fi; done; exit 8";
    let name = engine.background(&["-it"], script)?;
    let mut pty = Pty::open()?;
    let attached = pty.spawn(engine.call(&["attach", &name]))?;
    pty.wait_for("waiting")?;
    pty.type_keys("one\r")?;
    pty.wait_for("got one")?;
    // ctrl-p ctrl-q leaves it running
    for key in ["\u{10}", "\u{11}"] {
        // podman looks at keys that come one by one
        std::thread::sleep(std::time::Duration::from_millis(200));
        pty.type_keys(key)?;
    }
    attached.wait()?;
    assert_eq!(engine.inspect(&name, "{{.State.Status}}")?, "running");
    let attached = pty.spawn(engine.call(&["attach", &name]))?;
    pty.wait_for("waiting")?;
    pty.type_keys("end\r")?;
    pty.wait_for("got end")?;
    attached.wait()?;
    assert_eq!(engine.ok(&["wait", &name])?.trim(), "8");
    engine.ok(&["rm", &name]).map(drop)
}
