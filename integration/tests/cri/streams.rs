//! Logs, and processes that are executed or attached to.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::client::Cri;
use hostrun_integration::client::cri::Stream;
use hostrun_integration::client::cri::answer::Empty;
use hostrun_integration::client::cri::message::{Attach, Exec, ExecStream};
use hostrun_integration::client::cri::{END, SIZE, STDERR, STDIN, STDOUT};
use hostrun_integration::host;

use super::{STAYS, plain, usual};

/// The longest part of a line in a log.
const LONGEST: usize = 16384;

pub(crate) fn keeps_logs_in_the_form_of_cri(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(plain)?;
    let long = "head -c 40000 /dev/zero | tr '\\0' x; echo";
    let script = format!("echo out; echo err >&2; {long}; printf 'no end'");
    let container = pod.start(&script, usual)?;
    assert_eq!(container.wait()?.exit_code, 0);
    let log = container.log()?;
    let mut seen = Vec::new();
    for line in log.lines() {
        let mut words = line.splitn(4, ' ');
        let time = words.next().unwrap_or_default();
        // 2026-11-23T19:37:00.123456789Z, or with an offset
        ensure!(
            time.len() >= 20 && time.as_bytes().get(10) == Some(&b'T'),
            "{line}"
        );
        let rest: Vec<&str> = words.collect();
        let [stream, kind, text] = rest[..] else {
            anyhow::bail!("{line}");
        };
        let text = if text.len() > 100 {
            text.len().to_string()
        } else {
            text.to_owned()
        };
        seen.push(format!("{stream} {kind} {text}"));
    }
    let rest = 40000 - 2 * LONGEST;
    let expected = [
        "stdout F out".to_owned(),
        format!("stdout P {LONGEST}"),
        format!("stdout P {LONGEST}"),
        format!("stdout F {rest}"),
        "stdout P no end".to_owned(),
    ];
    let of = |stream| seen.iter().filter(move |line| line.starts_with(stream));
    assert!(of("stdout").eq(&expected), "{seen:?}");
    assert!(of("stderr").eq(["stderr F err"]), "{seen:?}");
    pod.remove()
}

pub(crate) fn opens_a_log_anew(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(plain)?;
    let container = pod.start("while :; do echo tick; sleep 0.05; done", usual)?;
    let ticks = || container.log().is_ok_and(|log| log.contains("tick"));
    host::wait_for("a log", ticks)?;
    fs::rename(
        container.log_path(),
        container.log_path().with_extension("old"),
    )?;
    cri.call::<Empty>("ReopenContainerLog", &container.named())?;
    host::wait_for("a new log", ticks)?;
    pod.remove()
}

pub(crate) fn ends_what_executes_too_long(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(plain)?;
    let container = pod.start(STAYS, usual)?;
    let request = Exec {
        id: container.id.clone(),
        command: ["sleep", "7171"].map(str::to_owned).to_vec(),
        timeout: 1,
    };
    let refused = cri.refused("ExecSync", &request)?;
    // 4 is that a deadline has passed
    ensure!(
        refused.code == 4 || refused.message.contains("timeout"),
        "{refused}"
    );
    host::wait_for("its end", || {
        let all = cri.world().processes().unwrap_or_default();
        !all.iter().any(|(_, words)| words == "sleep 7171")
    })?;
    assert_eq!(container.shell("echo more")?, "more\n");
    pod.remove()
}

pub(crate) fn executes_at_a_terminal(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(plain)?;
    let container = pod.start(STAYS, usual)?;
    let script = "read word; echo got $word; stty size; exit 4";
    let mut request = ExecStream {
        id: container.id.clone(),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        terminal: true,
        stdin: true,
        stdout: true,
        stderr: false,
    };
    let mut stream = Stream::open(cri, "Exec", &request)?;
    stream.send(SIZE, br#"{"Width":101,"Height":43}"#)?;
    // the size is another message, which takes its own way
    std::thread::sleep(std::time::Duration::from_millis(300));
    stream.send(STDIN, b"words\n")?;
    stream.to_end()?;
    let told = stream.all(STDOUT);
    ensure!(told.contains("got words\r\n43 101\r\n"), "{told:?}");
    let end = stream.all(END);
    ensure!(end.contains("ExitCode") && end.contains("\"4\""), "{end}");

    // and without one
    request.terminal = false;
    request.stderr = true;
    let script = "cat; echo error >&2";
    request.command = ["sh", "-c", script].map(str::to_owned).to_vec();
    request.stdin = false;
    let mut stream = Stream::open(cri, "Exec", &request)?;
    stream.to_end()?;
    assert_eq!(stream.all(STDERR), "error\n");
    ensure!(stream.all(END).contains("Success"), "{:?}", stream.all(END));
    pod.remove()
}

pub(crate) fn attaches_to_what_runs(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(plain)?;
    let script = "while read word; do echo got $word; echo error >&2; done; exit 6";
    let container = pod.start(script, |config, _| {
        config.stdin = true;
        config.stdin_once = true;
    })?;
    let request = Attach {
        id: container.id.clone(),
        stdin: true,
        terminal: false,
        stdout: true,
        stderr: true,
    };
    let mut stream = Stream::open(cri, "Attach", &request)?;
    stream.send(STDIN, b"words\n")?;
    stream.until(STDOUT, "got words\n").context("the output")?;
    stream.until(STDERR, "error\n").context("the errors")?;
    drop(stream);
    // its input ends with the first who was there
    assert_eq!(container.wait()?.exit_code, 6);
    ensure!(container.wrote()?.contains("got words\n"), "not in the log");
    pod.remove()
}
