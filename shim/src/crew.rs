//! Threads for what takes time: they come with the work and go when there is none.
//!
//! The loop owns all state. A job takes what it needs with it, and comes back as a closure that
//! the loop runs on its state: nothing is shared, so nothing is locked but the two lists here, and those
//! only to put something in or take it out.

use crate::shim::Shim;
use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What the loop does when a job is done.
pub(crate) type Done = Box<dyn FnOnce(&mut Shim) + Send>;

/// Work that may block.
pub(crate) type Job = Box<dyn FnOnce() -> Done + Send>;

/// As many jobs may hang at once; containers hang by themselves, each in a job of its own.
const MOST: usize = 128;

/// How long a thread waits for more work.
const IDLE: Duration = Duration::from_millis(200);

/// Room for the deepest of what the library does, in a build without optimisation.
const STACK: usize = 1 << 20;

/// The threads.
pub(crate) struct Crew {
    shared: Arc<Shared>,
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").finish_non_exhaustive()
    }
}

struct Shared {
    lists: Mutex<Lists>,
    more: Condvar,
    bell: OwnedFd,
}

#[derive(Default)]
struct Lists {
    jobs: VecDeque<Job>,
    done: Vec<Done>,
    /// Threads that wait.
    idle: usize,
    alive: usize,
    /// Jobs that were begun and have not ended.
    busy: usize,
}

impl Shared {
    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crew {
    pub(crate) fn new() -> rustix::io::Result<Crew> {
        Ok(Crew {
            shared: Arc::new(Shared {
                lists: Mutex::default(),
                more: Condvar::new(),
                bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            }),
        })
    }

    /// Readable when something is done.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.shared.bell.as_fd()
    }

    /// Has somebody do it. Where no thread can be had, those that are there get to it in their turn.
    pub(crate) fn give(&self, job: Job) {
        let mut lists = self.shared.lists();
        lists.jobs.push_back(job);
        if lists.idle >= lists.jobs.len() {
            drop(lists);
            self.shared.more.notify_one();
            return;
        }
        if lists.alive >= MOST {
            return;
        }
        lists.alive += 1;
        drop(lists);
        let shared = Arc::clone(&self.shared);
        let hand = thread::Builder::new().stack_size(STACK);
        if hand.spawn(move || work(&shared)).is_err() {
            self.shared.lists().alive -= 1;
            self.rescue();
        }
    }

    /// There is no thread, and nobody who would ever get to it: it is done here and now.
    fn rescue(&self) {
        let mut lists = self.shared.lists();
        if lists.alive > 0 {
            return;
        }
        let jobs = std::mem::take(&mut lists.jobs);
        drop(lists);
        for job in jobs {
            let done = job();
            self.shared.lists().done.push(done);
        }
        ring(&self.shared);
    }

    /// What was done since the last call.
    pub(crate) fn done(&self) -> Vec<Done> {
        let mut count = [0; 8];
        // Rung for nothing is as good.
        rustix::io::read(&self.shared.bell, &mut count).unwrap_or_default();
        std::mem::take(&mut self.shared.lists().done)
    }

    /// Is nobody at work, and nothing to be done?
    pub(crate) fn rests(&self) -> bool {
        let lists = self.shared.lists();
        lists.busy == 0 && lists.jobs.is_empty() && lists.done.is_empty()
    }
}

fn ring(shared: &Shared) {
    rustix::io::write(&shared.bell, &1_u64.to_ne_bytes()).unwrap_or_default();
}

fn work(shared: &Shared) {
    let mut lists = shared.lists();
    loop {
        if let Some(job) = lists.jobs.pop_front() {
            lists.busy += 1;
            drop(lists);
            let done = job();
            lists = shared.lists();
            lists.busy -= 1;
            lists.done.push(done);
            ring(shared);
            continue;
        }
        lists.idle += 1;
        let (woken, timeout) = shared
            .more
            .wait_timeout(lists, IDLE)
            .unwrap_or_else(PoisonError::into_inner);
        lists = woken;
        lists.idle -= 1;
        if timeout.timed_out() && lists.jobs.is_empty() {
            lists.alive -= 1;
            return;
        }
    }
}
