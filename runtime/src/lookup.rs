//! Finding an image's files inside its root, and reading those that are regular.

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::{Errno, Result};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Is it a directory?
pub(crate) fn is_directory(root: BorrowedFd<'_>, path: &Path) -> bool {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(root, path, flags, Mode::empty(), resolve).is_ok()
}

/// Opens whatever is there for nothing but to be named: links are followed as the container would.
///
/// # Errors
/// What `openat2(2)` answers; `ELOOP` for a magic link.
pub(crate) fn find(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat2(root, path, flags, Mode::empty(), resolve)
}

/// Opens a file for reading. What it is is looked at before it is opened: opening a device node
/// that an image brought would already act on the host's device.
///
/// # Errors
/// `ENOENT` for anything but a regular file, and what `openat2(2)` answers.
pub(crate) fn open_regular(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    let found = find(root, path)?;
    if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::RegularFile {
        return Err(Errno::NOENT);
    }
    // The descriptor's own link: the file that was looked at, whatever its name says by now.
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    openat(CWD, again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}
