//! Scheduling, memory policy and personality of ourselves.

use super::{Result, call, check};
use crate::orders::{Cpus, Scheduler};
use core::mem::size_of;
use core::ptr::null;

/// `sched_setaffinity(2)`.
pub(crate) fn set_affinity(cpus: &Cpus) -> Result<i32> {
    call!(
        libc::SYS_sched_setaffinity,
        0_i32,
        size_of::<Cpus>(),
        cpus.as_ptr()
    )
}

/// `sched_setattr(2)`.
pub(crate) fn set_scheduler(scheduler: &Scheduler) -> Result<i32> {
    /// `struct sched_attr` of Linux 5.3, the first with utilization clamps.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
        clamps: [u32; 2],
    }
    const SIZE: u32 = 56;
    const { assert!(size_of::<Attributes>() == SIZE as usize) };
    let attributes = Attributes {
        size: SIZE,
        policy: scheduler.policy,
        flags: scheduler.flags,
        nice: scheduler.nice,
        priority: scheduler.priority,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
        clamps: [0; 2],
    };
    call!(libc::SYS_sched_setattr, 0_i32, &raw const attributes, 0_u32)
}

/// `ioprio_set(2)` of the process group, which after `setsid(2)` is this process.
pub(crate) fn set_io_priority(priority: i32) -> Result<i32> {
    const IOPRIO_WHO_PGRP: i32 = 2;
    call!(libc::SYS_ioprio_set, IOPRIO_WHO_PGRP, 0_i32, priority)
}

/// `set_mempolicy(2)`; no nodes are a null pointer.
pub(crate) fn set_memory_policy(mode: i32, nodes: &[u64]) -> Result<i32> {
    if nodes.is_empty() {
        return call!(libc::SYS_set_mempolicy, mode, null::<u64>(), 0_usize);
    }
    // The kernel counts one bit less than it is told.
    let bits = nodes.len().saturating_mul(64).saturating_add(1);
    call!(libc::SYS_set_mempolicy, mode, nodes.as_ptr(), bits)
}

/// `personality(2)`.
pub(crate) fn set_personality(persona: u32) -> Result<i32> {
    call!(libc::SYS_personality, u64::from(persona))
}
