//! Handles on processes: dropping one closes descriptors and nothing else.

use crate::attend::Ready;
use crate::container::Container;
use crate::error::{At, Error, ErrorKind, Result};
use crate::held::Held;
use crate::id::ContainerId;
use crate::remains::Remains;
use crate::runtime::Runtime;
use crate::signal::Signal;
use crate::stopped::Stopped;
use crate::timings::Timings;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

/// A container whose program waits to be started.
#[derive(Debug)]
pub struct Created {
    container: Container,
    running: Running,
    held: Option<Held>,
}

/// A program that runs, as a child of this process.
#[derive(Debug)]
pub struct Running {
    pid: i32,
    pidfd: Option<OwnedFd>,
    console: Option<OwnedFd>,
    timings: Timings,
    /// Whose first process it is; `None` for one that was executed in a container.
    of: Option<(Runtime, ContainerId)>,
    /// What its container leaves, where this process has made and started it in one go.
    remains: Option<Remains>,
    /// How it ended, once it was reaped.
    exit: OnceLock<Exit>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// The code, or 128 plus the signal, as shells count.
    pub fn status(self) -> u8 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => u8::try_from(signal.saturating_add(128)).unwrap_or(u8::MAX),
        }
    }
}

impl Created {
    pub(crate) fn new(container: Container, running: Running, held: Option<Held>) -> Created {
        Created {
            container,
            running,
            held,
        }
    }

    /// Pid in the caller's pid namespace.
    pub fn pid(&self) -> i32 {
        self.running.pid
    }

    /// A pidfd of it.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.running.pidfd()
    }

    /// The terminal's master, once, where the process has a terminal.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.running.take_console()
    }

    /// Where the time went.
    pub fn timings(&self) -> &Timings {
        &self.running.timings
    }

    /// The container it is.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// Lets the program run.
    ///
    /// # Errors
    /// `ExecNotFound` or `ExecDenied` where the program does not run.
    pub fn start(self) -> Result<Running> {
        match self.held.and_then(|held| held.start(&self.container)) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                // Its program may run already, behind a filter that nobody answers for.
                self.running.signal(Signal::KILL).unwrap_or_default();
                return Err(error);
            }
            None => self.container.start()?,
        }
        let Container { runtime, id, .. } = &self.container;
        Ok(self.running.of(runtime, id))
    }
}

impl Running {
    pub(crate) fn new(ready: Ready, timings: Timings) -> Running {
        let pid = ready.child.pid;
        Running {
            pid,
            pidfd: ready.child.release(),
            console: ready.console,
            timings,
            of: None,
            remains: None,
            exit: OnceLock::new(),
        }
    }

    /// It is this container's first process.
    pub(crate) fn of(mut self, runtime: &Runtime, id: &ContainerId) -> Running {
        self.of = Some((runtime.clone(), id.clone()));
        self
    }

    /// All that it leaves is held open already.
    pub(crate) fn leaving(mut self, remains: Remains) -> Running {
        self.remains = Some(remains);
        self
    }

    /// A process that criu has made a child of this one.
    pub(crate) fn restored(pid: i32, pidfd: Option<OwnedFd>, console: Option<OwnedFd>) -> Running {
        Running {
            pid,
            pidfd,
            console,
            timings: Timings::start(),
            of: None,
            remains: None,
            exit: OnceLock::new(),
        }
    }

    fn handle(&self) -> Result<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd).ok_or_else(|| {
            Error::new(ErrorKind::WrongState, "reach process", self.pid.to_string())
                .because("it was reaped already")
        })
    }

    /// Pid in the caller's pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A pidfd, readable when the process has ended; `None` where it had ended before this handle was made.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// The terminal's master, once, where the process has a terminal.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// Where the time went.
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    /// Waits for the end of a container's first process, reaps it, and gives the container that is
    /// left.
    ///
    /// # Errors
    /// `System` where somebody else reaped it; `WrongState` for a process that was executed in a
    /// container, whose end is not the container's: that is for [`Running::wait`].
    pub fn into_stopped(mut self) -> Result<Stopped> {
        let Some((runtime, id)) = self.of.take() else {
            return Err(Error::new(
                ErrorKind::WrongState,
                "wait for the container of process",
                self.pid.to_string(),
            )
            .because("it is not its first process"));
        };
        let exit = self.wait()?;
        Ok(Stopped::new(runtime, id, exit, self.remains))
    }

    /// Waits for the end and reaps the process; says the same again when it is asked again. What is
    /// left of its container is the caller's to delete: [`Running::into_stopped`] has it.
    ///
    /// # Errors
    /// `System` where somebody else reaped it.
    pub fn wait(&self) -> Result<Exit> {
        if let Some(exit) = self.exit.get() {
            return Ok(*exit);
        }
        let handle = self.handle()?;
        loop {
            let status = match waitid(WaitId::PidFd(handle), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.at("wait for process", self.pid)?,
            };
            let code = status.as_ref().and_then(WaitIdStatus::exit_status);
            let signal = status.as_ref().and_then(WaitIdStatus::terminating_signal);
            let exit = match (code, signal) {
                (Some(code), _) => Exit::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => continue,
            };
            return Ok(*self.exit.get_or_init(|| exit));
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// `NotFound` where the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        send(self.handle()?, signal).at("signal process", self.pid)
    }
}

/// `pidfd_send_signal(2)` of any signal, real-time ones included.
pub(crate) fn send(pidfd: BorrowedFd<'_>, signal: Signal) -> rustix::io::Result<()> {
    crate::sys::pidfd_send_signal(pidfd, signal.number())
}
