//! A program that takes output: it reads standard output from descriptor 3 and standard error from 4,
//! and closes descriptor 5 when it is ready.
//!
//! Descriptors get such numbers only in a process that has no others: our own binary, started for that with
//! the three as its standard streams, puts them in place and becomes the program.

use super::uri::Program;
use super::{Context, pipe};
use crate::wire::status::{Answer, Code, Failure};
use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The verb that our binary becomes a logger by.
pub(crate) const VERB: &str = "become-logger";

/// How long one may take to be ready, as with Go's shim.
const READY: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// How long one may take to end when its output has.
pub(crate) const PATIENCE: Duration = Duration::from_secs(12);

/// A logger that runs. It is our child, and reaped as all strangers are.
#[derive(Debug)]
pub(crate) struct Logger {
    pidfd: OwnedFd,
}

impl Logger {
    /// Kills it, where its time is over.
    pub(crate) fn kill(&self) {
        pidfd_send_signal(&self.pidfd, Signal::KILL).unwrap_or_default();
    }
}

/// Starts it and waits until it is ready; gives the ends to write to.
pub(super) fn start(program: &Program, context: Context<'_>) -> Answer<(Logger, OwnedFd, OwnedFd)> {
    let (out, out_end) = pipe()?;
    let (err, err_end) = pipe()?;
    let (ready, ready_end) = pipe()?;
    let failed = |error: io::Error| {
        let path = program.path.display();
        Failure::new(Code::Unknown, format!("start logger {path}: {error}"))
    };
    let child = command(program, context)
        .stdin(Stdio::from(out))
        .stdout(Stdio::from(err))
        .stderr(Stdio::from(ready_end))
        .spawn()
        .map_err(failed)?;
    let pid = Pid::from_raw(child.id().cast_signed());
    let opened = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let Some(Ok(pidfd)) = opened else {
        return Err(failed(io::ErrorKind::NotFound.into()));
    };
    let logger = Logger { pidfd };
    let mut fds = [PollFd::new(&ready, PollFlags::IN)];
    if !matches!(poll(&mut fds, Some(&READY)), Ok(1)) {
        logger.kill();
        return Err(failed(io::ErrorKind::TimedOut.into()));
    }
    let now = Timespec::default();
    let mut ended = [PollFd::new(&logger.pidfd, PollFlags::IN)];
    if matches!(poll(&mut ended, Some(&now)), Ok(1)) {
        return Err(failed(io::ErrorKind::BrokenPipe.into()));
    }
    Ok((logger, out_end, err_end))
}

/// Ourselves, to become the program. It gets nothing of our environment.
fn command(program: &Program, context: Context<'_>) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(VERB)
        .arg(&program.path)
        .args(&program.args)
        .env_clear()
        .env("CONTAINER_ID", context.id)
        .env("CONTAINER_NAMESPACE", context.namespace)
        .current_dir("/");
    command
}

/// What our binary does under that verb: moves its standard streams and becomes the program.
///
/// # Errors
/// Why it did not.
pub(crate) fn become_logger(mut words: impl Iterator<Item = OsString>) -> io::Error {
    let Some(program) = words.next() else {
        return io::ErrorKind::InvalidInput.into();
    };
    let move_up = || -> rustix::io::Result<[OwnedFd; 3]> {
        // The lowest numbers that are free, 3, 4 and 5, in this order.
        Ok([
            rustix::io::dup(rustix::stdio::stdin())?,
            rustix::io::dup(rustix::stdio::stdout())?,
            rustix::io::dup(rustix::stdio::stderr())?,
        ])
    };
    // The shim's, which takes its signals from a descriptor. A shell would wait for SIGCHLD for ever.
    if let Err(errno) = SigSet::empty().thread_set_mask() {
        return errno.into();
    }
    match move_up() {
        // Open over what follows.
        Ok(_three) => Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .exec(),
        Err(errno) => errno.into(),
    }
}
