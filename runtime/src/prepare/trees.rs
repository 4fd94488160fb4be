//! Detached mounts made by the parent: the root, what is bound from the host, device nodes.

use super::idmaps::Idmaps;
use super::mount_table::{refuse_what_hides, revealing};
use super::nodes::Nodes;
use crate::cgroup::Cgroup;
use crate::error::{At, Error, ErrorKind, Result};
use crate::host::Host;
use crate::plan::Plan;
use crate::plan::mounts::MountPlan;
use crate::plan::namespaces::{Choice, Kind};
use crate::plan::sources::{Links, SourcePlan};
use crate::sys;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, fstatfs, open, openat, readlinkat};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The trees, in the order of the plan's lists.
#[derive(Debug)]
pub(crate) struct Trees {
    pub(crate) root: OwnedFd,
    /// Of a root that is cloned in the child's own mount namespace, as [`Tree::Host`].
    pub(crate) root_path: Option<CString>,
    /// For each mount that shows something of the host.
    pub(crate) mounts: Vec<Option<Tree>>,
    pub(crate) nodes: Nodes,
    /// Whose ids the mounts are shown with.
    pub(crate) idmaps: Idmaps,
    /// The mount namespace a container without one of its own goes back to.
    pub(crate) mounts_of_caller: Option<OwnedFd>,
    /// Mounts of the host that must not stay in sight below a root that was not pivoted into.
    pub(crate) revealing: Vec<CString>,
}

/// A file or directory of the host.
#[derive(Debug)]
pub(crate) enum Tree {
    /// A detached clone, changed as its mount wants it.
    Detached { fd: OwnedFd, is_directory: bool },
    /// Where a clone is to be made in the child's own mount namespace: the kernel locks a mount's
    /// flags, and what is mounted over its files, against the root of a user namespace only where
    /// it copies the mount into that namespace. A tree that is handed over is not locked: that
    /// root could make it writable again, or look below what covers it.
    Host {
        fd: OwnedFd,
        /// Without links, as the kernel names it.
        path: CString,
        is_directory: bool,
    },
    /// A link to be made in place of a mount.
    Link(CString),
}

impl Tree {
    pub(crate) fn is_directory(&self) -> bool {
        match self {
            Tree::Detached { is_directory, .. } | Tree::Host { is_directory, .. } => *is_directory,
            Tree::Link(_) => false,
        }
    }
}

impl Trees {
    pub(crate) fn open(
        plan: &Plan,
        root: Option<OwnedFd>,
        without_pivot: bool,
        cgroup: Option<&Cgroup>,
        host: &Host,
    ) -> Result<Trees> {
        let limits = Limits::of(plan);
        let idmaps = Idmaps::open(plan, host)?;
        let (root, root_path) = match root {
            Some(root) => (root, None),
            None => open_root(&plan.root.path, limits)?,
        };
        let mut mounts = Vec::with_capacity(plan.root.mounts.len());
        for mount in &plan.root.mounts {
            mounts.push(open_mount(mount, cgroup, &idmaps, limits)?);
        }
        Ok(Trees {
            root,
            root_path,
            mounts,
            nodes: Nodes::open(plan, limits.cloned_inside)?,
            idmaps,
            mounts_of_caller: plan
                .namespaces
                .returns_to_mounts()
                .then(|| mounts_of_caller(host))
                .transpose()?,
            revealing: if without_pivot {
                revealing()
            } else {
                Vec::new()
            },
        })
    }
}

fn mounts_of_caller(host: &Host) -> Result<OwnedFd> {
    let path = "thread-self/ns/mnt";
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(host.proc()?, path, flags, Mode::empty()).at("open /proc file", path)
}

/// What the whole container means for each of its mounts.
#[derive(Clone, Copy)]
struct Limits {
    /// What clones become first: peers of their sources would show the container's mounts to the
    /// host. A slave still receives what the host mounts, and `shared` is applied to that.
    propagation: u64,
    /// A user namespace and a mount namespace of its own: the room makes the clones.
    cloned_inside: bool,
    /// A user namespace, but a mount namespace that is not made for it.
    unlockable: bool,
}

