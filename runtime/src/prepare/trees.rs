//! Detached mounts made by the parent: the root, what is bound from the host, device nodes.

use crate::cgroup::Cgroup;
use crate::error::{At, Error, ErrorKind, Result};
use crate::plan::Plan;
use crate::plan::devices::DevicePlan;
use crate::plan::mounts::{MountPlan, SourcePlan};
use crate::plan::namespaces::Kind;
use crate::sys;
use rustix::fs::{CWD, FileType, Mode, OFlags, StatVfsMountFlags, fstat, fstatvfs, open};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The trees, in the order of the plan's lists.
#[derive(Debug)]
pub(crate) struct Trees {
    pub(crate) root: OwnedFd,
    /// For each mount that shows something of the host.
    pub(crate) mounts: Vec<Option<Tree>>,
    /// For each device that is bound.
    pub(crate) devices: Vec<Option<OwnedFd>>,
}

/// A detached clone of a file or directory of the host.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) fd: OwnedFd,
    pub(crate) is_directory: bool,
}

impl Trees {
    pub(crate) fn open(
        plan: &Plan,
        root: Option<OwnedFd>,
        cgroup: Option<&Cgroup>,
    ) -> Result<Trees> {
        let root = match root {
            Some(root) => root,
            None => open_root(&plan.root.path)?,
        };
        // A root that is shared asks for volumes that are shared with the host, too.
        let limits = Limits {
            keep_shared: plan
                .root
                .propagation
                .is_some_and(|flags| flags & libc::MS_SHARED != 0),
            user_namespace: plan.namespaces.own(Kind::User),
        };
        let mounts = plan
            .root
            .mounts
            .iter()
            .map(|mount| open_mount(mount, cgroup, limits));
        let devices = plan.devices.iter().map(open_device);
        Ok(Trees {
            root,
            mounts: mounts.collect::<Result<_>>()?,
            devices: devices.collect::<Result<_>>()?,
        })
    }
}

/// What the whole container means for each of its mounts.
#[derive(Clone, Copy)]
struct Limits {
    keep_shared: bool,
    user_namespace: bool,
}

/// The kernel locks a mount's flags, and what is mounted over its files, against the root of a user
/// namespace only where it copies the mount into that namespace. A tree that is handed over is not
/// locked: that root could make it writable again, or look below what covers it.
fn refuse_what_hides(tree: &OwnedFd, path: &Path) -> Result<()> {
    let refuse = |why: &str| {
        Err(
            Error::new(ErrorKind::Unsupported, "bind", path.display().to_string()).because(
                format!("{why}, which a user namespace could undo: not supported yet"),
            ),
        )
    };
    let flags = fstatvfs(tree).at("check", path.display())?.f_flag;
    let guards = StatVfsMountFlags::RDONLY
        | StatVfsMountFlags::NOSUID
        | StatVfsMountFlags::NODEV
        | StatVfsMountFlags::NOEXEC;
    if flags.intersects(guards) {
        return refuse("the host mounted it with restrictions");
    }
    let real = path.canonicalize().unwrap_or_else(|_gone| path.to_owned());
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    if points
        .map(Path::new)
        .any(|point| point != real && point.starts_with(&real))
    {
        return refuse("the host has mounts below it");
    }
    Ok(())
}

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

fn open_root(path: &Path) -> Result<OwnedFd> {
    let tree = open_tree(CWD, path, CLONE | OpenTreeFlags::AT_RECURSIVE)
        .at("open root", path.display())?;
    if is_directory(tree.as_fd(), path)? {
        return Ok(tree);
    }
    Err(Error::new(
        ErrorKind::InvalidSpec,
        "open root",
        path.display().to_string(),
    )
    .because("it is no directory"))
}

fn is_directory(fd: BorrowedFd<'_>, path: &Path) -> Result<bool> {
    let stat = fstat(fd).at("check", path.display())?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn open_mount(mount: &MountPlan, cgroup: Option<&Cgroup>, limits: Limits) -> Result<Option<Tree>> {
    let fd = match &mount.source {
        SourcePlan::New { .. } => return Ok(None),
        SourcePlan::Bind { path, recursive } => {
            let flags = if *recursive {
                CLONE | OpenTreeFlags::AT_RECURSIVE
            } else {
                CLONE
            };
            open_tree(CWD, path, flags).at("open mount source", path.display())?
        }
        SourcePlan::CgroupLeaf => {
            let cgroup = cgroup.ok_or_else(|| {
                Error::new(ErrorKind::Unsupported, "open mount source", "cgroup")
                    .because("without a cgroup of its own the container needs a cgroup namespace")
            })?;
            open_tree(cgroup, "", CLONE | OpenTreeFlags::AT_EMPTY_PATH)
                .at("open mount source", "cgroup")?
        }
    };
    let at = mount.destination.display();
    if let SourcePlan::Bind { path, .. } = &mount.source
        && limits.user_namespace
    {
        refuse_what_hides(&fd, path)?;
    }
    if !limits.keep_shared {
        // The clone is a peer of its source: mounts made in the container would appear on the
        // host. As a slave it still receives what the host mounts; `shared` is applied to that.
        sys::set_mount_propagation(&fd, libc::MS_SLAVE).at("set propagation of mount", &at)?;
    }
    // The whole tree first: the mount's own attributes may say otherwise for the mount itself.
    for (attributes, recursive) in [(mount.tree, true), (mount.own, false)] {
        if !attributes.is_empty() {
            sys::set_mount_attributes(&fd, attributes.set, attributes.clear, recursive)
                .at("set attributes of mount", &at)?;
        }
    }
    let is_directory = is_directory(fd.as_fd(), &mount.destination)?;
    Ok(Some(Tree { fd, is_directory }))
}

/// A node of the host, proven by what it is: the name alone says nothing (CVE-2025-31133).
fn open_device(device: &DevicePlan) -> Result<Option<OwnedFd>> {
    if !device.bind {
        return Ok(None);
    }
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
    open_tree(&node, "", CLONE | OpenTreeFlags::AT_EMPTY_PATH)
        .map(Some)
        .at("clone device", &at)
}
