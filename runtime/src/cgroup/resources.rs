//! `linux.resources`, decided once and without a system call: what libcgroups sets, what we set, which
//! controllers that needs, and the device program. All problems are collected, each with its JSON path.
//!
//! Values that ask for nothing are nothing, wherever they stand: absent, null, an empty object or list,
//! 0 where 0 means "not set" (memory, cpu, blockIO), and, since a new cgroup has no limits, the unlimited
//! values (-1, the kernel's own period). They need no controller. Hosts send them all the time, also to
//! hosts that could not apply them. A cgroup that lives ([`Resources::for_update`]) may have limits: there
//! unlimited values are written.
//!
//! | setting | done by | note |
//! |---|---|---|
//! | `devices` | us | [`super::devices`] |
//! | `memory.limit`, `memory.reservation` | libcgroups | `memory.max`, `memory.low`; lifted by us |
//! | `memory.swap` | us | `memory.swap.max` = swap - limit, before the limit; libcgroups does not write 0 |
//! | `memory.kernel`, `memory.kernelTCP` | refused | unless 0 or -1; v1 only |
//! | `memory.swappiness` | refused | unless 60, the kernel's default; v1 only |
//! | `memory.disableOOMKiller` | refused | unless false; v1 only |
//! | `memory.useHierarchy` | ignored | v2 is always hierarchical |
//! | `memory.checkBeforeUpdate` | us | a new cgroup has no usage |
//! | `cpu.shares`, `cpu.quota`, `cpu.period` | libcgroups | `cpu.weight` (runc's curve), `cpu.max` |
//! | `cpu.burst`, `cpu.idle` | us | around `cpu.max`; idle is 0 or 1 |
//! | `cpu.realtimeRuntime`, `cpu.realtimePeriod` | refused | unless 0; v1 only |
//! | `cpu.cpus`, `cpu.mems` | libcgroups | characters of a list only |
//! | `pids.limit` | libcgroups | negative is unlimited; 0 is one task, and nothing without the controller |
//! | `blockIO.weight`, `.weightDevice[].weight` | us | `io.bfq.weight`, else `io.weight`; libcgroups' conversion overflows |
//! | `blockIO.leafWeight`, `.weightDevice[].leafWeight` | refused | unless 0; v1 only |
//! | `blockIO.throttle*Device` | libcgroups | `io.max`; rate 0 is not set, and lifts a limit of a cgroup that lives |
//! | `hugepageLimits` | libcgroups | with the reservation limit where the kernel has it; 0 is a limit |
//! | `network.classID`, `network.priorities` | refused | unless 0 or empty; v1 only |
//! | `rdma` | us | `rdma.max` |
//! | `unified` | us | see [`other`], applied last, so it wins |

mod cpu;
mod io;
mod memory;
mod other;

use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;

use super::controllers::Need;
use super::devices::{self, Program};

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// JSON path, `linux.resources.memory.swap`.
    pub(crate) path: String,
    /// Why it is refused.
    pub(crate) reason: String,
}

/// The resources of a container as meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resources {
    /// What we write before libcgroups does.
    pub(super) first: Vec<Written>,
    /// What libcgroups writes.
    pub(super) lib: LinuxResources,
    /// The files it writes that for, to name the setting when one fails.
    pub(super) lib_files: Vec<Written>,
    /// What we write after that, in this order.
    pub(super) writes: Vec<Written>,
    /// Weights of block devices, whose file is chosen on the host.
    pub(super) io_weights: Vec<IoWeight>,
    /// Controllers that must be there.
    pub(super) needs: Vec<Need>,
    /// `None` where every device is allowed or, in an update, no rule was given.
    pub(super) devices: Option<Program>,
    /// Refuse limits below what is in use already.
    pub(super) check: Option<UsageCheck>,
}

/// Limits that were asked for with `memory.checkBeforeUpdate`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UsageCheck {
    pub(super) limit: i64,
    /// Memory and swap together.
    pub(super) total: i64,
}

/// An interface file, its value and the setting behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) file: String,
    pub(super) value: String,
    pub(super) setting: String,
    /// The errno that means no harm here.
    pub(super) forgiven: Option<Errno>,
}

impl Written {
    fn forgive(mut self, errno: Errno) -> Self {
        self.forgiven = Some(errno);
        self
    }
}

/// A weight on the scale of cgroup v1, 10 to 1000.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IoWeight {
    /// `None` for all devices.
    pub(super) device: Option<(u32, u32)>,
    pub(super) weight: u16,
    pub(super) setting: String,
}