impl Limits {
    fn of(plan: &Plan) -> Limits {
        let user = plan.namespaces.own(Kind::User);
        let joined = matches!(plan.namespaces.choice(Kind::Mount), Choice::Join(_));
        Limits {
            propagation: clone_propagation(plan),
            cloned_inside: user && !joined,
            unlockable: user && joined,
        }
    }
}

/// A root that is shared asks for volumes that are shared with the host, too; one that is private
/// with all below it, for volumes that do not even receive.
pub(crate) fn clone_propagation(plan: &Plan) -> u64 {
    match plan.root.propagation {
        Some(flags) if flags & libc::MS_SHARED != 0 => 0,
        Some(flags) if flags == libc::MS_PRIVATE | libc::MS_REC => libc::MS_PRIVATE,
        _ => libc::MS_SLAVE,
    }
}

pub(super) const CLONE: OpenTreeFlags =
    OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

fn open_root(path: &Path, limits: Limits) -> Result<(OwnedFd, Option<CString>)> {
    let fd = if limits.cloned_inside {
        open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    } else {
        open_tree(CWD, path, CLONE | OpenTreeFlags::AT_RECURSIVE)
    }
    .at("invalid rootfs: open", path.display())?;
    if !is_directory(fd.as_fd(), path)? {
        return Err(Error::new(
            ErrorKind::InvalidSpec,
            "invalid rootfs: open",
            path.display().to_string(),
        )
        .because("it is no directory"));
    }
    if limits.unlockable {
        refuse_what_hides(&fd, path)?;
    }
    let real = limits.cloned_inside.then(|| real_path(&fd, path));
    Ok((fd, real.transpose()?))
}

fn is_directory(fd: BorrowedFd<'_>, path: &Path) -> Result<bool> {
    let stat = fstat(fd).at("check", path.display())?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn open_mount(
    mount: &MountPlan,
    cgroup: Option<&Cgroup>,
    idmaps: &Idmaps,
    limits: Limits,
) -> Result<Option<Tree>> {
    let fd = match &mount.source {
        SourcePlan::New { .. } | SourcePlan::Inside { .. } | SourcePlan::Remount { .. } => {
            return Ok(None);
        }
        SourcePlan::Bind {
            path,
            recursive,
            links,
        } => {
            if *links == Links::Copy
                && let Ok(text) = readlinkat(CWD, path, Vec::new())
            {
                return Ok(Some(Tree::Link(text)));
            }
            if limits.cloned_inside {
                let fd = open_place(path, *links == Links::Bind)?;
                refuse_false_proc(&fd, mount)?;
                return place(fd, path).map(Some);
            }
            clone(path, *recursive, *links, limits)?
        }
        SourcePlan::CgroupLeaf => match cgroup {
            // There is nothing to show; the room mounts something empty.
            None => return Ok(None),
            Some(cgroup) if limits.cloned_inside => {
                let path = cgroup.directory();
                return place(open_place(&path, false)?, &path).map(Some);
            }
            Some(cgroup) => clone_cgroup(cgroup)?,
        },
    };
    refuse_false_proc(&fd, mount)?;
    match change_detached(&fd, mount, limits) {
        Err(error) if error.errno() == Some(libc::ENOSYS) => {
            return changed_inside(mount, cgroup).map(Some);
        }
        other => other?,
    }
    idmaps.apply(mount, &fd)?;
    let is_directory = is_directory(fd.as_fd(), &mount.destination)?;
    Ok(Some(Tree::Detached { fd, is_directory }))
}

fn change_detached(fd: &OwnedFd, mount: &MountPlan, limits: Limits) -> Result<()> {
    if limits.propagation != 0 {
        let at = mount.destination.display();
        sys::set_mount_propagation(fd, limits.propagation).at("set propagation of mount", &at)?;
    }
    change(fd, mount)
}

/// Kernels before Linux 5.12 change no mount that is not attached: there the room clones the tree
/// itself, attaches it in its own mount namespace, and changes it then.
fn changed_inside(mount: &MountPlan, cgroup: Option<&Cgroup>) -> Result<Tree> {
    match (&mount.source, cgroup) {
        (SourcePlan::Bind { path, links, .. }, _) => {
            place(open_place(path, *links == Links::Bind)?, path)
        }
        (_, Some(cgroup)) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = openat(cgroup, ".", flags, Mode::empty())
                .at("failed to fulfil mount request: open", "cgroup")?;
            place(fd, Path::new("cgroup"))
        }
        _ => Err(Error::from_errno(
            libc::ENOSYS,
            "change mount",
            mount.destination.display().to_string(),
        )),
    }
}

