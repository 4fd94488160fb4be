//! Entering namespaces that exist, and the first steps inside those that are new.

use crate::orders::{Fd, Orders};
use crate::report::{Failure, Step, byte};
use crate::sys::{self, Errno};

/// Joins what is to be joined, and clones once more where the process must be born inside it.
pub(crate) fn join(orders: &Orders<'_>, report_to: &mut Fd) -> Result<(), Failure> {
    for (index, join) in orders.joins.iter().enumerate() {
        sys::setns(join.fd, join.flags).map_err(|errno| Step::Join.failed_at(index, errno))?;
    }
    let Some(second) = orders.second_clone else {
        return Ok(());
    };
    let fail = |errno| Step::SecondClone.failed(errno);
    if second.become_root {
        // In a user namespace that was joined, ids are those of its maps.
        become_root()?;
    }
    // Whoever may trace processes in there could reach the host through these.
    for join in orders.joins {
        sys::close_now(join.fd);
    }
    if let (Some(proc), None) = (orders.host_proc, orders.time_offsets) {
        sys::close_now(proc);
    }
    match sys::clone_sibling(second.flags).map_err(fail)? {
        None => {
            // A process of its own now: tied anew, and leader of its own session.
            crate::session::tie_to_parent(*report_to)?;
            crate::session::lead(orders)?;
            crate::session::hide()
        }
        Some(pidfd) => {
            // The parent waits for the sibling from now on; this process has done its part.
            sys::send_fd(orders.parent, byte::CHILD, pidfd).map_err(fail)?;
            sys::exit(0)
        }
    }
}

/// A new time namespace takes offsets only before any process is in it, so it is made by
/// `unshare(2)`, which leaves us outside, and entered after writing; `time_namespaces(7)`.
pub(crate) fn set_time_offsets(orders: &Orders<'_>) -> Result<(), Failure> {
    const CLONE_NEWTIME: i32 = 0x80;
    let Some(offsets) = orders.time_offsets else {
        return Ok(());
    };
    let fail = |errno| Step::TimeOffsets.failed(errno);
    let proc = orders.host_proc.ok_or_else(|| fail(Errno(libc::EBADF)))?;
    sys::unshare(CLONE_NEWTIME).map_err(fail)?;
    if !offsets.is_empty() {
        let file = sys::openat2(
            proc,
            c"self/timens_offsets".as_ptr(),
            libc::O_WRONLY,
            libc::RESOLVE_NO_XDEV | libc::RESOLVE_NO_MAGICLINKS,
        )
        .map_err(fail)?;
        sys::write(file, offsets).map_err(fail)?;
        sys::close(file);
    }
    // A namespace file is a magic link by nature; the procfs it is opened from is the host's.
    let namespace = sys::openat2(
        proc,
        c"self/ns/time_for_children".as_ptr(),
        libc::O_RDONLY,
        0,
    )
    .map_err(fail)?;
    sys::setns(namespace, CLONE_NEWTIME).map_err(fail)?;
    sys::close(namespace);
    Ok(())
}

/// Waits until the parent has written the identity maps, then takes root's place in them, so
/// that all we make belongs to the container's root.
pub(crate) fn become_root_of_user_namespace(orders: &Orders<'_>) -> Result<(), Failure> {
    if !orders.user_namespace {
        return Ok(());
    }
    let fail = |errno| Step::AwaitMaps.failed(errno);
    match sys::receive_byte(orders.parent).map_err(fail)? {
        Some(byte::MAPPED) => become_root(),
        _ => Err(fail(Errno(libc::EPIPE))),
    }
}

fn become_root() -> Result<(), Failure> {
    let fail = |errno| Step::BecomeRoot.failed(errno);
    sys::setresgid(0).map_err(fail)?;
    sys::setresuid(0).map_err(fail)?;
    // Changing identity cleared the parent-death signal, prctl(2).
    sys::prctl(libc::PR_SET_PDEATHSIG, 9)
        .map(drop)
        .map_err(fail)
}

/// Names the machine and connects it to itself.
pub(crate) fn name_and_connect(orders: &Orders<'_>) -> Result<(), Failure> {
    if let Some(name) = orders.hostname {
        sys::sethostname(name).map_err(|errno| Step::Hostname.failed(errno))?;
    }
    if let Some(name) = orders.domainname {
        sys::setdomainname(name).map_err(|errno| Step::Domainname.failed(errno))?;
    }
    if orders.loopback {
        sys::loopback_up().map_err(|errno| Step::Loopback.failed(errno))?;
    }
    Ok(())
}
