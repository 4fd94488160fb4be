//! Finding files below the root: by descriptor, never leaving it.

use crate::orders::Fd;
use crate::sys::{self, Errno};
use core::ffi::{CStr, c_char};

/// Absolute links, `..` and links of links all end inside the root; `/proc/PID/fd` and its like
/// are refused, because they lead anywhere (CVE-2024-21626, CVE-2025-52881).
const INSIDE: u64 = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;

/// How often a path may be swapped under us before we call it an attack.
const PATIENCE: u32 = 128;

/// Opens a path below `root` (no leading slash; empty for the root itself) as `O_PATH`.
pub(crate) fn find(root: Fd, path: &CStr) -> sys::Result<Fd> {
    open(root, path.as_ptr(), libc::O_PATH)
}

/// The same for a path with no symbolic link on it; ELOOP where there is one.
pub(crate) fn find_plain(root: Fd, path: &CStr) -> sys::Result<Fd> {
    open_plain(root, path.as_ptr(), 0)
}

/// The same with these flags besides.
pub(crate) fn open_plain(root: Fd, path: *const c_char, flags: i32) -> sys::Result<Fd> {
    let plain = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS;
    retry(|| sys::openat2(root, path, libc::O_PATH | flags, plain))
}

/// Opens a path below `root` with these flags.
pub(crate) fn open(root: Fd, path: *const c_char, flags: i32) -> sys::Result<Fd> {
    retry(|| sys::openat2(root, path, flags, INSIDE))
}

/// `openat2(2)` answers EAGAIN where a rename elsewhere made it unsure.
fn retry(attempt: impl Fn() -> sys::Result<Fd>) -> sys::Result<Fd> {
    for _ in 0..PATIENCE {
        match attempt() {
            Err(Errno(libc::EAGAIN)) => {}
            other => return other,
        }
    }
    Err(Errno(libc::EAGAIN))
}
