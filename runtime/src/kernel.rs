//! What this kernel can do, as far as hostrun does things otherwise where it cannot.

use crate::sys;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{PidfdFlags, getpid, pidfd_open};

/// Answers of the kernel itself; nothing is guessed from its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// `openat2(2)`, Linux 5.6: without it nothing is started.
    pub openat2: bool,
    /// `open_tree(2)` and its kin, Linux 5.2: without them nothing is started.
    pub open_tree: bool,
    /// `pidfd_open(2)`, Linux 5.3: without it nothing is started.
    pub pidfd: bool,
    /// `mount_setattr(2)`, Linux 5.12: idmapped mounts and attributes of whole trees.
    pub mount_setattr: bool,
    /// Version of Landlock, `landlock(7)`; 0 where there is none.
    pub landlock: u32,
}

impl Kernel {
    /// Asks the kernel: five calls that change nothing.
    pub fn probe() -> Kernel {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let tree = open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLOEXEC);
        Kernel {
            openat2: openat2(CWD, "/", flags, Mode::empty(), ResolveFlags::empty()).is_ok(),
            open_tree: tree.is_ok(),
            pidfd: pidfd_open(getpid(), PidfdFlags::empty()).is_ok(),
            // With nothing to set and nothing to clear it does nothing.
            mount_setattr: tree.is_ok_and(|tree| {
                sys::set_mount_attributes(&tree, 0, 0, false) != Err(rustix::io::Errno::NOSYS)
            }),
            landlock: sys::landlock_abi(),
        }
    }
}
