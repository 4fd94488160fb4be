//! What the one thread waits for.

use crate::process::Name;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::{Errno, Result};
use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Whose descriptor is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The socket that containerd connects to.
    Listener,
    /// Somebody has finished work.
    Crew,
    /// A child has ended, or we are told to.
    Signals,
    /// A client.
    Client,
    /// containerd, to whom events go.
    Publisher,
    /// A process has ended.
    Process(Name),
    /// `memory.events` of a container has changed.
    Memory(String),
    /// An end of a pump.
    Pump(u64),
}

/// An epoll instance, and what each token in it stands for.
pub(crate) struct Poll {
    epoll: OwnedFd,
    next: u64,
    sources: HashMap<u64, Source>,
    events: Vec<Event>,
}

impl fmt::Debug for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Poll").field(&self.sources).finish()
    }
}

impl Poll {
    pub(crate) fn new() -> Result<Poll> {
        Ok(Poll {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            next: 0,
            sources: HashMap::new(),
            events: Vec::with_capacity(32),
        })
    }

    /// A number that stands for nothing else, ever.
    pub(crate) fn token(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Waits for this one, too.
    pub(crate) fn add(&mut self, fd: impl AsFd, source: Source, flags: EventFlags) -> Result<u64> {
        let token = self.token();
        epoll::add(&self.epoll, fd, EventData::new_u64(token), flags)?;
        self.sources.insert(token, source);
        Ok(token)
    }

    /// Waits for something else from it.
    pub(crate) fn change(&self, fd: impl AsFd, token: u64, flags: EventFlags) -> Result<()> {
        epoll::modify(&self.epoll, fd, EventData::new_u64(token), flags)
    }

    /// Forgets it. Its descriptor must still be open: a copy of it elsewhere would keep it in.
    pub(crate) fn remove(&mut self, fd: impl AsFd, token: u64) {
        self.sources.remove(&token);
        epoll::delete(&self.epoll, fd).unwrap_or_default();
    }

    /// What is ready: at once, or before the time is over.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Vec<(u64, Source, EventFlags)>> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        self.events.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let named = self.events.iter().filter_map(|event| {
            let token = event.data.u64();
            let source = self.sources.get(&token)?;
            Some((token, source.clone(), event.flags))
        });
        Ok(named.collect())
    }

    /// Is it still waited for? What was ready may be gone by the time of its turn.
    pub(crate) fn knows(&self, token: u64) -> bool {
        self.sources.contains_key(&token)
    }
}
