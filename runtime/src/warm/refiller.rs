//! A thread that keeps a pool full.

use crate::error::{Error, ErrorKind, Result};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A pool with a bound.
pub trait Refill {
    /// Makes what is missing up to the bound, and says how many that were. Call it when there is
    /// nothing better to do; from several threads it is done by one after the other.
    ///
    /// # Errors
    /// What the kernel answers; what was made before stays.
    fn refill(&self) -> Result<usize>;

    /// Rung whenever something was taken.
    #[doc(hidden)]
    fn bell(&self) -> &Bell;
}

/// Wakes a refiller.
#[derive(Debug, Default)]
pub struct Bell {
    state: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rung {
    #[default]
    No,
    Yes,
    /// Nobody listens any more.
    ForTheLastTime,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.set(Rung::Yes);
    }

    /// Somebody listens.
    fn reset(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Rung::No;
    }

    fn set(&self, rung: Rung) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != Rung::ForTheLastTime {
            *state = rung;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for the next ring; false after the last.
    fn wait(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_while(state, |state| *state == Rung::No);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if *state == Rung::ForTheLastTime {
            return false;
        }
        *state = Rung::No;
        true
    }
}

/// The thread: it refills at once, then whenever something was taken. Dropping this ends it, when it is
/// through with what it is making, and joins it.
///
/// Containers inherit from the thread that makes them what threads have of their own: scheduling,
/// processors, memory policy, capabilities. This one has them from the thread that starts it.
#[derive(Debug)]
pub struct Refiller<P: Refill + Send + Sync + 'static> {
    pool: Arc<P>,
    failure: Arc<Mutex<Option<Error>>>,
    thread: Option<JoinHandle<()>>,
}

impl<P: Refill + Send + Sync + 'static> Refiller<P> {
    /// Starts it. A pool has one at a time.
    ///
    /// # Errors
    /// `System` where no thread is to be had.
    pub fn start(pool: &Arc<P>) -> Result<Refiller<P>> {
        let failure: Arc<Mutex<Option<Error>>> = Arc::default();
        pool.bell().reset();
        let (own, told) = (Arc::clone(pool), Arc::clone(&failure));
        let work = move || {
            loop {
                let outcome: Option<Error> = own.refill().err();
                *told.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
                if !own.bell().wait() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("hostrun-refill".into())
            .spawn(work)
            .map_err(|error| Error::new(ErrorKind::System, "start", "a thread").caused_by(error))?;
        Ok(Refiller {
            pool: Arc::clone(pool),
            failure,
            thread: Some(thread),
        })
    }

    /// Why the pool is not full, where its last filling failed. It is tried again when something is
    /// taken.
    pub fn take_failure(&self) -> Option<Error> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take()
    }
}

impl<P: Refill + Send + Sync + 'static> Drop for Refiller<P> {
    fn drop(&mut self) {
        self.pool.bell().set(Rung::ForTheLastTime);
        if let Some(thread) = self.thread.take() {
            // One that panicked has ended as well.
            thread.join().unwrap_or_default();
        }
    }
}
