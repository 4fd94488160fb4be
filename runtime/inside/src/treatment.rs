//! How the kernel treats the process: each call is made only where it was asked for.

use crate::orders::{Affinity, Orders};
use crate::report::{Failure, Step};
use crate::sys;

/// Processors. By now the process is in its cgroup, whose own processors bound the choice.
pub(crate) fn spread(orders: &Orders<'_>) -> Result<(), Failure> {
    match orders.treatment.affinity {
        Affinity::Inherited => Ok(()),
        Affinity::All => {
            // What the caller was bound to says nothing about the container. Some sandboxes forbid
            // the call; then it stays where it is, which is no worse than before.
            sys::best_effort(sys::set_affinity(&[u64::MAX; crate::orders::CPU_WORDS]));
            Ok(())
        }
        Affinity::Only(cpus) => sys::set_affinity(cpus)
            .map(drop)
            .map_err(|errno| Step::Affinity.failed(errno)),
    }
}

/// All the rest: late, because an idle or short-lived slice of time would slow down what is built
/// before; but while the privileges for it are still there.
pub(crate) fn apply(orders: &Orders<'_>) -> Result<(), Failure> {
    let treatment = &orders.treatment;
    if let Some(policy) = &treatment.memory {
        sys::set_memory_policy(policy.mode, policy.nodes)
            .map_err(|errno| Step::MemoryPolicy.failed(errno))?;
    }
    if let Some(persona) = treatment.personality {
        sys::set_personality(persona).map_err(|errno| Step::Personality.failed(errno))?;
    }
    if let Some(priority) = treatment.io_priority {
        sys::set_io_priority(priority).map_err(|errno| Step::IoPriority.failed(errno))?;
    }
    if let Some(scheduler) = &treatment.scheduler {
        sys::set_scheduler(scheduler).map_err(|errno| Step::Scheduler.failed(errno))?;
    }
    Ok(())
}
