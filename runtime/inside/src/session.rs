//! Ties to the parent: its death, its terminal, its descriptors.

use crate::label;
use crate::orders::{Fd, Orders};
use crate::report::{Failure, Step};
use crate::sys::{self, Errno};

/// Closes what is no business of ours. First of all: another thread may be waiting for the other
/// end of a socket that we hold a copy of.
pub(crate) fn close_strangers(orders: &Orders<'_>) {
    sys::close_now(orders.peer);
    sys::close_all_but(orders.preserved_fds.saturating_add(3), orders.kept);
}

/// Dies with the parent from here on, or at once if it is dead already.
pub(crate) fn tie_to_parent(parent: Fd) -> Result<(), Failure> {
    let die = |errno| Step::Orphaned.failed(errno);
    sys::prctl(libc::PR_SET_PDEATHSIG, 9).map_err(die)?;
    // The parent may have died between the clone and the line above.
    if sys::hung_up(parent) {
        return Err(die(Errno(libc::EPIPE)));
    }
    Ok(())
}

/// Dies with the parent, without a socket to see whether it has died already: an orphan has
/// another parent.
pub(crate) fn tie_to_parent_alone(parent: i32) -> sys::Result<()> {
    sys::prctl(libc::PR_SET_PDEATHSIG, 9)?;
    if sys::parent()? == parent {
        Ok(())
    } else {
        Err(Errno(libc::EPIPE))
    }
}

/// A session of our own, with a clean signal mask: the parent blocks signals to forward them.
pub(crate) fn lead(orders: &Orders<'_>) -> Result<(), Failure> {
    sys::setsid().map_err(|errno| Step::Session.failed(errno))?;
    // Handlers were cleared by the clone, but what was ignored would stay ignored over execve(2).
    for signal in 1..=64_u64 {
        if orders.ignored_signals >> (signal - 1) & 1 == 1 {
            sys::reset_signal(signal);
        }
    }
    sys::unblock_signals()
        .map(drop)
        .map_err(|errno| Step::Session.failed(errno))
}

/// Not dumpable: /proc/PID of this process belongs to the host's root until `execve(2)`.
pub(crate) fn hide() -> Result<(), Failure> {
    sys::prctl(libc::PR_SET_DUMPABLE, 0)
        .map(drop)
        .map_err(|errno| Step::Session.failed(errno))
}

/// Must we be seen for a while? Hidden, in a user namespace, we could not write our own time
/// offsets, nor could an ordinary user write our maps.
pub(crate) fn hides_late(orders: &Orders<'_>) -> bool {
    orders.time_offsets.is_some() || orders.ordinary_parent && orders.user_namespace
}

/// A session keyring of our own, so that the host's keys are not inherited.
pub(crate) fn join_keyring(orders: &Orders<'_>) -> Result<(), Failure> {
    let Some(name) = orders.keyring else {
        return Ok(());
    };
    if let Some(label) = orders.labels.selinux {
        label::set_for_keys(label)?;
    }
    match sys::join_session_keyring(name) {
        // A kernel without key management has no keys to leak.
        Ok(_) | Err(Errno(libc::ENOSYS)) => {}
        Err(errno) => return Err(Step::Keyring.failed(errno)),
    }
    match orders.labels.selinux {
        Some(_) => label::unset_for_keys(),
        None => Ok(()),
    }
}

/// Puts the standard streams in their places and marks all else close-on-exec.
pub(crate) fn connect_stdio(orders: &Orders<'_>, stdio: &[Fd; 3]) -> Result<(), Failure> {
    let mut sources = *stdio;
    for (source, number) in sources.iter_mut().zip(0..) {
        // One that stands in another's place is moved out of the way first.
        if source.0 < 3 && source.0 != number {
            *source = sys::dup_above(*source).map_err(|errno| Step::Stdio.failed(errno))?;
        }
    }
    for ((index, fd), number) in sources.iter().enumerate().zip(0..) {
        // The caller's own streams stay as they are.
        if fd.0 != number {
            sys::dup_onto(*fd, number).map_err(|errno| Step::Stdio.failed_at(index, errno))?;
        }
    }
    let first = orders.preserved_fds.saturating_add(3);
    match sys::close_range_on_exec(first) {
        // Before Linux 5.11: nothing but what was kept is open besides what we opened ourselves,
        // which closes on exec anyway.
        Err(Errno(libc::EINVAL)) => close_kept_on_exec(orders),
        other => other.map(drop),
    }
    .map_err(|errno| Step::CloseFds.failed(errno))
}

fn close_kept_on_exec(orders: &Orders<'_>) -> sys::Result<()> {
    let kept = orders.kept.iter();
    let mut kept = kept.filter(|fd| fd.0.unsigned_abs() >= orders.preserved_fds.saturating_add(3));
    kept.try_for_each(|fd| match sys::close_on_exec(*fd) {
        // Closed since, or the place of one that was never open.
        Ok(_) | Err(Errno(libc::EBADF)) => Ok(()),
        Err(errno) => Err(errno),
    })
}

/// Closes what the payload does not get, but for the way to the parent and this one.
pub(crate) fn close_ours(orders: &Orders<'_>, other: Fd) {
    let wanted = [orders.parent.min(other), orders.parent.max(other)];
    for fd in orders.kept.iter().filter(|fd| !wanted.contains(fd)) {
        sys::close_now(*fd);
    }
    let first = orders.preserved_fds.saturating_add(3);
    // Among the preserved ones, those that would not reach the payload are ours, in gaps.
    for fd in (3..first).map(|number| Fd(number.cast_signed())) {
        if !wanted.contains(&fd) && sys::closes_on_exec(fd) {
            sys::close_now(fd);
        }
    }
    sys::close_all_but(first, &wanted);
}

/// The payload outlives the runtime. A parent-death signal would survive `execve(2)`.
pub(crate) fn release(orders: &Orders<'_>) -> Result<(), Failure> {
    if orders.park.is_some() {
        Ok(())
    } else {
        untie()
    }
}

pub(crate) fn untie() -> Result<(), Failure> {
    sys::prctl(libc::PR_SET_PDEATHSIG, 0)
        .map(drop)
        .map_err(|errno| Step::Session.failed(errno))
}
