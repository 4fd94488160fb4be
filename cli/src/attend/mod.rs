//! Waiting for a container in the foreground: its end, our signals and perhaps its terminal, in one poll loop.

mod relay;
mod terminal;

pub(crate) use relay::{LineEnds, Relay};
pub(crate) use terminal::window_size;

use crate::report;
use anyhow::{Context, Result};
use hostrun_runtime::{ContainerId, Created, ErrorKind, Exit, Request, Running, Runtime, Signal};
use nix::sys::signal::{SigSet, Signal as Named};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use relay::Place;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};

/// What is not meant for the container: the end of a child of ours (we have its pidfd), urgent data and a broken pipe of
/// ours. All else that can be held back is forwarded, as runc does.
const OURS: [Named; 3] = [Named::SIGCHLD, Named::SIGURG, Named::SIGPIPE];

/// By these the kernel stops a job in the background that uses its terminal; held back they would be an error of reading.
const JOB_CONTROL: [Named; 2] = [Named::SIGTTIN, Named::SIGTTOU];

/// How long a terminal may stay silent after the end before nobody is expected to write any more. Only processes that
/// outlive process 1 (in the host's pid namespace) make this wait happen.
const SILENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// How a container's terminal is connected to ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    /// Standard input goes to it.
    pub(crate) interactive: bool,
    /// How its lines end.
    pub(crate) ends: LineEnds,
}

/// What is to be done between a container's making and its start.
pub(crate) type Preparation<'a> = &'a dyn Fn(&Created) -> Result<()>;

/// Starts a container. One with a terminal is parked until the terminal is connected: its program finds the size and
/// the modes that will stay; so is one for which something is to be `prepared`, by its process id, before it runs.
///
/// # Errors
/// When it cannot be made or started; then nothing of it is left.
pub(crate) fn start(
    runtime: &Runtime,
    id: &ContainerId,
    request: Request,
    terminal: Option<Connection>,
    prepared: Option<Preparation<'_>>,
) -> Result<(Running, Option<Relay>)> {
    if terminal.is_none() && prepared.is_none() {
        return Ok((runtime.run(id, request)?, None));
    }
    let mut created = runtime.create(id, request)?;
    let console = created.take_console();
    let relay = console
        .zip(terminal)
        .map(|(master, connection)| Relay::connect(master, connection.interactive, connection.ends))
        .transpose();
    let started = relay.and_then(|relay| {
        prepared.map_or(Ok(()), |prepared| prepared(&created))?;
        Ok((created.start()?, relay))
    });
    if started.is_err() {
        undo(runtime, id);
    }
    started
}

/// Takes down a container that could not be started. The failure to start is what is told.
pub(crate) fn undo(runtime: &Runtime, id: &ContainerId) {
    let container = runtime.container(id);
    match container.and_then(|container| container.delete(true)) {
        Ok(deleted) => report::deleted(&deleted),
        // A poststart hook that failed: the runtime took it down itself.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => report::warn(&error.to_string()),
    }
}

/// Signals held back for forwarding. Made before the start, so that none is lost and none ends us.
#[derive(Debug)]
pub(crate) struct Attention {
    signals: SignalFd,
}

impl Attention {
    /// Blocks the forwarded signals, save those our caller has us ignore (`nohup`, jobs in the background), and opens a
    /// descriptor for them. With a `terminal` to relay, ours is read and written.
    ///
    /// # Errors
    /// When the kernel refuses either.
    pub(crate) fn begin(terminal: bool) -> Result<Self> {
        let ignored = ignored_signals()?;
        let mut set = SigSet::all();
        let kept = Named::iterator().filter(|signal| ignored >> (*signal as u32 - 1) & 1 == 1);
        let jobs = JOB_CONTROL.into_iter().filter(|_| terminal);
        for signal in kept.chain(OURS).chain(jobs) {
            set.remove(signal);
        }
        set.thread_block().context("cannot hold signals back")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals =
            SignalFd::with_flags(&set, flags).context("cannot open a signal descriptor")?;
        Ok(Self { signals })
    }

