//! Network namespaces that wait for a container: making one is two fifths of what the kernel does for
//! a start, and none of it depends on whose it will be.

use super::refiller::{Bell, Refill};
use crate::error::{At, Error, ErrorKind, Result};
use crate::host::Host;
use hostrun_inside::bring_loopback_up;
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Mode, OFlags, openat};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A pool of them, each known by a descriptor and by no name. Give it to a
/// [`Runtime`](crate::Runtime): a start whose spec asks for a new network namespace of the caller's
/// user namespace takes one, and makes its own where the pool is empty.
#[derive(Debug)]
pub struct Networks {
    bound: usize,
    ready: Mutex<VecDeque<OwnedFd>>,
    /// Held by the one who fills: two would pass the bound.
    filling: Mutex<Host>,
    bell: Bell,
}

impl Networks {
    /// An empty pool that never holds more than `bound`.
    pub fn new(bound: usize) -> Networks {
        Networks {
            bound,
            ready: Mutex::default(),
            filling: Mutex::default(),
            bell: Bell::default(),
        }
    }

    /// How many wait.
    pub fn ready(&self) -> usize {
        self.queue().len()
    }

    /// Throws away all that wait: settings of the host's own network namespace have changed, which a
    /// new one starts from.
    pub fn discard(&self) {
        let all = std::mem::take(&mut *self.queue());
        self.bell.ring();
        drop(all);
    }

    /// The oldest; whoever takes it is the only one who ever has it, and rings the bell when it has
    /// done what is urgent.
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        self.queue().pop_front()
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<OwnedFd>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refill for Networks {
    fn refill(&self) -> Result<usize> {
        let host = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = self.bound.saturating_sub(self.ready());
        if missing == 0 {
            return Ok(0);
        }
        // A thread of its own, which takes its last network namespace with it: the caller's stays
        // what it is, whatever fails.
        let make = || -> Result<()> {
            for _ in 0..missing {
                let made = make(&host)?;
                self.queue().push_back(made);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("hostrun-networks".into());
            let thread = thread.spawn_scoped(scope, make).map_err(|error| {
                Error::new(ErrorKind::System, "start", "a thread").caused_by(error)
            })?;
            thread
                .join()
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::System, "fill", "the networks")))
        })?;
        Ok(missing)
    }

    fn bell(&self) -> &Bell {
        &self.bell
    }
}

/// One more, with its loopback device up.
fn make(host: &Host) -> Result<OwnedFd> {
    const NAME: &str = "thread-self/ns/net";
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| Error::from_errno(errno as i32, "make", "a network namespace"))?;
    bring_loopback_up().map_err(|errno| Error::from_errno(errno.0, "bring up loopback", ""))?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(host.proc()?, NAME, flags, Mode::empty()).at("open /proc file", NAME)
}
