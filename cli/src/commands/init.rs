//! `init -- COMMAND`, hidden: process 1 of a container run with --init. Starts the command, reaps whatever is left to
//! it, hands signals on, and ends as the command ends.

use crate::report::Failure;
use anyhow::{Context, Result};
use hostrun_runtime::seal;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Pid, WaitOptions, WaitStatus, getpgrp, kill_process, wait};
use rustix::termios::{isatty, tcsetpgrp};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The word that tells the child's stage from process 1's.
const CHILD: &str = "child";

/// Runs the verb.
///
/// # Errors
/// When the command cannot be started.
pub(crate) fn main(words: &[OsString]) -> Result<u8> {
    let not_ours = || Failure::new("init: this verb is for containers run with --init");
    // There it comes through a read-only mount. Reached in any other way, say by a script that
    // names /proc/self/exe, it would run a container's programs beside a binary they could hold on
    // to and overwrite later (CVE-2019-5736).
    if !seal::is_sealed()? {
        return Err(not_ours().into());
    }
    let rest = words.get(1..).unwrap_or_default();
    let (stage, command) = rest.split_first().ok_or_else(not_ours)?;
    let (program, arguments) = command.split_first().ok_or_else(not_ours)?;
    match stage.to_str() {
        Some("--") => init(command),
        Some(CHILD) => Err(become_command(program, arguments).into()),
        _ => Err(not_ours().into()),
    }
}

/// Takes the terminal, lets signals through again and executes the command; returns only when that fails.
fn become_command(program: &OsString, arguments: &[OsString]) -> Failure {
    let input = std::io::stdin();
    if isatty(&input) {
        // While SIGTTOU is still blocked, and before anything reads. If it is not our controlling terminal, nobody's
        // jobs are controlled.
        tcsetpgrp(&input, getpgrp()).ok();
    }
    if let Err(error) = SigSet::all().thread_unblock() {
        return Failure::new(format!("init: cannot let signals through: {error}"));
    }
    let mut command = Command::new(program);
    if std::env::var_os("LISTEN_FDS").is_some() {
        // What a supervisor opened is for the command, which is not process 1.
        command.env("LISTEN_PID", std::process::id().to_string());
    }
    refused(program, &command.args(arguments).exec())
}

fn init(command: &[OsString]) -> Result<u8> {
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
    // The blocked signals are inherited, and only the child itself can unblock them without a moment in which process 1
    // would lose one. A group of its own, so that the terminal's signals reach it once and not again through us.
    let child = Command::new("/proc/self/exe")
        .args(["init", CHILD])
        .args(command)
        .process_group(0)
        .spawn()
        .context("init: cannot start the command")?;
    let child = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("init: the child has no id")?;
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