    /// Stays until the container's end.
    ///
    /// # Errors
    /// When poll or wait fail.
    pub(crate) fn stay(&self, running: &Running, mut relay: Option<Relay>) -> Result<Exit> {
        let mut ended = running.pidfd().is_none();
        loop {
            if ended && relay.as_ref().is_none_or(Relay::is_drained) {
                return running.wait().context("cannot wait for the container");
            }
            let ready = self.next(running, relay.as_ref(), ended)?;
            if ready.is_empty() {
                return running.wait().context("cannot wait for the container");
            }
            for (source, flags) in ready {
                match source {
                    Source::End => ended = true,
                    Source::Signal => self.forward(running, relay.as_ref())?,
                    Source::Terminal(place) => step(relay.as_mut(), place, flags),
                }
            }
        }
    }

    /// Waits for something to happen; empty after a silence when the container has ended.
    fn next(
        &self,
        running: &Running,
        relay: Option<&Relay>,
        ended: bool,
    ) -> Result<Vec<(Source, PollFlags)>> {
        let mut sources = vec![Source::Signal];
        let signals = self.signals.as_fd();
        let mut fds = vec![PollFd::from_borrowed_fd(signals, PollFlags::IN)];
        if let (Some(pidfd), false) = (running.pidfd(), ended) {
            sources.push(Source::End);
            fds.push(PollFd::from_borrowed_fd(pidfd, PollFlags::IN));
        }
        for (place, fd, flags) in relay.map(|relay| relay.wants(ended)).unwrap_or_default() {
            sources.push(Source::Terminal(place));
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        }
        loop {
            match poll(&mut fds, ended.then_some(&SILENCE)) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot poll"),
            }
        }
        let happened = sources.into_iter().zip(fds.iter().map(PollFd::revents));
        Ok(happened.filter(|(_, flags)| !flags.is_empty()).collect())
    }

    /// The descriptor that tells of a signal.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Hands on the signals that have come.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn forward(&self, running: &Running, relay: Option<&Relay>) -> Result<()> {
        while let Some(signal) = self.signals.read_signal().context("cannot read a signal")? {
            if signal.ssi_signo == Named::SIGWINCH as u32 {
                // Of our terminal. To a program without one it may mean something else altogether.
                if let Some(relay) = relay {
                    relay.resize();
                }
                continue;
            }
            let signal = Signal::parse(&signal.ssi_signo.to_string())?;
            // The container may have ended just now; then there is nobody to tell.
            if let Err(error) = running.signal(signal)
                && error.kind() != ErrorKind::NotFound
            {
                report::warn(&format!(
                    "cannot forward signal {}: {error}",
                    signal.number()
                ));
            }
        }
        Ok(())
    }
}

/// The signals that were set to be ignored when we were started, signal 1 in the lowest bit. A blocked signal is queued
/// even if it is ignored, so this has to be known before.
fn ignored_signals() -> Result<u64> {
    let cannot = "cannot read /proc/self/status";
    let mut file = File::open("/proc/self/status").context(cannot)?;
    // One read for nearly everybody: the kernel makes the text anew for each. Who is in hundreds of groups
    // has more of it.
    let mut text = vec![0_u8; 4096];
    let length = file.read(&mut text).context(cannot)?;
    if length == text.len() {
        file.read_to_end(&mut text).context(cannot)?;
    } else {
        text.truncate(length);
    }
    let status = String::from_utf8_lossy(&text);
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .context("/proc/self/status names no ignored signals")
}

#[derive(Debug, Clone, Copy)]
enum Source {
    End,
    Signal,
    Terminal(Place),
}

fn step(relay: Option<&mut Relay>, place: Place, flags: PollFlags) {
    if let Some(relay) = relay {
        relay.step(place, flags);
    }
}
