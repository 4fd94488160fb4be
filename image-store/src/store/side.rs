//! Independent work on all processors.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::Result;

/// Most threads: what comes out waits for the disk, and each has buffers of its own.
const THREADS_MAX: usize = 8;

/// The thread that a task runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    /// Files are made with just the modes that are asked for: the thread has an umask of its own,
    /// which is empty. The process' umask is its own business.
    pub(crate) exact_modes: bool,
}

impl Seat {
    /// The caller's thread, which is left as it is.
    pub(crate) const CALLERS: Self = Self { exact_modes: false };

    /// Makes the thread we are on, which is ours, one for unpacking.
    fn take() -> Self {
        // Root, working directory and umask are the thread's own from here on.
        let apart = nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).is_ok();
        if apart {
            rustix::process::umask(rustix::fs::Mode::empty());
        }
        Self { exact_modes: apart }
    }
}

/// Does the same to each, in order of the list where there are fewer threads, and gives back what
/// came of each. There are as many threads as processors, and `least` where they wait for others. After a failure nothing more is begun; the first in the list is told.
pub(super) fn side_by_side<T: Sync, R: Send>(
    tasks: &[T],
    least: usize,
    act: &(impl Fn(&T, Seat) -> Result<R> + Sync),
) -> Result<Vec<R>> {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = processors.max(least).min(THREADS_MAX).min(tasks.len());
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done = Mutex::new(Vec::new());
    let work = |seat: Seat| {
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(index) else { break };
            let result = act(task, seat);
            if result.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            // Nobody panics with it held.
            if let Ok(mut done) = done.lock() {
                done.push((index, result));
            }
        }
    };
    std::thread::scope(|scope| {
        let run = || work(Seat::take());
        let spawn = || std::thread::Builder::new().spawn_scoped(scope, run).is_ok();
        let spawned = (0..threads).filter(|_| spawn()).count();
        if spawned == 0 {
            work(Seat::CALLERS);
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
