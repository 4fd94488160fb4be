//! Limits and tunables of the process and its namespaces.

use crate::orders::{Fd, Join, Orders, Rlimit, Root, Sysctl};
use crate::report::{Failure, Step};
use crate::sys::{self, Errno};

const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// `oom_score_adj` of ourselves, through a procfs the parent has checked.
pub(crate) fn set_oom_score(orders: &Orders<'_>) -> Result<(), Failure> {
    let (Some(value), Some(proc)) = (orders.oom_score_adj, orders.host_proc) else {
        return Ok(());
    };
    let fail = |errno| Step::OomScore.failed(errno);
    let resolve = libc::RESOLVE_NO_XDEV | libc::RESOLVE_NO_MAGICLINKS;
    let path = c"self/oom_score_adj".as_ptr();
    let file = sys::openat2(proc, path, libc::O_WRONLY, resolve).map_err(fail)?;
    sys::write(file, value).map_err(fail)?;
    sys::close(file);
    Ok(())
}

/// Writes the sysctls through the procfs mount made by us, by its descriptor: what may be mounted
/// or linked over it by now is not seen (CVE-2025-52881, CVE-2019-16884).
pub(crate) fn write_sysctls(sysctls: &[Sysctl<'_>], root: &Root<'_>) -> Result<(), Failure> {
    if sysctls.is_empty() {
        return Ok(());
    }
    let held = root
        .mounts
        .iter()
        .find(|mount| mount.keep)
        .map(|mount| Fd(mount.held.get()));
    let proc = held.ok_or_else(|| Step::Sysctl.failed(Errno(libc::EBADF)))?;
    for (index, sysctl) in sysctls.iter().enumerate() {
        write_sysctl(proc, sysctl).map_err(|errno| Step::Sysctl.failed_at(index, errno))?;
    }
    Ok(())
}

fn write_sysctl(proc: Fd, sysctl: &Sysctl<'_>) -> sys::Result<()> {
    let resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_XDEV | libc::RESOLVE_NO_SYMLINKS;
    let file = sys::openat2(proc, sysctl.path.as_ptr(), libc::O_WRONLY, resolve)?;
    if sys::filesystem_magic(file)? != PROC_SUPER_MAGIC {
        return Err(Errno(libc::EXDEV));
    }
    sys::write(file, sysctl.value)?;
    sys::close(file);
    Ok(())
}

/// Raises hard limits while that is still ours to do: whoever enters a user namespace leaves
/// `CAP_SYS_RESOURCE` over the host behind, and one that is born late never has it. Soft limits stay,
/// for small ones would break what follows.
pub(crate) fn raise_hard_limits(orders: &Orders<'_>) -> Result<(), Failure> {
    let enters = |join: &Join| join.flags & libc::CLONE_NEWUSER != 0;
    if !orders.is_born_late() && !orders.joins.iter().any(enters) {
        return Ok(());
    }
    for (index, limit) in orders.rlimits.iter().enumerate() {
        let fail = |errno| Step::Rlimit.failed_at(index, errno);
        let (soft, hard) = sys::rlimit(limit.resource).map_err(fail)?;
        if limit.hard > hard {
            sys::set_rlimit(&Rlimit { soft, ..*limit }).map_err(fail)?;
        }
    }
    Ok(())
}

/// Resource limits of the payload.
pub(crate) fn set_rlimits(orders: &Orders<'_>) -> Result<(), Failure> {
    for (index, limit) in orders.rlimits.iter().enumerate() {
        sys::set_rlimit(limit).map_err(|errno| Step::Rlimit.failed_at(index, errno))?;
    }
    Ok(())
}
