//! What goes in and comes out: pipes, terminals, log files.

use std::fs;
use std::io::Write as _;

use anyhow::{Result, ensure};
use hostrun_integration::client::Containerd;
use hostrun_integration::pty::Pty;
use hostrun_integration::runtime::Call;
use hostrun_integration::{host, program};

use super::{end, exec};

pub(crate) fn keeps_the_output_of_a_container_in_the_background(
    containerd: &Containerd<'_>,
) -> Result<()> {
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
}

pub(crate) fn executes_beside_the_first_process(containerd: &Containerd<'_>) -> Result<()> {
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
}

pub(crate) fn executes_at_a_terminal(containerd: &Containerd<'_>) -> Result<()> {
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
}

pub(crate) fn runs_at_a_terminal(containerd: &Containerd<'_>) -> Result<()> {
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
}

pub(crate) fn passes_its_input_on(containerd: &Containerd<'_>) -> Result<()> {
    let words = [
        "sh",
        "-c",
        "while [ \"$line\" != two ]; do read line; echo \"got $line\"; done",
    ];
    let run = containerd.run(&["--rm"], &containerd.name(), &words);
    let out = run.input("one\ntwo\n").run()?;
    assert_eq!(out.ok()?, "got one\ngot two\n");
    Ok(())
}

/// More than every pipe and buffer on its way holds.
const LINES: u32 = 400_000;

/// The text that `seq` writes, of a checksum.
fn digest(text: &str) -> (usize, u64) {
    let sum = |sum: u64, byte: u8| sum.wrapping_mul(31).wrapping_add(byte.into());
    (text.len(), text.bytes().fold(0, sum))
}

fn numbers() -> String {
    let lines: Vec<String> = (1..=LINES).map(|line| format!("{line}\n")).collect();
    lines.concat()
}

pub(crate) fn loses_nothing_of_a_large_output(containerd: &Containerd<'_>) -> Result<()> {
    let script = format!("seq {LINES} & seq {LINES} >&2; wait");
    let out = containerd.run(&["--rm"], &containerd.name(), &["sh", "-c", &script]);
    let out = out.run()?;
    assert_eq!(out.code(), 0, "{}", out.stderr());
    let expected = digest(&numbers());
    assert_eq!(digest(&out.stdout()), expected, "standard output");
    assert_eq!(digest(&out.stderr()), expected, "standard error");
    let name = containerd.background(&[], "sleep 60")?;
    let out = exec(containerd, &[], &name, &["seq", &LINES.to_string()]).run()?;
    assert_eq!(digest(&out.ok()?), expected, "of an exec");
    end(containerd, &name)
}

pub(crate) fn loses_nothing_of_a_large_output_at_a_terminal(
    containerd: &Containerd<'_>,
) -> Result<()> {
    // ctr 1.6 does not print what comes right before the end
    let script = "seq 40000; echo the end; read -r line";
    let whole = |screen: &str| {
        let mut lines = screen.lines().filter_map(|line| line.trim().parse().ok());
        (1..=40_000_u32).all(|number| lines.next() == Some(number))
    };
    let mut pty = Pty::open()?;
    let call = containerd.run(&["--rm", "-t"], &containerd.name(), &["sh", "-c", script]);
    let run = pty.spawn(call)?;
    ensure!(whole(&pty.wait_for("the end")?), "a line is missing");
    pty.type_keys("\r")?;
    assert_eq!(run.wait()?.code(), 0);
    let name = containerd.background(&[], "sleep 60")?;
    let run = pty.spawn(exec(containerd, &["-t"], &name, &["sh", "-c", script]))?;
    ensure!(
        whole(&pty.wait_for("the end")?),
        "a line of an exec is missing"
    );
    pty.type_keys("\r")?;
    assert_eq!(run.wait()?.code(), 0);
    end(containerd, &name)
}

/// `cat`, which says when it is ready to be given something.
const CAT: [&str; 3] = ["sh", "-c", "echo ready; cat; echo over"];

