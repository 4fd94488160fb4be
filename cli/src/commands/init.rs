//! `init -- COMMAND`, hidden: process 1 of a container run with --init. Starts the command, reaps whatever is left to
//! it, hands signals on, and ends as the command ends.

use crate::report::Failure;
use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Pid, WaitOptions, WaitStatus, kill_process, wait};
use rustix::termios::{isatty, tcsetpgrp};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Runs the verb.
///
/// # Errors
/// When the command cannot be started.
pub(crate) fn main(words: &[OsString]) -> Result<u8> {
    let command = words
        .get(2..)
        .filter(|_| words.get(1).is_some_and(|word| word == "--"));
    let Some((program, arguments)) = command.and_then(<[OsString]>::split_first) else {
        return Err(Failure::new("init: this verb is for containers run with --init").into());
    };
    // All of them: a signal without a handler would otherwise be ignored by process 1, or end it.
    let mut set = SigSet::all();
    for synchronous in [
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGTRAP,
    ] {
        set.remove(synchronous);
    }
    set.thread_block()
        .context("init: cannot hold signals back")?;
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)
        .context("init: cannot open a signal descriptor")?;
    // A group of its own, so that the terminal's signals reach it once and not a second time through us.
    let child = Command::new(program)
        .args(arguments)
        .process_group(0)
        .spawn();
    let child = child.map_err(|error| refused(program, &error))?;
    let child = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("init: the child has no id")?;
    let input = std::io::stdin();
    if isatty(&input) {
        // Not our controlling terminal: then nobody's jobs are controlled.
        tcsetpgrp(&input, child).ok();
    }
    attend(&signals, child)
}

fn attend(signals: &SignalFd, child: Pid) -> Result<u8> {
    loop {
        if let Some(status) = reap(child) {
            return Ok(status);
        }
        let Some(signal) = signals
            .read_signal()
            .context("init: cannot read a signal")?
        else {
            continue;
        };
        let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
        if number == Signal::SIGCHLD as i32 {
            continue;
        }
        if let Some(signal) = rustix::process::Signal::from_named_raw(number) {
            // It may have ended just now.
            kill_process(child, signal).ok();
        }
    }
}

/// Reaps all that has ended; the command's own end is what everybody waits for.
fn reap(child: Pid) -> Option<u8> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            ended = Some(code(status));
        }
    }
    ended
}

fn code(status: WaitStatus) -> u8 {
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}

fn refused(program: &OsString, error: &std::io::Error) -> Failure {
    let code = if error.kind() == ErrorKind::NotFound {
        127
    } else {
        126
    };
    Failure::new(format!(
        "cannot execute '{}': {}",
        program.display(),
        crate::report::without_numbers(&error.to_string())
    ))
    .code(code)
}
