//! The root of a container, which containerd sends as a list of mounts to be made in the bundle.

mod idmapped;
mod options;

use crate::messages::Mount;
use crate::wire::status::{Answer, Failure};
use options::Options;
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdir, open, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, mount_bind,
    mount_bind_recursive, mount_change, mount_remount, move_mount, unmount,
};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// `mount(2)` takes a page of options, with its end.
const PAGE: usize = 4095;

/// More mounts on one another than any root has.
const MOST: usize = 64;

/// Makes the mounts, in order; `None` where there are none. What was made is unmade where one fails.
pub(crate) fn assemble(mounts: &[Mount], bundle: &Path) -> Answer<Option<PathBuf>> {
    if mounts.is_empty() {
        return Ok(None);
    }
    let root = bundle.join("rootfs");
    match mkdir(&root, Mode::from_raw_mode(0o711)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(Failure::system(&format!("make {}", root.display()), errno)),
    }
    for mount in mounts {
        if let Err(failure) = make(mount, &root) {
            dismantle(&root);
            return Err(failure);
        }
    }
    Ok(Some(root))
}

fn make(one: &Mount, root: &Path) -> Answer<()> {
    let options = Options::parse(&one.options)?;
    if options.ids.are_given() {
        return idmapped::attach(one, options, root);
    }
    attach(one, &options, root).map_err(|errno| failed(one, root, errno))
}

fn failed(one: &Mount, root: &Path, errno: Errno) -> Failure {
    let (kind, source) = (&one.kind, &one.source);
    let doing = format!("mount {kind} of {source:?} on {}", root.display());
    Failure::system(&doing, errno)
}

/// Unmounts whatever is mounted there.
pub(crate) fn dismantle(root: &Path) {
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    for _ in 0..MOST {
        if unmount(root, flags).is_err() {
            // Nothing is mounted any more, or there is nothing at all.
            return;
        }
    }
}

/// Makes one mount. Its place is opened once, and then no name leads there any more.
fn attach(one: &Mount, options: &Options, root: &Path) -> rustix::io::Result<()> {
    let place = place(one, root)?;
    let on = format!("/proc/self/fd/{}", place.as_raw_fd());
    if options.bind || one.kind == "bind" {
        if options.recursive {
            mount_bind_recursive(one.source.as_str(), on.as_str())?;
        } else {
            mount_bind(one.source.as_str(), on.as_str())?;
        }
        if !options.flags.is_empty() {
            remount(one, root, options.flags)?;
        }
    } else {
        let data = options.data.join(",");
        if data.len() < PAGE {
            let data = CString::new(data).map_err(|_nul| Errno::INVAL)?;
            mount(
                one.source.as_str(),
                on.as_str(),
                one.kind.as_str(),
                options.flags,
                &*data,
            )?;
        } else {
            attach_piecewise(one, options, &place)?;
        }
    }
    match options.propagation {
        Some(propagation) => mount_change(mounted(one, root)?.1.as_str(), propagation),
        None => Ok(()),
    }
}

/// The directory it goes on, below the root and not through links.
fn place(one: &Mount, root: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = open(root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let below = one.target.trim_matches('/');
    if below.is_empty() {
        return Ok(root);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(root, below, flags, Mode::empty(), resolve)
}

/// What is mounted there now.
fn mounted(one: &Mount, root: &Path) -> rustix::io::Result<(OwnedFd, String)> {
    let top = place(one, root)?;
    let path = format!("/proc/self/fd/{}", top.as_raw_fd());
    Ok((top, path))
}

/// A bind takes its flags only in a second step.
fn remount(one: &Mount, root: &Path, flags: MountFlags) -> rustix::io::Result<()> {
    let (_top, path) = mounted(one, root)?;
    mount_remount(path.as_str(), MountFlags::BIND | flags, c"")
}

/// Layers whose names do not fit a page: one after the other, since Linux 6.7.
fn attach_piecewise(one: &Mount, options: &Options, place: &OwnedFd) -> rustix::io::Result<()> {
    let context = fsopen(one.kind.as_str(), FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "source", one.source.as_str())?;
    for option in &options.data {
        match option.split_once('=') {
            Some(("lowerdir", layers)) => {
                for layer in layers.split(':') {
                    fsconfig_set_string(context.as_fd(), "lowerdir+", layer)?;
                }
            }
            Some((key, value)) => fsconfig_set_string(context.as_fd(), key, value)?,
            None => fsconfig_set_flag(context.as_fd(), option.as_str())?,
        }
    }
    if options.flags.contains(MountFlags::RDONLY) {
        fsconfig_set_flag(context.as_fd(), "ro")?;
    }
    fsconfig_create(context.as_fd())?;
    let detached = fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes(options.flags),
    )?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(detached.as_fd(), "", place.as_fd(), "", flags)
}

fn attributes(flags: MountFlags) -> MountAttrFlags {
    let table = [
        (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (MountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
        (
            MountFlags::NODIRATIME,
            MountAttrFlags::MOUNT_ATTR_NODIRATIME,
        ),
    ];
    let asked = table.iter().filter(|(flag, _)| flags.contains(*flag));
    asked.fold(MountAttrFlags::empty(), |all, (_, one)| all | *one)
}
