//! Where a user namespace comes from, `ioctl_nsfs(2)`, and who started this program.

use super::check;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The namespace it was made in; refused (`EPERM`) where that is not the caller's own or below it.
pub(crate) fn parent(namespace: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    const NS_GET_PARENT: libc::Ioctl = 0xb702;
    // SAFETY: the request has no argument; no memory is involved.
    let result = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_PARENT) };
    let fd = check(libc::c_long::from(result))?;
    let fd = RawFd::try_from(fd).map_err(|_too_large| rustix::io::Errno::OVERFLOW)?;
    // SAFETY: the kernel made a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The user who made it, as the caller's namespace knows that one.
pub(crate) fn owner(namespace: BorrowedFd<'_>) -> rustix::io::Result<u32> {
    const NS_GET_OWNER_UID: libc::Ioctl = 0xb704;
    let mut uid: libc::uid_t = u32::MAX;
    // SAFETY: the kernel writes one number to a local, which lives over the call.
    let result = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_OWNER_UID, &raw mut uid) };
    check(libc::c_long::from(result)).map(|_done| uid)
}

/// The effective user id this program was executed with: the kernel leaves it in every new program's
/// memory, `getauxval(3)`, so that it costs no call.
pub(crate) fn started_as() -> u64 {
    // SAFETY: no preconditions; an entry that is not there is 0, and this one is always there.
    unsafe { libc::getauxval(libc::AT_EUID) }
}
