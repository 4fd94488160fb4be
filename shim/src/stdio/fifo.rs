//! Named pipes of containerd's, and what else a path may lead to.

use super::{Owner, chown};
use crate::wire::status::{Answer, Failure};
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, open};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// A pipe to read from, which a process keeps open to write as well: then its reader does not come to an
/// end only because containerd has died. Whatever else the path leads to is read as it is.
pub(super) fn input(path: &str) -> Answer<(Option<OwnedFd>, OwnedFd)> {
    ends(path, OFlags::RDONLY)
}

/// A pipe to write to, which is kept open for reading as well: then writing to it does not kill while
/// containerd is away. Whatever else the path leads to is appended to.
pub(super) fn output(path: &str) -> Answer<(Option<OwnedFd>, OwnedFd)> {
    ends(path, OFlags::WRONLY)
}

fn ends(path: &str, way: OFlags) -> Answer<(Option<OwnedFd>, OwnedFd)> {
    let failed = |errno: Errno| Failure::system(&format!("open stream {path}"), errno);
    // Neither way does this wait for somebody at the other end, fifo(7).
    let both = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let held = match open(path, both, Mode::empty()) {
        Ok(held) if is_pipe(&held).map_err(failed)? => held,
        Ok(_) | Err(Errno::ACCESS | Errno::ROFS) => {
            let append = if way == OFlags::WRONLY {
                OFlags::APPEND
            } else {
                OFlags::empty()
            };
            let flags = way | append | OFlags::CLOEXEC | OFlags::NOCTTY;
            let end = open(path, flags, Mode::empty()).map_err(failed)?;
            return Ok((None, end));
        }
        Err(errno) => return Err(failed(errno)),
    };
    // The same pipe once more, whatever is at the path by now; it blocks, as programs expect.
    let own = format!("/proc/self/fd/{}", held.as_raw_fd());
    let end = open(own, way | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    Ok((Some(held), end))
}

fn is_pipe(fd: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Fifo)
}

/// Gives a pipe to the user of the process.
pub(super) fn give(end: &OwnedFd, owner: Owner) {
    if is_pipe(end).unwrap_or(false) {
        chown(end.as_fd(), owner);
    }
}

/// For those ends that we serve ourselves.
pub(super) fn without_blocking(end: OwnedFd) -> Answer<OwnedFd> {
    let set = || fcntl_setfl(&end, fcntl_getfl(&end)? | OFlags::NONBLOCK);
    set().map_err(|errno| Failure::system("set the flags of a stream", errno))?;
    Ok(end)
}
