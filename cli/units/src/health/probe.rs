//! One health check, carried out: a command in a container, under a timeout, with its output at hand.

use super::asking::Hostrun;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use rustix::time::Timespec;
use std::io::{self, PipeReader, Read};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How much of the end of a check's output is kept, in bytes.
const KEPT: usize = 4096;

/// How much is read after its end, in bytes: what it has left behind may go on writing for ever.
const AFTER: usize = 1 << 20;

/// How long a process may take to die of SIGKILL: it does not where a cgroup v1 holds it frozen.
const DYING: Duration = Duration::from_secs(2);

/// Carries a check out; why it failed, if it did.
pub(super) fn probe(
    hostrun: &Hostrun,
    id: &str,
    command: &[String],
    timeout: Duration,
) -> Result<(), String> {
    let mut output = Vec::new();
    match ended(hostrun, id, command, timeout, &mut output) {
        Ok(None) => Err(format!("no answer within {}", shown(timeout))),
        Ok(Some(0)) => Ok(()),
        Ok(Some(code)) => Err(match last_line(&output) {
            Some(line) => format!("exit code {code}: {line}"),
            None => format!("exit code {code}"),
        }),
        Err(error) => Err(format!("cannot be carried out: {error}")),
    }
}

fn shown(span: Duration) -> String {
    if span.subsec_millis() == 0 {
        format!("{} s", span.as_secs())
    } else {
        format!("{} ms", span.as_millis())
    }
}

/// Its exit code, or none after a timeout.
fn ended(
    hostrun: &Hostrun,
    id: &str,
    command: &[String],
    timeout: Duration,
    output: &mut Vec<u8>,
) -> io::Result<Option<i32>> {
    let (mut reader, writer) = io::pipe()?;
    fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    let mut call = hostrun.command(["exec", id]);
    call.args(command)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = call.spawn()?;
    // Our own ends of the pipe.
    drop(call);
    let in_time = wait(&mut child, &mut reader, Instant::now() + timeout, output)?;
    if !in_time {
        put_down(&child);
        if !wait(&mut child, &mut reader, Instant::now() + DYING, output)? {
            child.kill()?;
        }
    }
    let status = child.wait()?;
    let mut left = AFTER;
    while left > 0 {
        match take(&mut reader, output)? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(in_time.then(|| status.code().unwrap_or(-1)))
}

/// Waits for the end, reading all that is written; whether it came in time.
fn wait(
    child: &mut Child,
    reader: &mut PipeReader,
    deadline: Instant,
    output: &mut Vec<u8>,
) -> io::Result<bool> {
    // Not waited for so far, so that the number is still its.
    let pid = Pid::from_child(child);
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let mut open = true;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        let mut ends = vec![PollFd::new(&process, PollFlags::IN)];
        if open {
            ends.push(PollFd::new(&*reader, PollFlags::IN));
        }
        match poll(&mut ends, left.as_ref()) {
            Ok(0) => return Ok(false),
            Err(Errno::INTR) => continue,
            ready => ready?,
        };
        let is_over = ends.first().is_some_and(|end| !end.revents().is_empty());
        let is_told = ends.get(1).is_some_and(|end| !end.revents().is_empty());
        if is_over {
            return Ok(true);
        }
        // Told, and nothing to read: nobody writes any more.
        open = !is_told || take(reader, output)? > 0;
    }
}

/// Reads what is there, and keeps the end of it; 0 where there is nothing.
fn take(reader: &mut PipeReader, output: &mut Vec<u8>) -> io::Result<usize> {
    let mut piece = [0; KEPT];
    match reader.read(&mut piece) {
        Ok(read) => {
            output.extend(piece.iter().take(read));
            output.drain(..output.len().saturating_sub(KEPT));
            Ok(read)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(1),
        Err(error) => Err(error),
    }
}

/// Kills what `hostrun exec` has started. It is held meanwhile, so that it cannot wait for its children, and their
/// numbers remain theirs; each is the first of a session, and what it started is in its process group.
fn put_down(exec: &Child) {
    let pid = Pid::from_child(exec);
    if kill_process(pid, Signal::STOP).is_err() {
        return;
    }
    let begun = Instant::now();
    while parent_and_state(pid).is_some_and(|(_, state)| state != 'T') && begun.elapsed() < DYING {
        std::thread::sleep(Duration::from_millis(5));
    }
    for child in processes() {
        if parent_and_state(child).is_some_and(|(parent, _)| parent == pid.as_raw_nonzero().get()) {
            // Gone already, or in another group: nothing to do.
            kill_process_group(child, Signal::KILL).unwrap_or_default();
            kill_process(child, Signal::KILL).unwrap_or_default();
        }
    }
    kill_process(pid, Signal::CONT).unwrap_or_default();
}

fn processes() -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(Pid::from_raw).collect()
}

/// `/proc/PID/stat`: state and parent stand behind the name, which may have any letters (proc(5)).
fn parent_and_state(pid: Pid) -> Option<(i32, char)> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let mut words = text.rsplit_once(')')?.1.split_whitespace();
    let state = words.next()?.chars().next()?;
    Some((words.next()?.parse().ok()?, state))
}

/// The last line that has anything in it.
fn last_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let mut lines = text.lines().rev().map(super::report::plain);
    lines.find(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_plain() {
        assert_eq!(last_line(b"a\nb \x1b[2J\x07c\n\n \n").unwrap(), "b  [2J c");
        assert_eq!(last_line(b"\xff\xfe\rx").unwrap(), "\u{fffd}\u{fffd} x");
        assert_eq!(last_line(b" \n\t"), None);
        assert!(last_line(&[b'x'; 5000]).unwrap().chars().count() <= 201);
    }
}
