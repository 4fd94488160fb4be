//! Entering namespaces that exist, and the first steps inside those that are new.

use crate::orders::{Fd, Join, Orders, SecondClone};
use crate::report::{Failure, Step, byte};
use crate::root;
use crate::sources::Asked;
use crate::sys::{self, Errno, Sibling};

/// Joins what is to be joined, and clones once more where the process must be born inside it.
///
/// Time offsets are written by whoever may: before a user namespace is joined, whose root could not
/// write to our files in /proc; by an ordinary user's child only inside it.
pub(crate) fn join(orders: &Orders<'_>, report_to: &mut Fd) -> Result<(), Failure> {
    let offsets_first = enter_user_namespace(orders.joins) && !orders.ordinary_parent;
    if offsets_first {
        set_time_offsets(orders)?;
    }
    join_all(orders.joins)?;
    root::enter_known(orders)?;
    copy_mounts(orders)?;
    if let Some(second) = orders.second_clone.filter(|second| !second.late) {
        clone_again(orders, second, report_to)?;
    }
    if offsets_first {
        Ok(())
    } else {
        set_time_offsets(orders)
    }
}

/// The same as the last of all that takes more than the payload may. What only the process itself can
/// have comes after it: its session with the terminal, and its user, whose processes are counted when
/// one is made.
pub(crate) fn clone_late(orders: &Orders<'_>, report_to: &mut Fd) -> Result<(), Failure> {
    if let Some(second) = orders.second_clone {
        clone_again(orders, second, report_to)?;
    }
    crate::console::control(orders)
}

/// Goes on in a process that is born inside what was joined.
fn clone_again(
    orders: &Orders<'_>,
    second: SecondClone,
    report_to: &mut Fd,
) -> Result<(), Failure> {
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
            if crate::session::hides_late(orders) {
                Ok(())
            } else {
                crate::session::hide()
            }
        }
        Some(sibling) => {
            // The parent waits for the sibling from now on; this process has done its part.
            hand_over(orders.parent, sibling).map_err(fail)?;
            sys::exit(0)
        }
    }
}

/// Tells the parent who goes on. We are in its pid namespace, so the number means the same to it.
///
/// Who has given up CAP_SYS_RESOURCE may not send a descriptor while processes of its user, in other
/// containers perhaps, keep more of them under way than its limit of open files, `unix(7)`. The number
/// does without: the parent has not reaped its child yet.
fn hand_over(parent: Fd, sibling: Sibling) -> Result<i32, Errno> {
    let [first, second, third, fourth] = sibling.pid.to_le_bytes();
    let message = [byte::CHILD, first, second, third, fourth];
    match sys::send_with_fd(parent, &message, sibling.pidfd) {
        Err(Errno(libc::ETOOMANYREFS)) => sys::send(parent, &message),
        other => other,
    }
}

/// Does one of them enter a user namespace?
pub(crate) fn enter_user_namespace(joins: &[Join]) -> bool {
    joins.iter().any(|join| enters_user(*join))
}

fn enters_user(join: Join) -> bool {
    join.flags & libc::CLONE_NEWUSER != 0
}

/// First what our own privileges reach: in the user namespace they are gone. Then that one, and
/// then what it owns: there an ordinary user's runtime has privileges it had not before.
fn join_all(joins: &[Join]) -> Result<(), Failure> {
    let has_user = enter_user_namespace(joins);
    let mut waiting = 0_u64;
    for (index, join) in joins
        .iter()
        .enumerate()
        .filter(|(_, join)| !enters_user(**join))
    {
        match sys::setns(join.fd, join.flags) {
            Err(Errno(libc::EPERM)) if has_user => waiting |= 1 << index,
            other => other
                .map(drop)
                .map_err(|errno| Step::Join.failed_at(index, errno))?,
        }
    }
    let rest = |(index, join): &(usize, &Join)| enters_user(**join) || waiting >> index & 1 == 1;
    // The user namespace is the last of the list.
    for (index, join) in joins.iter().enumerate().rev().filter(rest) {
        sys::setns(join.fd, join.flags).map_err(|errno| Step::Join.failed_at(index, errno))?;
    }
    Ok(())
}

/// A mount namespace of our own that is a copy of a small one, and not of the parent's.
fn copy_mounts(orders: &Orders<'_>) -> Result<(), Failure> {
    let Some(template) = orders.mounts_from else {
        return Ok(());
    };
    sys::setns(template, libc::CLONE_NEWNS)
        .and_then(|_| sys::unshare(libc::CLONE_NEWNS))
        .map(drop)
        .map_err(|errno| Step::Detach.failed(errno))
}

/// A new time namespace takes offsets only before any process is in it, so it is made by
/// `unshare(2)`, which leaves us outside, and entered after writing; `time_namespaces(7)`.
fn set_time_offsets(orders: &Orders<'_>) -> Result<(), Failure> {
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

/// Goes to a class of service of the processor, before anything runs that is not ours.
pub(crate) fn join_class(orders: &Orders<'_>) -> Result<(), Failure> {
    if !orders.class_of_service {
        return Ok(());
    }
    let asked = Asked {
        parent: orders.parent,
        number: 0,
    };
    asked
        .class_of_service()
        .map_err(|errno| Step::ClassOfService.failed(errno))
}

/// Names the machine and connects it to itself.
pub(crate) fn name_and_connect(orders: &Orders<'_>) -> Result<(), Failure> {
    if let Some(name) = orders.hostname {
        sys::sethostname(name).map_err(|errno| Step::Hostname.failed(errno))?;
    }
    if let Some(name) = orders.domainname {
        sys::setdomainname(name).map_err(|errno| Step::Domainname.failed(errno))?;
    }
    if orders.net_devices {
        let asked = Asked {
            parent: orders.parent,
            number: 0,
        };
        asked
            .net_devices()
            .map_err(|errno| Step::NetDevices.failed(errno))?;
    }
    if orders.loopback {
        sys::loopback_up().map_err(|errno| Step::Loopback.failed(errno))?;
    }
    Ok(())
}
