//! Device rules: `linux.resources.devices` and the devices every container has, as one eBPF program of
//! type `BPF_PROG_TYPE_CGROUP_DEVICE`.
//!
//! The spec says that the rules apply in the listed order, so for each of read, write and mknod the last
//! rule that matches the device decides; an access is allowed when all of its parts are. Without rules
//! nothing is allowed but the default devices.
//!
//! The default devices come after the configuration's rules, as in runc, whose clients count on them:
//! mknod of anything, and all access to null, zero, full, random, urandom, tty, ptmx, the pts and tun.
//! tun (10:200) is in because runc 1.2 took it out and had to put it back: it needs `CAP_NET_ADMIN` of the
//! container's network namespace anyway. `/dev/console` (5:1) is out: the container's console is a pts,
//! 5:1 is the host's.
//!
//! Differences from runc, which keeps the exception lists of cgroup v1 instead of an order:
//! a deny rule that cuts a hole into an earlier wildcard works instead of being an error; a deny rule with
//! wildcards also covers earlier narrower allow rules; type `a` with a number or fewer than all accesses
//! means what it says instead of everything; a deny of `w` also stops an open for reading and writing.

mod pinned;
mod program;
mod rule;
mod table;

use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::LinuxDeviceCgroup;
use rustix::io::Errno;

use super::error::{CgroupError, CgroupErrorKind, Result};
use super::group::Cgroup;
use super::resources::Problem;
use crate::sys::bpf;

pub(crate) use program::Program;

/// Turns the configuration's rules and the default ones into a program; `None` where everything is
/// allowed, so that nothing has to be attached.
///
/// # Errors
/// All rules that are wrong, each with its JSON path.
pub(crate) fn parse(rules: &[LinuxDeviceCgroup]) -> Result<Option<Program>, Vec<Problem>> {
    assemble(&rule::parse(rules)?)
}

/// The same with a program even where everything is allowed: it takes the place of one that is attached.
///
/// # Errors
/// All rules that are wrong, each with its JSON path.
pub(crate) fn parse_always(rules: &[LinuxDeviceCgroup]) -> Result<Program, Vec<Problem>> {
    Ok(Program::new(&table(&rule::parse(rules)?)?))
}

fn assemble(rules: &[rule::Rule]) -> Result<Option<Program>, Vec<Problem>> {
    let table = table(rules)?;
    Ok((!table.allows_all()).then(|| Program::new(&table)))
}

fn table(rules: &[rule::Rule]) -> Result<table::Table, Vec<Problem>> {
    table::Table::new(rules).ok_or_else(|| {
        vec![Problem {
            path: "linux.resources.devices".to_owned(),
            reason: "too many rules for a major and for a minor number cross".to_owned(),
        }]
    })
}

/// Devices as `DeviceAllow=` of systemd names them, each with its accesses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AllowList(pub(crate) Vec<(String, String)>);

/// At least what the rules allow, for systemd's own filter, which knows no exceptions: it stands beside
/// ours, and what either forbids is forbidden. `None` where everything is allowed.
///
/// # Errors
/// As [`parse`].
pub(crate) fn allow_list(rules: &[LinuxDeviceCgroup]) -> Result<Option<AllowList>, Vec<Problem>> {
    let table = table(&rule::parse(rules)?)?;
    Ok((!table.allows_all()).then(|| AllowList(table.allowed())))
}

/// Attaches the program to a new cgroup; loaded only where the kernel does not have it yet.
///
/// # Errors
/// `Permission` or `Unsupported`, each with a hint.
pub(crate) fn attach(cgroup: &Cgroup, program: &Program) -> Result<()> {
    let instructions = program.instructions();
    let pinned = pinned::Pins::open().and_then(|pins| pins.get(instructions));
    let loaded = if let Some(pinned) = pinned {
        pinned
    } else {
        let loaded = load(cgroup, program)?;
        pinned::keep(instructions, &loaded);
        loaded
    };
    bpf::attach_device_program(cgroup.as_fd(), loaded.as_fd(), None)
        .map_err(|errno| not_attached(cgroup, errno))
}

/// Loads the program and puts it in the place of ours, in one step: at no time is anything allowed that
/// neither of them allows. Programs of others, systemd's among them, stay.
///
/// # Errors
/// As [`attach`].
pub(crate) fn replace(cgroup: &Cgroup, program: &Program) -> Result<()> {
    let loaded = load(cgroup, program)?;
    let failed = |errno| not_attached(cgroup, errno);
    let attached = bpf::query_device_programs(cgroup.as_fd()).map_err(failed)?;
    let ours = attached
        .into_iter()
        .filter_map(|id| bpf::device_program_by_id(id).ok())
        .find(|program| bpf::is_ours(program.as_fd()));
    let old = ours.as_ref().map(AsFd::as_fd);
    bpf::attach_device_program(cgroup.as_fd(), loaded.as_fd(), old).map_err(failed)
}

fn load(cgroup: &Cgroup, program: &Program) -> Result<OwnedFd> {
    bpf::load_device_program(program.instructions())
        .map_err(|errno| not_loaded(CgroupError::sys("load", subject(cgroup), errno), errno))
}

fn subject(cgroup: &Cgroup) -> String {
    format!("device filter of cgroup {}", cgroup.path())
}

fn not_attached(cgroup: &Cgroup, errno: Errno) -> CgroupError {
    let error = CgroupError::sys("attach", subject(cgroup), errno);
    match errno {
        Errno::PERM => error.hint(
            "needs CAP_BPF with CAP_NET_ADMIN or CAP_SYS_ADMIN, and no ancestor with an exclusive program",
        ),
        Errno::INVAL => unsupported(error),
        _ => error,
    }
}

fn not_loaded(error: CgroupError, errno: Errno) -> CgroupError {
    match errno {
        Errno::PERM | Errno::ACCESS => error.kind(CgroupErrorKind::Permission).hint(
            "needs CAP_BPF or CAP_SYS_ADMIN; before Linux 5.11 also a larger RLIMIT_MEMLOCK (ulimit -l)",
        ),
        Errno::INVAL | Errno::NOSYS => unsupported(error),
        Errno::TOOBIG => error
            .kind(CgroupErrorKind::InvalidValue)
            .setting("linux.resources.devices")
            .hint("too many device rules for this kernel"),
        _ => error,
    }
}

fn unsupported(error: CgroupError) -> CgroupError {
    error
        .kind(CgroupErrorKind::Unsupported)
        .hint("the kernel must be built with CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF")
}

/// A program of these rules alone, without the default devices.
#[cfg(test)]
pub(super) fn program_without_defaults(json: &str) -> Program {
    let mut rules = rule::parse(&serde_json::from_str::<Vec<_>>(json).unwrap()).unwrap();
    rules.truncate(rules.len() - rule::DEFAULT.len());
    assemble(&rules).unwrap().unwrap()
}

#[cfg(test)]
mod tests;
