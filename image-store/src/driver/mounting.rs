//! Mounts of layer images, made by descriptor and attached nowhere.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::error::{Error, ErrorKind, Result, errno_text, quoted};
use crate::overlay::kernel_words;
use crate::store::Folder;

/// Mounts an image with its tar as second device. Nothing in it may be a working device or give
/// rights by itself; the overlay above decides that anew.
pub(super) fn erofs(index: &Path, tar: &Path) -> Result<OwnedFd> {
    let failed = |errno, words: Option<Vec<u8>>| {
        let mut cause = errno_text(Errno::raw_os_error(errno));
        if let Some(words) = words {
            cause = format!(
                "{cause}, kernel says {}",
                quoted(String::from_utf8_lossy(&words).as_ref())
            );
        }
        let (kind, hint) = match errno {
            Errno::PERM | Errno::ACCESS => (ErrorKind::Denied, "mounting needs root"),
            Errno::NOENT => (ErrorKind::NotFound, "a layer is gone; load the image again"),
            _ => (
                ErrorKind::Unsupported,
                "layers of this form need Linux 6.15 and a disk's file system; load the image into another store",
            ),
        };
        Error::new(kind, "mount layer", quoted(index), cause).with_hint(hint)
    };
    let context =
        fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| failed(errno, None))?;
    let mounted = || {
        let (index, tar) = (open(index)?, open(tar)?);
        // The kernel opens both by name, which may be longer than it takes: the descriptors' are not.
        fsconfig_set_string(&context, "source", descriptor_path(&index))?;
        fsconfig_set_string(&context, "device", descriptor_path(&tar))?;
        fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    mounted().map_err(|errno| failed(errno, kernel_words(&context)))
}

/// An overlay of nothing but a mount and an empty directory.
pub(super) fn overlay_of(mount: &OwnedFd, folder: &Folder) -> Result<OwnedFd> {
    let failed = |errno| {
        let cause = errno_text(Errno::raw_os_error(errno));
        Error::new(ErrorKind::Unsupported, "mount", "overlay", cause)
    };
    let empty = Folder::open_or_make(folder.path().join("empty"))?;
    let mounted = || {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_fd(&context, "lowerdir+", mount.as_fd())?;
        fsconfig_set_fd(&context, "lowerdir+", empty.fd())?;
        fsconfig_create(&context)?;
        let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, read_only)
    };
    mounted().map_err(failed)
}

fn open(path: &Path) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn descriptor_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
