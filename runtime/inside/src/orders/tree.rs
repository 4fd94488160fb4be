//! The new root, what is mounted below it, and what stands in its /dev.

use super::Fd;
use core::cell::Cell;
use core::ffi::CStr;

/// The new root file system.
#[derive(Debug)]
pub struct Root<'a> {
    /// A detached mount: a clone of a bundle's directory, or an overlay. What is mounted over the
    /// root takes the same number.
    pub tree: Fd,
    /// In a user namespace: the bundle's directory, to be cloned in our own mount namespace, where
    /// the kernel has locked its flags. `tree` is a number to be used then.
    pub host_path: Option<&'a CStr>,
    /// Where it is attached until it becomes the root: hooks expect it at its path in the host's
    /// tree. `None` for over the old root, which needs no directory.
    pub place: Option<&'a CStr>,
    /// `MS_REC` and one of `MS_PRIVATE`, `MS_SLAVE`: what the old tree becomes before anything.
    pub detach: u64,
    /// Leave the old tree below the new root, `chroot(2)`, where `pivot_root(2)` cannot work.
    pub without_pivot: bool,
    /// The caller's mount namespace, where the container is to have none of its own: gone back to
    /// with a copy of the new root that no namespace knows.
    pub return_to: Option<Fd>,
    /// Mounts of the old tree that must go or be covered then: a full procfs in a mount namespace
    /// allows its users to mount another.
    pub revealing: &'a [&'a CStr],
    /// Applied to the new root at the very end, where the spec asks for it.
    pub propagation: Option<u64>,
    /// Read-only at the end, when everything below it stands.
    pub readonly: bool,
    /// In the order of the spec.
    pub mounts: &'a [Mount<'a>],
    /// Device nodes.
    pub devices: &'a [Device<'a>],
    /// A detached file system with the nodes that are [`Node::Made`].
    pub made_nodes: Option<Fd>,
    /// Symbolic links in /dev.
    pub links: &'a [Link<'a>],
    /// Paths nobody may see into.
    pub masked: &'a [&'a CStr],
    /// Paths nobody may write.
    pub readonly_paths: &'a [&'a CStr],
}

/// One mount below the root.
#[derive(Debug)]
pub struct Mount<'a> {
    /// What is mounted.
    pub source: Source<'a>,
    /// Where, below the root, without a leading slash.
    pub target: &'a CStr,
    /// The target must be a directory itself, reached through no symbolic link (procfs, sysfs).
    pub strict_target: bool,
    /// It may cover a file of procfs, wherever links lead.
    pub over_proc: bool,
    /// What to make where the target is missing.
    pub make: Make,
    /// Of a new file system: its `MOUNT_ATTR_*`.
    pub attributes: u64,
    /// Of what exists: how it is changed. Made already where the source is a tree.
    pub changes: Changes,
    /// Mount over a symbolic link itself.
    pub over_link: bool,
    /// Make read-only after all mounts, because later ones need directories in it.
    pub late_readonly: bool,
    /// Keep the descriptor: sysctls are written through it.
    pub keep: bool,
    /// `MS_SHARED` and the like, applied in order once attached.
    pub propagation: &'a [u64],
    /// Scratch of the room: the descriptor, while it is kept.
    pub held: Cell<i32>,
}

/// `MOUNT_ATTR_*` to set and to clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// To set.
    pub set: u64,
    /// To clear.
    pub clear: u64,
}

/// How a mount of something that exists differs from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Of the mount.
    pub own: Attributes,
    /// The same where flags are locked by a user namespace.
    pub own_locked: Attributes,
    /// Of the mount and all below it.
    pub tree: Attributes,
    /// `MS_SLAVE`, `MS_PRIVATE` or nothing: what all become first.
    pub propagation: u64,
    /// Shown with other ids: by the parent, who alone has the privileges.
    pub idmap: bool,
}

/// What a mount shows.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A detached tree made by the parent; its attributes are set already.
    Tree(Fd),
    /// In a user namespace: a path of the host, to be cloned in our own mount namespace, where the
    /// kernel has locked its flags and what covers its files.
    Host {
        /// Absolute and without links.
        path: &'a CStr,
        /// With all that is mounted below.
        recursive: bool,
    },
    /// A path below the new root, as it is when the turn of this mount comes.
    Inside {
        /// Without a leading slash.
        path: &'a CStr,
        /// With all that is mounted below.
        recursive: bool,
    },
    /// A symbolic link with this text, instead of a mount.
    Link(&'a CStr),
    /// What is mounted at the target already; with these options for its file system.
    Remount(Option<&'a [(&'a CStr, &'a CStr)]>),
    /// A new file system, made here because it belongs to our namespaces.
    Filesystem {
        /// Its type, as in `/proc/filesystems`.
        fstype: &'a CStr,
        /// What the mount table shows as the device.
        source: &'a CStr,
        /// Options with their values; an empty value is a flag.
        options: &'a [(&'a CStr, &'a CStr)],
        /// Give it the mode of the directory it covers.
        inherit_mode: bool,
        /// Begin with what that directory holds.
        copy_up: bool,
    },
}

/// What to make of a missing mount target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// A directory, mode 0755.
    Directory,
    /// An empty file, mode 0644.
    File,
}

/// A device node, made or bound.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// Directory below the root.
    pub directory: &'a CStr,
    /// Name in it.
    pub name: &'a CStr,
    /// Type and permissions, as in `mknod(2)`.
    pub mode: u32,
    /// Device number.
    pub number: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Made, or bound where a user namespace forbids to make one.
    pub node: Node<'a>,
    /// Where the host has it, for a root who turns out to be one of a user namespace only.
    pub host_path: &'a CStr,
    /// Whatever stands there already is left as it is.
    pub lenient: bool,
}

/// Where a device node comes from.
#[derive(Clone, Copy, Debug)]
pub enum Node<'a> {
    /// `mknod(2)`.
    Make,
    /// A detached mount of the host's node.
    Tree(Fd),
    /// A node that the parent made for us. The number becomes that of a mount of it.
    Made(Fd),
    /// The host's node of this path, checked to be the one that is meant.
    Host(&'a CStr),
}

/// A symbolic link.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// Directory below the root.
    pub directory: &'a CStr,
    /// Name in it.
    pub name: &'a CStr,
    /// What it points to.
    pub target: &'a CStr,
    /// Replace what stands there: `/dev/ptmx` must be ours.
    pub replace: bool,
}
