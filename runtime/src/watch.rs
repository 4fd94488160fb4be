//! Hearing of what the kernel does to a container: `memory.events` and `cgroup.events`, without asking
//! again and again.

use crate::cgroup::Watcher;
use crate::container::Container;
use crate::error::{At, Result};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// What happened in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The kernel killed this many processes because the memory limit was reached.
    OutOfMemory(u64),
    /// Its last process is gone.
    Ended,
}

/// Waits for events of one container; made by [`Container::watch`].
#[derive(Debug)]
pub struct Watch {
    watcher: Watcher,
    name: String,
}

impl Watch {
    /// The next event since the watch was made or the last call; `None` when `timeout` passes first,
    /// which without one is never. After [`Event::Ended`] there is nothing more.
    ///
    /// # Errors
    /// What the kernel answers to reading its files.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Event>> {
        self.watcher.next(timeout).at("watch", &self.name)
    }

    /// What becomes ready (`POLLPRI`) when a process is killed for want of memory; `None` without a memory
    /// controller. For whoever waits for many things at once and then asks [`Watch::next`] without waiting.
    pub fn memory(&self) -> Option<BorrowedFd<'_>> {
        self.watcher.memory()
    }
}

impl Container {
    /// Begins to listen. Without a memory controller there are no [`Event::OutOfMemory`].
    ///
    /// # Errors
    /// `WrongState` where its cgroup is gone.
    pub fn watch(&self) -> Result<Watch> {
        let record = self.record()?;
        let cgroup = self
            .cgroup(record.as_ref())?
            .ok_or_else(|| self.wrong_state("watch", "container not running"))?;
        Ok(Watch {
            watcher: cgroup.watch()?,
            name: self.id().to_string(),
        })
    }
}
