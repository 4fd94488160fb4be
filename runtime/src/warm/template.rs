//! A mount namespace that is cheap to copy.

use crate::error::{At, Error, ErrorKind, Result};
use crate::host::Host;
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, unmount,
};
use rustix::process::{fchdir, pivot_root};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A mount namespace with one empty, read-only tmpfs in it, known by a descriptor and by no name.
///
/// A container's mount namespace is a copy of its maker's, of which all but the container's root is
/// then taken down: with a thousand mounts on the host that costs more than all else. Give this to a
/// [`Runtime`](crate::Runtime), and containers whose mounts need nothing of the host's tree by its path
/// copy this one instead. A container sees no difference: its root is the same, and the rest of either
/// copy is gone before its program runs.
#[derive(Clone, Debug)]
pub struct MountTemplate {
    namespace: Arc<OwnedFd>,
}

impl MountTemplate {
    /// Makes one; this takes as long as the host has mounts.
    ///
    /// # Errors
    /// `Unsupported` in a user namespace, where mounts of the host are locked to each other; else what
    /// the kernel answers.
    pub fn new() -> Result<MountTemplate> {
        let host = Host::default();
        if host.is_in_user_namespace() {
            return Err(
                Error::new(ErrorKind::Unsupported, "make", "a template of mounts")
                    .because("the caller is in a user namespace"),
            );
        }
        // A thread of its own: it never leaves that namespace.
        let namespace = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("hostrun-template".into());
            let thread = thread
                .spawn_scoped(scope, || make(&host))
                .map_err(|error| {
                    Error::new(ErrorKind::System, "start", "a thread").caused_by(error)
                })?;
            thread.join().unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::System,
                    "make",
                    "a template of mounts",
                ))
            })
        })?;
        Ok(MountTemplate {
            namespace: Arc::new(namespace),
        })
    }

    pub(crate) fn namespace(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.namespace)
    }
}

fn make(host: &Host) -> Result<OwnedFd> {
    const NAME: &str = "thread-self/ns/mnt";
    const WHAT: &str = "a template of mounts";
    // Before: the host's procfs is found by its descriptor all the same.
    let proc = host.proc()?;
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|errno| Error::from_errno(errno as i32, "make", WHAT))?;
    // What is taken down below must not be taken down on the host.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).at("make", WHAT)?;
    let namespace = openat(proc, NAME, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .at("open /proc file", NAME)?;
    let root = empty().at("make", WHAT)?;
    move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at("make", WHAT)?;
    fchdir(&root).at("make", WHAT)?;
    // As the room does: the old root ends up over the new one, and goes.
    pivot_root(".", ".").at("make", WHAT)?;
    unmount(".", UnmountFlags::DETACH).at("make", WHAT)?;
    Ok(namespace)
}

/// A tmpfs that nobody can put anything into.
fn empty() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "mode", "0555")?;
    fsconfig_set_string(&context, "nr_inodes", "2")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
