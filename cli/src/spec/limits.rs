//! What the container may use: the resources a flag asked for, and no other.

use crate::args::run::LimitFlags;
use crate::report;
use anyhow::Result;
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};

/// The period that a share of processors is counted in, in microseconds.
const PERIOD: u64 = 100_000;

/// Checks what the flags say together.
///
/// # Errors
/// When swap is limited without memory, or below it.
pub(crate) fn check(flags: &LimitFlags) -> Result<()> {
    match (flags.memory, flags.memory_swap) {
        (None, Some(swap)) if swap > 0 => {
            Err(report::usage("--memory-swap needs --memory beside it"))
        }
        (Some(memory), Some(swap)) if swap > 0 && swap < memory => Err(report::usage(
            "--memory-swap counts memory and swap together and cannot be below --memory",
        )),
        (Some(memory), _) if memory > 0 && memory < 524_288 => {
            Err(report::usage("--memory must be at least 512k"))
        }
        _ => Ok(()),
    }
}

/// The resources asked for. Zero means no limit, as in docker.
pub(super) fn resources(flags: &LimitFlags) -> LinuxResources {
    let mut resources = LinuxResources::default();
    resources
        .set_memory(memory(flags))
        .set_cpu(cpu(flags))
        .set_pids(pids(flags));
    resources
}

fn memory(flags: &LimitFlags) -> Option<LinuxMemory> {
    let limit = flags.memory.filter(|&bytes| bytes > 0);
    // Unset, swap is as much again as memory; the runtime-spec counts both together, as docker's flag does.
    let swap = match flags.memory_swap {
        None | Some(0) => limit.map(|limit| limit.saturating_mul(2)),
        Some(both) => Some(both),
    };
    if limit.is_none() && swap.is_none() {
        return None;
    }
    let mut memory = LinuxMemory::default();
    memory.set_limit(limit).set_swap(swap);
    Some(memory)
}

fn cpu(flags: &LimitFlags) -> Option<LinuxCpu> {
    let cpus = flags.cpuset_cpus.clone().filter(|cpus| !cpus.is_empty());
    if flags.cpus.is_none() && cpus.is_none() {
        return None;
    }
    let mut cpu = LinuxCpu::default();
    cpu.set_quota(flags.cpus)
        .set_period(flags.cpus.map(|_| PERIOD))
        .set_cpus(cpus);
    Some(cpu)
}

fn pids(flags: &LimitFlags) -> Option<LinuxPids> {
    let limit = flags.pids_limit.filter(|&limit| limit > 0)?;
    let mut pids = LinuxPids::default();
    pids.set_limit(limit);
    Some(pids)
}
