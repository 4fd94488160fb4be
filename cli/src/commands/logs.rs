//! `hostrun logs`: reads a detached container's log back, each line to the stream it was written to.

use crate::args::containers::Logs;
use crate::clock::{self, Instant};
use crate::globals::Globals;
use crate::monitor::cri::{LONGEST, Line, Stream};
use crate::output;
use crate::record::{Phase, Record};
use crate::report::{self, Failure};
use crate::target::Target;
use anyhow::{Context, Result};
use rustix::fs::inotify;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;

/// The longest line a log can have: text, time, stream and tag.
const LONGEST_LINE: u64 = LONGEST as u64 + 128;

/// Runs the verb.
///
/// # Errors
/// When there is no such container or it has no log.
pub(crate) fn main(globals: &Globals, args: &Logs) -> Result<u8> {
    let choice = Choice::read(args)?;
    let target = Target::find(globals, &args.container)?;
    let no_log = || {
        Failure::new(format!("container {} has no log", target.shown()))
            .hint("logs are kept for containers started with 'hostrun run -d'")
    };
    let record = target.record.as_ref().ok_or_else(no_log)?;
    let file = File::open(record.log()).map_err(|_missing| no_log())?;
    // Before the first read, so that nothing written in between is missed.
    let events = args.follow.then(|| watch(record)).transpose()?;
    let mut log = BufReader::new(file);
    if let Some(lines) = choice.tail {
        skip_to_last(&mut log, lines)?;
    }
    let mut printer = Printer {
        choice,
        begun: [true; 2],
    };
    printer.drain(&mut log)?;
    while let Some(events) = &events {
        let over = is_over(record);
        printer.drain(&mut log)?;
        if over {
            break;
        }
        wait(events)?;
    }
    Ok(0)
}

/// Which lines, and how.
#[derive(Debug)]
struct Choice {
    tail: Option<usize>,
    since: Option<Instant>,
    timestamps: bool,
}

impl Choice {
    fn read(args: &Logs) -> Result<Self> {
        let tail = match args.tail.as_str() {
            "all" | "-1" => None,
            number => {
                let number = number.parse().map_err(|_malformed| {
                    report::usage(format!("--tail: '{number}' is no number of lines"))
                })?;
                Some(number)
            }
        };
        let since = args
            .since
            .as_deref()
            .map(|text| {
                Instant::parse_since(text, clock::now()).ok_or_else(|| {
                    report::usage(format!("--since: '{text}' is neither a time nor a span"))
                })
            })
            .transpose()?;
        Ok(Self {
            tail,
            since,
            timestamps: args.timestamps,
        })
    }
}

/// Writes lines out; knows whether each stream is at the beginning of one.
#[derive(Debug)]
struct Printer {
    choice: Choice,
    begun: [bool; 2],
}

impl Printer {
    /// Prints what is there; a line whose end is not written yet stays for the next time.
    fn drain(&mut self, log: &mut BufReader<File>) -> Result<()> {
        loop {
            let mut line = Vec::new();
            let count = log
                .by_ref()
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut line)
                .context("cannot read the log")?;
            if line.pop_if(|last| *last == b'\n').is_none() {
                let back = i64::try_from(count).unwrap_or(0);
                log.seek_relative(-back).context("cannot read the log")?;
                return Ok(());
            }
            if let Some(line) = Line::parse(&line) {
                self.print(&line)?;
            }
        }
    }

    fn print(&mut self, line: &Line<'_>) -> Result<()> {
        if let Some(since) = self.choice.since
            && Instant::parse(line.time).is_none_or(|at| at < since)
        {
            return Ok(());
        }
        let [out, err] = &mut self.begun;
        let begun = if line.stream == Stream::Stdout {
            out
        } else {
            err
        };
        let mut text = Vec::with_capacity(line.text.len() + 40);
        if self.choice.timestamps && *begun {
            text.extend_from_slice(line.time.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(line.text);
        if line.full {
            text.push(b'\n');
        }
        *begun = line.full;
        match line.stream {
            Stream::Stdout => output::bytes(&text)?,
            Stream::Stderr => output::say_bytes(&text),
        }
        Ok(())
    }
}

/// Places the reader before the last `lines` lines of the container's own, in one pass and with memory for no more.
fn skip_to_last(log: &mut BufReader<File>, lines: usize) -> Result<()> {
    let mut starts: VecDeque<u64> = VecDeque::new();
    let (mut position, mut begins) = (0_u64, true);
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = log
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .context("cannot read the log")?;
        if count == 0 {
            break;
        }
        if begins {
            starts.push_back(position);
            if starts.len() > lines {
                starts.pop_front();
            }
        }
        begins =
            Line::parse(line.strip_suffix(b"\n").unwrap_or(&line)).is_none_or(|line| line.full);
        position += count as u64;
    }
    let start = starts.front().copied().unwrap_or(position);
    log.seek(SeekFrom::Start(start))
        .context("cannot read the log")?;
    Ok(())
}

/// The container has ended and whoever kept its log is done.
fn is_over(record: &Record) -> bool {
    let ended = record
        .status()
        .is_ok_and(|status| status.phase == Phase::Exited);
    ended || !record.dir().exists() || !record.is_attended().unwrap_or(false)
}

fn watch(record: &Record) -> Result<OwnedFd> {
    let events = inotify::init(inotify::CreateFlags::CLOEXEC).context("cannot watch the log")?;
    let kinds = inotify::WatchFlags::MODIFY
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::CLOSE_WRITE
        | inotify::WatchFlags::DELETE_SELF;
    inotify::add_watch(&events, record.dir(), kinds).context("cannot watch the log")?;
    Ok(events)
}

fn wait(events: &OwnedFd) -> Result<()> {
    // Only that something happened counts, not what.
    let mut buffer = [0_u8; 4096];
    match rustix::io::read(events, &mut buffer) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error).context("cannot watch the log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_last_lines_are_counted_as_the_container_wrote_them() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"t stdout F one\nt stdout P tw\nt stdout F o\nt stderr F three\n")
            .unwrap();
        for (lines, rest) in [
            (0, ""),
            (1, "t stderr F three\n"),
            (2, "t stdout P tw\nt stdout F o\nt stderr F three\n"),
        ] {
            let mut log = BufReader::new(file.try_clone().unwrap());
            log.seek(SeekFrom::Start(0)).unwrap();
            skip_to_last(&mut log, lines).unwrap();
            let mut text = String::new();
            log.read_to_string(&mut text).unwrap();
            assert_eq!(text, rest, "{lines}");
        }
    }
}