fn clone(path: &Path, recursive: bool, links: Links, limits: Limits) -> Result<OwnedFd> {
    let mut flags = CLONE;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if links == Links::Bind {
        flags |= OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    }
    let fd =
        open_tree(CWD, path, flags).at("failed to fulfil mount request: open", path.display())?;
    if limits.unlockable {
        refuse_what_hides(&fd, path)?;
    }
    Ok(fd)
}

fn clone_cgroup(cgroup: &Cgroup) -> Result<OwnedFd> {
    open_tree(cgroup, "", CLONE | OpenTreeFlags::AT_EMPTY_PATH)
        .at("failed to fulfil mount request: open", "cgroup")
}

/// The mount first, then the tree: what the tree is said to be holds for the mount, too.
fn change(fd: &OwnedFd, mount: &MountPlan) -> Result<()> {
    let at = mount.destination.display();
    let own = mount.own.of_bind();
    if !own.is_empty() {
        let mut changed = sys::set_mount_attributes(fd, own.set, own.clear, false);
        if changed == Err(rustix::io::Errno::PERM) {
            // We are in a user namespace ourselves: a flag that is not named is locked, and stays.
            let own = mount.own.of_locked_bind();
            changed = sys::set_mount_attributes(fd, own.set, own.clear, false);
        }
        changed.at("set attributes of mount", &at)?;
    }
    if mount.tree.is_empty() {
        return Ok(());
    }
    sys::set_mount_attributes(fd, mount.tree.set, mount.tree.clear, true)
        .at("set attributes of mount", &at)
}

/// Over /proc only a procfs, or our writes to it would go elsewhere (CVE-2019-16884).
fn refuse_false_proc(fd: &OwnedFd, mount: &MountPlan) -> Result<()> {
    const PROC_SUPER_MAGIC: u64 = 0x9fa0;
    if mount.target.as_c_str() != c"proc" {
        return Ok(());
    }
    let magic = fstatfs(fd).at("check mount source", "/proc")?.f_type;
    if u64::try_from(magic).ok() == Some(PROC_SUPER_MAGIC) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidSpec, "mount on", "/proc")
        .because("it cannot be mounted because it is not of type proc"))
}

fn open_place(path: &Path, nofollow: bool) -> Result<OwnedFd> {
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    if nofollow {
        flags |= OFlags::NOFOLLOW;
    }
    open(path, flags, Mode::empty()).at("failed to fulfil mount request: open", path.display())
}

fn place(fd: OwnedFd, path: &Path) -> Result<Tree> {
    Ok(Tree::Host {
        path: real_path(&fd, path)?,
        is_directory: is_directory(fd.as_fd(), path)?,
        fd,
    })
}

/// As the kernel names it: links are resolved once, when it is opened.
fn real_path(fd: &OwnedFd, path: &Path) -> Result<CString> {
    let own = format!("/proc/self/fd/{}", fd.as_raw_fd());
    readlinkat(CWD, &own, Vec::new()).at("find the path of", path.display())
}
