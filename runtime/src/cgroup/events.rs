//! `cgroup.events`: whether a cgroup has processes and is frozen, and waiting for a change without
//! polling in a loop: the kernel wakes `poll(2)` when the file changes (`cgroups(7)`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::dir;

/// One reading of `cgroup.events`; both facts include all sub-cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// A live process is in it.
    pub(crate) populated: bool,
    /// All its processes are stopped by the freezer.
    pub(crate) frozen: bool,
}

impl State {
    fn parse(text: &str) -> Self {
        let is = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.any(|(key, value)| key == name && value.trim() == "1")
        };
        Self {
            populated: is("populated"),
            frozen: is("frozen"),
        }
    }
}

/// For `poll(2)`.
impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An open `cgroup.events`.
#[derive(Debug)]
pub(crate) struct Events(OwnedFd);

impl Events {
    /// Opens the file of a cgroup.
    pub(crate) fn open(cgroup: BorrowedFd<'_>) -> Result<Self, Errno> {
        dir::open_file(cgroup, "cgroup.events", OFlags::RDONLY).map(Self)
    }

    /// Reads it now; `ENODEV` once the cgroup is removed.
    pub(crate) fn read(&self) -> Result<State, Errno> {
        let mut buffer = [0_u8; 128];
        let count = rustix::io::pread(&self.0, &mut buffer, 0)?;
        let text = buffer.get(..count).unwrap_or_default();
        Ok(State::parse(&String::from_utf8_lossy(text)))
    }

    /// Waits until `done` holds; `ETIMEDOUT` when the deadline passes first.
    pub(crate) fn wait(&self, deadline: Instant, done: fn(State) -> bool) -> Result<(), Errno> {
        loop {
            if done(self.read()?) {
                return Ok(());
            }
            if !self.changed(deadline)? {
                return Err(Errno::TIMEDOUT);
            }
        }
    }

    /// Sleeps until the file changes since the last read, or the deadline.
    fn changed(&self, deadline: Instant) -> Result<bool, Errno> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&self.0, PollFlags::PRI)];
            match rustix::event::poll(&mut fds, Some(&timespec(left))) {
                Ok(count) => return Ok(count > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Sleeps for a short while or until the file changes.
    pub(crate) fn pause(&self, deadline: Instant) -> Result<(), Errno> {
        let soon = Instant::now() + Duration::from_millis(1);
        self.changed(deadline.min(soon)).map(|_changed| ())
    }
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_facts_are_read_and_unknown_lines_skipped() {
        let state = State::parse("populated 1\nfrozen 0\nnew 1\n");
        assert_eq!(
            state,
            State {
                populated: true,
                frozen: false
            }
        );
        assert_eq!(
            State::parse("frozen 1\npopulated 0"),
            State {
                populated: false,
                frozen: true
            }
        );
        assert_eq!(State::parse("garbage\n\n1 1"), State::default());
    }
}