impl Resources {
    /// Decides what `linux.resources` means. Without it, only the default devices are allowed.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub(crate) fn from_spec(spec: Option<&LinuxResources>) -> Result<Self, Vec<Problem>> {
        let none = LinuxResources::default();
        let spec = spec.unwrap_or(&none);
        let mut reader = Reader::default();
        reader.limits(spec);
        match devices::parse(spec.devices().as_deref().unwrap_or_default()) {
            Ok(program) => reader.out.devices = program,
            Err(problems) => reader.problems.extend(problems),
        }
        reader.finish()
    }

    /// The same for a cgroup that lives: only what is given changes, unlimited values lift limits, and
    /// device rules are touched only where some are given.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub(crate) fn for_update(change: &LinuxResources) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader {
            live: true,
            ..Reader::default()
        };
        reader.limits(change);
        let rules = change.devices().as_deref().unwrap_or_default();
        if !rules.is_empty() {
            match devices::parse_always(rules) {
                Ok(program) => reader.out.devices = Some(program),
                Err(problems) => reader.problems.extend(problems),
            }
        }
        reader.finish()
    }

    /// JSON paths of what is limited.
    pub(crate) fn settings(&self) -> Vec<&str> {
        let written = [&self.first, &self.lib_files, &self.writes];
        let written = written.into_iter().flatten();
        let mut settings: Vec<&str> = written.map(|written| &*written.setting).collect();
        settings.extend(self.io_weights.iter().map(|weight| &*weight.setting));
        settings.sort_unstable();
        settings.dedup();
        settings
    }

    /// The same without the filter of devices: a user namespace cannot make device nodes, and whoever
    /// has no privileges over the host may load no filter either.
    pub(crate) fn without_devices(&self) -> Resources {
        Resources {
            devices: None,
            ..self.clone()
        }
    }

    /// Whether a limit is set, so that the caller may say what a host without the controllers lacks.
    pub(crate) fn has_limits(&self) -> bool {
        !(self.first.is_empty()
            && self.lib_files.is_empty()
            && self.writes.is_empty()
            && self.io_weights.is_empty())
    }
}

/// Collects what is meant and what is wrong.
#[derive(Debug, Default)]
struct Reader {
    out: Resources,
    problems: Vec<Problem>,
    /// The cgroup is one that lives.
    live: bool,
}

/// Every path starts here.
fn at(path: &str) -> String {
    format!("linux.resources.{path}")
}

impl Reader {
    fn limits(&mut self, spec: &LinuxResources) {
        if let Some(memory) = spec.memory() {
            self.memory(memory);
        }
        if let Some(cpu) = spec.cpu() {
            self.cpu(cpu);
        }
        if let Some(io) = spec.block_io() {
            self.block_io(io);
        }
        self.rest(spec);
    }

    fn finish(self) -> Result<Resources, Vec<Problem>> {
        if self.problems.is_empty() {
            Ok(self.out)
        } else {
            Err(self.problems)
        }
    }

    fn refuse(&mut self, path: &str, reason: impl Into<String>) {
        self.problems.push(Problem {
            path: at(path),
            reason: reason.into(),
        });
    }

    fn need(&mut self, controller: &str, path: &str) {
        if self
            .out
            .needs
            .iter()
            .all(|need| need.controller != controller)
        {
            self.out.needs.push(Need {
                controller: controller.to_owned(),
                setting: at(path),
            });
        }
    }

    /// libcgroups will write `value` to `file`.
    fn lib(&mut self, controller: &str, path: &str, file: &str, value: impl ToString) {
        self.need(controller, path);
        self.out.lib_files.push(written(file, value, path));
    }

    /// We will write `value` to `file`.
    fn own(&mut self, controller: &str, path: &str, file: &str, value: impl ToString) {
        self.need(controller, path);
        self.out.writes.push(written(file, value, path));
    }

    /// We will write `value` to `file` before libcgroups does; `forgiven` does no harm.
    fn first(
        &mut self,
        controller: &str,
        path: &str,
        file: &str,
        value: impl ToString,
        forgiven: Errno,
    ) {
        self.need(controller, path);
        let write = written(file, value, path).forgive(forgiven);
        self.out.first.push(write);
    }

    /// Refuses a cgroup v1 setting unless its value asks for nothing.
    fn only_v1(&mut self, path: &str, asks_for_nothing: bool) {
        if !asks_for_nothing {
            self.refuse(path, "exists in cgroup v1 only");
        }
    }
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "numbers and &str alike at the call sites"
)]
fn written(file: &str, value: impl ToString, path: &str) -> Written {
    Written {
        file: file.to_owned(),
        value: value.to_string(),
        setting: at(path),
        forgiven: None,
    }
}

#[cfg(test)]
mod tests;
