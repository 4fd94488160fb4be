//! What a mount shows, where it can only be had from in here: clones made in our own mount
//! namespace, whose flags the kernel has locked against the root of a user namespace.

use crate::orders::{Attributes, Changes, Fd, Mount, Root};
use crate::report::{Failure, Step, byte};
use crate::sys::{self, Errno};
use core::ffi::CStr;

/// A question to the parent about one mount.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) parent: Fd,
    pub(crate) number: u16,
}

impl Asked {
    fn message(self, kind: u8) -> [u8; 3] {
        let [low, high] = self.number.to_le_bytes();
        [kind, low, high]
    }

    fn answer(self, kind: u8) -> sys::Result<Option<Fd>> {
        match sys::receive_with_fd(self.parent)? {
            Some((answer, fd)) if answer == kind => Ok(fd),
            _ => Err(Errno(libc::EPIPE)),
        }
    }

    /// A path of the host as it is in our mount namespace. The parent opens it, for we may not be
    /// allowed to; a parent without the privilege to look into us leaves it to us.
    pub(crate) fn source(self, path: &CStr) -> sys::Result<Fd> {
        sys::send(self.parent, &self.message(byte::SOURCE))?;
        if let Some(fd) = self.answer(byte::SOURCE)? {
            return Ok(fd);
        }
        // The parent resolved the links.
        let resolve = libc::RESOLVE_NO_SYMLINKS;
        sys::openat2(Fd(libc::AT_FDCWD), path.as_ptr(), libc::O_PATH, resolve)
    }

    /// Has the parent bring the network devices.
    pub(crate) fn net_devices(self) -> sys::Result<()> {
        sys::send(self.parent, &self.message(byte::NET_DEVICES))?;
        self.answer(byte::NET_DEVICES).map(drop)
    }

    /// Has the parent move us into a class of service of the processor: its file is the host's.
    pub(crate) fn class_of_service(self) -> sys::Result<()> {
        sys::send(self.parent, &self.message(byte::CLASS))?;
        self.answer(byte::CLASS).map(drop)
    }

    /// Has the parent give the tree its ids.
    fn map(self, tree: Fd) -> sys::Result<()> {
        sys::send_with_fd(self.parent, &self.message(byte::IDMAP), tree)?;
        self.answer(byte::IDMAP).map(drop)
    }
}

/// Clones what is at a place, with the ids of the mount: they are given before it is attached.
pub(crate) fn clone(
    place: Fd,
    recursive: bool,
    mount: &Mount<'_>,
    asked: Asked,
) -> Result<Fd, (Step, Errno)> {
    let tree =
        sys::clone_tree(place, c"", recursive).map_err(|errno| (Step::MountSource, errno))?;
    sys::close(place);
    if mount.changes.idmap {
        asked.map(tree).map_err(|errno| (Step::MountIds, errno))?;
    }
    Ok(tree)
}

/// Changes a clone as its mount wants it, once it is attached: kernels before Linux 5.12 change no
/// other.
pub(crate) fn change(tree: Fd, changes: &Changes) -> sys::Result<()> {
    if changes.propagation != 0 {
        sys::set_attributes(tree, 0, changes.propagation, true)?;
    }
    change_own(tree, changes)?;
    if changes.tree != Attributes::default() {
        sys::change_attributes(tree, changes.tree, true)?;
    }
    Ok(())
}

fn change_own(tree: Fd, changes: &Changes) -> sys::Result<()> {
    if changes.own == Attributes::default() {
        return Ok(());
    }
    match sys::change_attributes(tree, changes.own, false) {
        // A flag that is not named is locked: it stays.
        Err(Errno(libc::EPERM)) => sys::change_attributes(tree, changes.own_locked, false),
        other => other,
    }
    .map(drop)
}

/// Changes what is mounted at the target, and its file system where there are options for that.
pub(crate) fn remount(
    target: Fd,
    options: Option<&[(&CStr, &CStr)]>,
    changes: &Changes,
) -> sys::Result<()> {
    if let Some(options) = options.filter(|options| !options.is_empty()) {
        let context = sys::fspick(target)?;
        let configured = options
            .iter()
            .try_for_each(|(key, value)| sys::fsconfig(context, key, value).map(drop))
            .and_then(|()| sys::fsconfig_reconfigure(context).map(drop));
        sys::close(context);
        configured?;
    }
    change(target, changes)?;
    sys::close(target);
    Ok(())
}

/// In a user namespace: the bundle's directory, cloned in our own mount namespace.
pub(crate) fn clone_root(root: &Root<'_>, parent: Fd) -> Result<(), Failure> {
    let Some(path) = root.host_path else {
        return Ok(());
    };
    let fail = |errno| Step::MountSource.failed_at(usize::from(byte::ROOT), errno);
    let asked = Asked {
        parent,
        number: byte::ROOT,
    };
    let place = asked.source(path).map_err(fail)?;
    let tree = sys::clone_tree(place, c"", true).map_err(fail)?;
    sys::close(place);
    sys::replace(tree, root.tree).map_err(fail)?;
    sys::close_now(tree);
    Ok(())
}
