//! Independent work on all processors.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::Result;

/// Most threads: what comes out waits for the disk, and each has buffers of its own.
const THREADS_MAX: usize = 8;

/// Does the same to each, in order of the list where there are fewer processors, and gives back
/// what came of each. After a failure nothing more is begun; the first in the list is told.
pub(super) fn side_by_side<T: Sync, R: Send>(
    tasks: &[T],
    act: &(impl Fn(&T) -> Result<R> + Sync),
) -> Result<Vec<R>> {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = processors.min(THREADS_MAX).min(tasks.len());
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done = Mutex::new(Vec::new());
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(index) else { break };
            let result = act(task);
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
        for _ in 1..threads {
            // One thread fewer is slower and nothing worse.
            let spawned = std::thread::Builder::new().spawn_scoped(scope, work);
            drop(spawned);
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
