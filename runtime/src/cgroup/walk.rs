//! Walks the tree of sub-cgroups, which the container may have made and may be changing: never deeper in
//! descriptors than two, never by a path that could grow too long, never past the deadline.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::dir;

/// Calls `enter` with the directory of `top` and of each cgroup below it, and `leave` with the parent and
/// the name of each below it once all of its own have been left. A cgroup that vanishes is skipped.
pub(crate) fn walk(
    top: BorrowedFd<'_>,
    deadline: Instant,
    mut enter: impl FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
    mut leave: impl FnMut(BorrowedFd<'_>, &CString) -> Result<(), Errno>,
) -> Result<(), Errno> {
    enter(top)?;
    let mut here: OwnedFd = dir::open(top, ".")?;
    let mut names: Vec<CString> = Vec::new();
    let mut todo: Vec<Vec<CString>> = vec![dir::children(here.as_fd())?];
    while let Some(siblings) = todo.last_mut() {
        if Instant::now() >= deadline {
            return Err(Errno::TIMEDOUT);
        }
        if let Some(name) = siblings.pop() {
            let Some((child, below)) = descend(here.as_fd(), &name, &mut enter)? else {
                continue;
            };
            here = child;
            names.push(name);
            todo.push(below);
        } else {
            todo.pop();
            if let Some(name) = names.pop() {
                here = dir::open_parent(here.as_fd())?;
                leave(here.as_fd(), &name)?;
            }
        }
    }
    Ok(())
}

type Descent = Option<(OwnedFd, Vec<CString>)>;

fn descend(
    parent: BorrowedFd<'_>,
    name: &CString,
    enter: &mut impl FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<Descent, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut open = || {
        let child = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        enter(child.as_fd())?;
        let below = dir::children(child.as_fd())?;
        Ok((child, below))
    };
    match open() {
        Err(Errno::NOENT | Errno::NODEV) => Ok(None),
        Err(errno) => Err(errno),
        Ok(found) => Ok(Some(found)),
    }
}
