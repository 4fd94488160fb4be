//! Walking directories: names here come from the kernel or from links, not from the orders.

use super::{Result, call, check};
use crate::orders::Fd;
use core::ffi::c_char;
use core::ptr::null;

/// `readlinkat(2)`: the text of a link; how long it is, at most as long as the buffer.
pub(crate) fn readlinkat(directory: Fd, name: *const c_char, text: &mut [u8]) -> Result<usize> {
    let (start, length) = (text.as_mut_ptr(), text.len());
    let length = call!(libc::SYS_readlinkat, directory.0, name, start, length)?;
    Ok(usize::try_from(length).unwrap_or(0))
}

/// `getdents64(2)`: how many bytes of entries came, none at the end.
pub(crate) fn getdents(directory: Fd, entries: &mut [u8]) -> Result<usize> {
    let (start, length) = (entries.as_mut_ptr(), entries.len());
    let length = call!(libc::SYS_getdents64, directory.0, start, length)?;
    Ok(usize::try_from(length).unwrap_or(0))
}

/// `openat(2)` of one name that is never a symbolic link.
pub(crate) fn open_name(directory: Fd, name: *const c_char, flags: i32, mode: u32) -> Result<Fd> {
    let flags = flags | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    call!(libc::SYS_openat, directory.0, name, flags, mode).map(Fd)
}

/// `symlinkat(2)`.
pub(crate) fn symlink_name(
    target: *const c_char,
    directory: Fd,
    name: *const c_char,
) -> Result<i32> {
    call!(libc::SYS_symlinkat, target, directory.0, name)
}

/// `fchownat(2)` of a name, or of the directory where it is empty; never of what a link points to.
pub(crate) fn chown_name(directory: Fd, name: *const c_char, uid: u32, gid: u32) -> Result<i32> {
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    call!(libc::SYS_fchownat, directory.0, name, uid, gid, flags)
}

/// `fchmodat(2)`, which follows links: only for names that are none and that nobody else can swap.
pub(crate) fn chmod_name(directory: Fd, name: *const c_char, mode: u32) -> Result<i32> {
    call!(libc::SYS_fchmodat, directory.0, name, mode)
}

/// `sendfile(2)` from where one file stands to where the other does; how many bytes went, none at
/// the end.
pub(crate) fn copy(from: Fd, to: Fd, most: usize) -> Result<i32> {
    let here = null::<i64>();
    call!(libc::SYS_sendfile, to.0, from.0, here, most)
}
