//! Device nodes for a container that cannot make them: those the host has are cloned; those that
//! the config describes are made here, and become the container's by their maps.

use super::trees::CLONE;
use crate::error::{At, Error, ErrorKind, Result};
use crate::plan::Plan;
use crate::plan::devices::DevicePlan;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, fstat, mknodat, open, openat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsmount, fsopen,
    open_tree,
};
use std::os::fd::OwnedFd;

/// A node that is not made by the room.
#[derive(Debug)]
pub(crate) enum NodeFd {
    /// A detached mount of the host's.
    Bound(OwnedFd),
    /// One of [`Nodes::made_in`].
    Made(OwnedFd),
}

impl NodeFd {
    pub(crate) fn fd(&self) -> &OwnedFd {
        match self {
            NodeFd::Bound(fd) | NodeFd::Made(fd) => fd,
        }
    }
}

/// The nodes, in the order of the plan's devices; `None` for those the room finds or makes itself.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    pub(crate) each: Vec<Option<NodeFd>>,
    /// The file system of those that were made: detached, and never in any mount table but the
    /// container's, for as long as it takes to clone them.
    pub(crate) made_in: Option<OwnedFd>,
}

impl Nodes {
    /// `cloned_inside`: the room clones what the host has.
    pub(crate) fn open(plan: &Plan, cloned_inside: bool) -> Result<Nodes> {
        let mut nodes = Nodes::default();
        for (index, device) in plan.devices.iter().enumerate() {
            let made = match device.owner_outside {
                Some(owner) => nodes.make(index, device, owner)?,
                None => None,
            };
            nodes.each.push(match made {
                Some(made) => Some(NodeFd::Made(made)),
                None if device.bind && !cloned_inside => Some(NodeFd::Bound(clone(device)?)),
                None => None,
            });
        }
        Ok(nodes)
    }

    /// `None` where we may not make it: our own user namespace or device filter forbids it.
    fn make(
        &mut self,
        index: usize,
        device: &DevicePlan,
        (uid, gid): (u32, u32),
    ) -> Result<Option<OwnedFd>> {
        let at = device.path.display();
        let filesystem = match &self.made_in {
            Some(filesystem) => filesystem,
            None => self
                .made_in
                .insert(filesystem().at("make", "a file system for devices")?),
        };
        // Nobody else has a name in there.
        let name = index.to_string();
        let (kind, mode) = (
            FileType::from_raw_mode(device.mode),
            Mode::from_raw_mode(device.mode),
        );
        match mknodat(filesystem, &name, kind, mode, device.number) {
            Err(Errno::PERM) => return Ok(None),
            other => other.at("make device", &at)?,
        }
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        chownat(
            filesystem,
            &name,
            owner.0,
            owner.1,
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .at("give away device", &at)?;
        // Once more: the umask of a process is shared by its threads, so it is not touched.
        chmodat(filesystem, &name, mode, AtFlags::empty()).at("set mode of device", &at)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = openat(filesystem, &name, flags, Mode::empty()).at("open device", &at)?;
        Ok(Some(node))
    }
}

fn filesystem() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A node of the host, proven by what it is: the name alone says nothing (CVE-2025-31133).
fn clone(device: &DevicePlan) -> Result<OwnedFd> {
    let at = device.path.display();
    let node = open(
        &device.path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at("open device", &at)?;
    let stat = fstat(&node).at("check device", &at)?;
    if stat.st_mode & libc::S_IFMT != device.mode & libc::S_IFMT || stat.st_rdev != device.number {
        return Err(
            Error::new(ErrorKind::InvalidSpec, "open device", at.to_string())
                .because("the host has another device of this name"),
        );
    }
    open_tree(&node, "", CLONE | OpenTreeFlags::AT_EMPTY_PATH).at("clone device", &at)
}
