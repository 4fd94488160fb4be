//! A container's cgroup: found, made, filled, read, stopped and removed. Cgroup v2 only.
//!
//! ```text
//! plan      let resources = Resources::from_spec(linux.resources())?;          // pure, all problems at once
//!           let path = CgroupPath::for_container(linux.cgroups_path(), id)?;   // pure
//! prepare   let root = CgroupRoot::find()?;                                    // open, fstatfs
//!           let leaf = Leaf::create(&root, &path, &resources)?;                // undone on drop
//! clone     clone3(CLONE_INTO_CGROUP, cgroup = leaf.as_fd())
//! commit    let cgroup = leaf.commit();
//! later     Cgroup::open(&root, &path)?  ->  None when it is gone
//!           cgroup.{freeze, thaw}(timeout)   cgroup.kill()   cgroup.wait_empty(timeout)
//!           cgroup.{state, is_frozen, is_populated, pids, stats}()   cgroup.remove(timeout)
//! ```
//!
//! The module never writes `cgroup.procs`, never follows a path out of the cgroup2 mount, never polls in a
//! loop, and has no unsafe code: `bpf(2)` is in `crate::sys::bpf`. What libcgroups does and what it does
//! not is in docs/decisions/0003-cgroups.md.

mod apply;
mod controllers;
mod delegation;
mod devices;
pub(crate) mod dir;
mod error;
mod events;
mod freezer;
mod group;
mod kill;
mod leaf;
mod mount;
mod overlay;
mod path;
mod resources;
mod stats;
pub(crate) mod systemd;
mod walk;
mod watcher;

#[cfg(test)]
mod tests;

pub(crate) use error::{CgroupError, CgroupErrorKind};
pub(crate) use group::Cgroup;
pub(crate) use leaf::Leaf;
pub(crate) use mount::{CgroupRoot, mounts_of};
pub(crate) use overlay::{Overlaid, overlay};
pub(crate) use path::CgroupPath;
pub(crate) use resources::Resources;
pub use stats::{CpuStats, DeviceIo, HugePages, MemoryStats, PidsStats, Pressure, Stall, Stats};
pub(crate) use watcher::Watcher;
