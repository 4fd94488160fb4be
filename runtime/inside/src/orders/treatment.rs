//! How the kernel treats the process.

/// Length of a [`Cpus`].
pub const CPU_WORDS: usize = 16;

/// Processors or memory nodes, one bit each, from 0 to 1023.
pub type Cpus = [u64; CPU_WORDS];

/// How the kernel treats the process.
#[derive(Clone, Copy, Debug)]
pub struct Treatment<'a> {
    /// Where it may run.
    pub affinity: Affinity<'a>,
    /// For `set_mempolicy(2)`.
    pub memory: Option<MemoryPolicy<'a>>,
    /// For `personality(2)`.
    pub personality: Option<u32>,
    /// For `ioprio_set(2)`: class and level.
    pub io_priority: Option<i32>,
    /// For `sched_setattr(2)`.
    pub scheduler: Option<Scheduler>,
}

/// Processors a process may run on.
#[derive(Clone, Copy, Debug)]
pub enum Affinity<'a> {
    /// Those of its maker.
    Inherited,
    /// All that its cgroup lets it have.
    All,
    /// These.
    Only(&'a Cpus),
}

/// Where memory comes from.
#[derive(Clone, Copy, Debug)]
pub struct MemoryPolicy<'a> {
    /// `MPOL_*` with its flags.
    pub mode: i32,
    /// One bit a node; empty for none.
    pub nodes: &'a [u64],
}

/// When a process runs, `sched(7)`; times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduler {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// From -20 to 19.
    pub nice: i32,
    /// From 1 to 99 for real-time policies, else 0.
    pub priority: u32,
    /// Budget of a deadline.
    pub runtime: u64,
    /// When the budget must be had.
    pub deadline: u64,
    /// How often it comes.
    pub period: u64,
}
