//! Who a file of a layer belongs to.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Uid};
use rustix::io::Errno;

use super::place::os;
use crate::error::{At, Result};
use crate::tape::Entry;

/// Of an open file or directory.
pub(super) fn own(fd: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    explained(rustix::fs::fchown(fd, Some(uid), Some(gid)), entry)
}

/// Of what must not be opened: links, devices, fifos.
pub(super) fn own_unopened(at: impl AsFd, name: &[u8], entry: &Entry) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    let itself = AtFlags::SYMLINK_NOFOLLOW;
    let owned = rustix::fs::chownat(at, os(name), Some(uid), Some(gid), itself);
    explained(owned, entry)
}

fn explained(owned: std::result::Result<(), Errno>, entry: &Entry) -> Result<()> {
    owned
        .at("change owner", os(&entry.path))
        .map_err(|error| match owned {
            // chown(2): an id without a place in the maps of the user namespace.
            Err(Errno::INVAL) => {
                error.with_hint("/etc/subuid and /etc/subgid give too few ids for this image")
            }
            _ => error,
        })
}
