//! Who the payload is and what it may do: one place for new containers and for those who join one,
//! so that neither forgets what the other does (CVE-2022-29162 was in exec only).

use crate::namespaces;
use crate::orders::{Capabilities, Orders};
use crate::report::{Failure, Step};
use crate::sys::{self, Errno};

/// Drops from the bounding set what is not in it. Needs `CAP_SETPCAP`, so before all else goes.
pub(crate) fn drop_bounding_set(capabilities: &Capabilities) -> Result<(), Failure> {
    for capability in 0..=capabilities.last {
        if capabilities.bounding >> capability & 1 == 0 {
            sys::prctl(libc::PR_CAPBSET_DROP, capability.into())
                .map_err(|errno| Step::Capabilities.failed(errno))?;
        }
    }
    Ok(())
}

/// What installing a filter takes: `CAP_SYS_ADMIN`.
pub(crate) const FOR_FILTER: u64 = 1 << 21;

/// What becoming another user takes: `CAP_SETGID` and `CAP_SETUID`.
const FOR_USER: u64 = 1 << 6 | 1 << 7;

/// Becomes the payload's user with exactly the sets of the orders, and these capabilities besides
/// for the steps that are left.
pub(crate) fn become_payload(orders: &Orders<'_>, besides: u64) -> Result<(), Failure> {
    set_groups(orders)?;
    become_user(orders, besides)
}

/// What is left for a process that is born late.
pub(crate) fn besides_late(orders: &Orders<'_>) -> u64 {
    let identity = &orders.identity;
    if (identity.uid, identity.gid) == (0, 0) {
        0
    } else {
        FOR_USER
    }
}

/// The part of it that comes before the birth of a process that is born late: all, or all but the
/// change of the user, which would make the memory that may be borrowed one nobody can look into.
pub(crate) fn become_payload_before_birth(
    orders: &Orders<'_>,
    besides: u64,
) -> Result<(), Failure> {
    match besides_late(orders) {
        0 => become_payload(orders, besides),
        left => {
            set_groups(orders)?;
            set_capabilities(&orders.capabilities, besides | left)
        }
    }
}

/// The other part.
pub(crate) fn become_payload_after_birth(orders: &Orders<'_>) -> Result<(), Failure> {
    match besides_late(orders) {
        0 => Ok(()),
        _ => become_user(orders, 0),
    }
}

fn set_groups(orders: &Orders<'_>) -> Result<(), Failure> {
    let identity = &orders.identity;
    let Some(groups) = identity.groups else {
        return Ok(());
    };
    let privileged = identity.parent_sets_groups || namespaces::enter_user_namespace(orders.joins);
    match sys::setgroups(groups) {
        // The user namespace denies it, and nobody asked for groups.
        Err(Errno(libc::EPERM)) if groups.is_empty() && privileged => Ok(()),
        other => other
            .map(drop)
            .map_err(|errno| Step::Identity.failed(errno)),
    }
}

fn become_user(orders: &Orders<'_>, besides: u64) -> Result<(), Failure> {
    let capabilities = &orders.capabilities;
    let identity = &orders.identity;
    let no_caps = |errno| Step::Capabilities.failed(errno);
    let no_identity = |errno| Step::Identity.failed(errno);
    if identity.uid != 0 {
        // Otherwise leaving uid 0 clears the permitted set before it can be set.
        sys::prctl(libc::PR_SET_KEEPCAPS, 1).map_err(no_caps)?;
    }
    sys::setresgid(identity.gid).map_err(no_identity)?;
    sys::setresuid(identity.uid).map_err(no_identity)?;
    if let Some(mask) = identity.umask {
        sys::umask(mask);
    }
    set_capabilities(capabilities, besides)?;
    if identity.uid != 0 {
        sys::prctl(libc::PR_SET_KEEPCAPS, 0).map_err(no_caps)?;
    }
    raise_ambient(capabilities)
}

/// `capset(2)`.
pub(crate) fn set_capabilities(sets: &Capabilities, besides: u64) -> Result<(), Failure> {
    sys::capset(
        sets.effective | besides,
        sets.permitted | besides,
        sets.inheritable,
    )
    .map(drop)
    .map_err(|errno| Step::Capabilities.failed(errno))
}

/// Ambient capabilities start empty, whatever the parent had.
fn raise_ambient(capabilities: &Capabilities) -> Result<(), Failure> {
    let fail = |errno| Step::Capabilities.failed(errno);
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL.unsigned_abs().into();
    sys::prctl2(libc::PR_CAP_AMBIENT, clear, 0).map_err(fail)?;
    for capability in 0..=capabilities.last {
        if capabilities.ambient >> capability & 1 == 1 {
            let raise = libc::PR_CAP_AMBIENT_RAISE.unsigned_abs().into();
            sys::prctl2(libc::PR_CAP_AMBIENT, raise, capability.into()).map_err(fail)?;
        }
    }
    Ok(())
}
