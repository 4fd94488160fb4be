//! Signals, as something to be read.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};

/// Those that are blocked and read instead.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Blocks them, for this thread and all that come of it.
    pub(crate) fn block() -> nix::Result<Signals> {
        let mut set = SigSet::empty();
        for signal in [
            Signal::SIGCHLD,
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
        ] {
            set.add(signal);
        }
        set.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).map(Signals)
    }

    /// Takes all that came; was one among them that asks us to end?
    pub(crate) fn take(&self) -> bool {
        let mut end = false;
        while let Ok(Some(signal)) = self.0.read_signal() {
            let child = u32::try_from(Signal::SIGCHLD as i32).unwrap_or(0);
            end |= signal.ssi_signo != child;
        }
        end
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