pub(crate) fn tells_the_end_of_the_input(containerd: &Containerd<'_>) -> Result<()> {
    let through = |call: Call| -> Result<()> {
        let (read, write) = std::io::pipe()?;
        let mut run = call.stdin(read).spawn()?;
        // an end that comes before ctr listens is lost in ctr 1.6
        run.wait_for("ready")?;
        (&write).write_all(b"one\ntwo\n")?;
        run.wait_for("two")?;
        drop(write);
        assert_eq!(run.wait()?.ok()?, "ready\none\ntwo\nover\n");
        Ok(())
    };
    through(containerd.run(&["--rm"], &containerd.name(), &CAT))?;
    let name = containerd.background(&[], "sleep 60")?;
    through(exec(containerd, &[], &name, &CAT))?;
    end(containerd, &name)
}

pub(crate) fn follows_the_size_of_a_terminal(containerd: &Containerd<'_>) -> Result<()> {
    let mut pty = Pty::open()?;
    let script = "for size in '33 90' '12 34'; do
            while [ \"$(stty size)\" != \"$size\" ]; do sleep 0.05; done; echo \"it is $size\"
        done";
    let words = ["sh", "-c", script];
    pty.resize(90, 33)?;
    let run = pty.spawn(containerd.run(&["--rm", "-t"], &containerd.name(), &words))?;
    pty.wait_for("it is 33 90")?;
    pty.resize(34, 12)?;
    pty.wait_for("it is 12 34")?;
    assert_eq!(run.wait()?.code(), 0);
    Ok(())
}

pub(crate) fn attaches_to_what_runs(containerd: &Containerd<'_>) -> Result<()> {
    let name = containerd.name();
    let script = "while read -r line; do echo \"got $line\"; [ \"$line\" != bye ] || exit 4; done";
    let run = containerd.run(&["--detach"], &name, &["sh", "-c", script]);
    run.run()?.ok()?;
    let attach = containerd.call(&["task", "attach", &name]);
    let out = attach.input("one\nbye\n").run()?;
    ensure!(out.stdout().contains("got one\ngot bye\n"), "{out:?}");
    assert_eq!(out.code(), 4, "{}", out.stderr());
    drop(containerd.call(&["task", "rm", &name]).run()?);
    containerd.ok(&["container", "rm", &name]).map(drop)
}

pub(crate) fn gives_the_output_to_a_program_that_logs(containerd: &Containerd<'_>) -> Result<()> {
    let dir = containerd.world().dir().join(containerd.name());
    fs::create_dir(&dir)?;
    let logger = dir.join("logger");
    // the streams are descriptors 3 and 4; the end of 5 says that it is ready
    let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\necho \"$CONTAINER_ID $CONTAINER_NAMESPACE $*\" >called\n\
                  exec 5>&-\ncat <&3 >out & cat <&4 >err & wait\n";
    program::write(&logger, 0o755, script)?;
    let uri = format!("binary://{}?--one=two", logger.display());
    let name =
        containerd.background(&["--log-uri", &uri], "echo to out; echo to err >&2; exit 3")?;
    containerd.wait_until(&name, "STOPPED")?;
    super::remove(containerd, &name)?;
    let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
    let logged = || read("out") == "to out\n" && read("err") == "to err\n";
    host::wait_for("the output in the logger's files", logged)?;
    let called = read("called");
    ensure!(called.starts_with(&format!("{name} default")), "{called}");
    ensure!(called.contains("--one two"), "{called}");
    Ok(())
}

pub(crate) fn gets_on_when_nobody_reads(containerd: &Containerd<'_>) -> Result<()> {
    // ctr goes, and its ends of the FIFOs with it: 60 KiB are there, more waits for a reader
    let name = containerd.background(&[], "seq 100000; exit 3")?;
    let other = containerd.background(&[], "sleep 60")?;
    let out = exec(containerd, &[], &other, &["echo", "beside"]).run()?;
    assert_eq!(out.ok()?, "beside\n");
    end(containerd, &other)?;
    drop(
        containerd
            .call(&["task", "kill", "-s", "SIGKILL", &name])
            .run()?,
    );
    containerd.wait_until(&name, "STOPPED")?;
    super::remove(containerd, &name)
}
