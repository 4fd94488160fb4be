//! Sleeps until the kernel says that a cgroup ran out of memory or has no process left. The kernel wakes
//! `poll(2)` when `memory.events` or `cgroup.events` changes after it was read (`cgroups(7)`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::dir;
use super::error::Result;
use super::events::{Events, timespec};
use super::group::Cgroup;
use crate::watch::Event;

/// The open files of one cgroup, and what was heard of already.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// `memory.events`, where there is a memory controller.
    memory: Option<OwnedFd>,
    events: Events,
    /// Processes killed so far.
    killed: u64,
}

impl Cgroup {
    /// Begins to listen: what happened before is not told.
    ///
    /// # Errors
    /// `NotFound` once the cgroup is removed.
    pub(crate) fn watch(&self) -> Result<Watcher> {
        let open = || {
            let memory = match dir::open_file(self.as_fd(), "memory.events", OFlags::RDONLY) {
                Err(Errno::NOENT) => None,
                answer => Some(answer?),
            };
            let killed = killed(memory.as_ref().map(AsFd::as_fd))?;
            let events = Events::open(self.as_fd())?;
            Ok(Watcher {
                memory,
                events,
                killed,
            })
        };
        open().map_err(|errno| self.failed("watch", errno))
    }
}

impl Watcher {
    /// `memory.events`, where there is one.
    pub(crate) fn memory(&self) -> Option<BorrowedFd<'_>> {
        self.memory.as_ref().map(AsFd::as_fd)
    }

    /// The next event; `None` when the time is over first.
    pub(crate) fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Errno> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            // Both files are read before the sleep, so that nothing between the two is missed. Memory
            // first: the end of a container is told after what ended it.
            let ended = match self.events.read() {
                Err(Errno::NODEV | Errno::NOENT) => true,
                answer => !answer?.populated,
            };
            let killed = match killed(self.memory.as_ref().map(AsFd::as_fd)) {
                Err(Errno::NODEV | Errno::NOENT) => self.killed,
                answer => answer?,
            };
            if killed > self.killed {
                let more = killed - self.killed;
                self.killed = killed;
                return Ok(Some(Event::OutOfMemory(more)));
            }
            if ended {
                return Ok(Some(Event::Ended));
            }
            if !self.changed(deadline)? {
                return Ok(None);
            }
        }
    }

    fn changed(&self, deadline: Option<Instant>) -> Result<bool, Errno> {
        loop {
            let left = deadline.map(|end| timespec(end.saturating_duration_since(Instant::now())));
            let mut fds = vec![PollFd::new(&self.events, PollFlags::PRI)];
            fds.extend(
                self.memory
                    .iter()
                    .map(|file| PollFd::new(file, PollFlags::PRI)),
            );
            match rustix::event::poll(&mut fds, left.as_ref()) {
                Err(Errno::INTR) => {}
                answer => return answer.map(|count| count > 0),
            }
        }
    }
}

/// `oom_kill` of `memory.events`.
fn killed(file: Option<BorrowedFd<'_>>) -> Result<u64, Errno> {
    let Some(file) = file else { return Ok(0) };
    let mut buffer = [0_u8; 512];
    let count = rustix::io::pread(file, &mut buffer, 0)?;
    let text = String::from_utf8_lossy(buffer.get(..count).unwrap_or_default());
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
    Ok(value.unwrap_or(0))
}
