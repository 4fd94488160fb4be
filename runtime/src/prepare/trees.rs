//! Detached mounts made by the parent: the root, what is bound from the host, device nodes.

use super::idmaps::Idmaps;
use crate::cgroup::Cgroup;
use crate::error::{At, Error, ErrorKind, Result};
use crate::host::Host;
use crate::plan::Plan;
use crate::plan::devices::DevicePlan;
use crate::plan::mounts::MountPlan;
use crate::plan::namespaces::{Choice, Kind};
use crate::plan::sources::{Links, SourcePlan};
use crate::sys;
use rustix::fs::{
    CWD, FileType, Mode, OFlags, StatVfsMountFlags, fstat, fstatfs, fstatvfs, open, openat,
    readlinkat,
};
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
    /// For each device that is bound and that the room cannot clone itself.
    pub(crate) devices: Vec<Option<OwnedFd>>,
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
        let devices = plan
            .devices
            .iter()
            .map(|device| open_device(device, limits));
        Ok(Trees {
            root,
            root_path,
            mounts,
            devices: devices.collect::<Result<_>>()?,
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

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

fn open_root(path: &Path, limits: Limits) -> Result<(OwnedFd, Option<CString>)> {
    let fd = if limits.cloned_inside {
        open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    } else {
        open_tree(CWD, path, CLONE | OpenTreeFlags::AT_RECURSIVE)
    }
    .at("open root", path.display())?;
    if !is_directory(fd.as_fd(), path)? {
        return Err(Error::new(
            ErrorKind::InvalidSpec,
            "open root",
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
            let fd = openat(cgroup, ".", flags, Mode::empty()).at("open mount source", "cgroup")?;
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
    let fd = open_tree(CWD, path, flags).at("open mount source", path.display())?;
    if limits.unlockable {
        refuse_what_hides(&fd, path)?;
    }
    Ok(fd)
}

fn clone_cgroup(cgroup: &Cgroup) -> Result<OwnedFd> {
    open_tree(cgroup, "", CLONE | OpenTreeFlags::AT_EMPTY_PATH).at("open mount source", "cgroup")
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
    open(path, flags, Mode::empty()).at("open mount source", path.display())
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

/// Of a mount namespace that is joined nothing is copied, so nothing is locked either.
fn refuse_what_hides(tree: &OwnedFd, path: &Path) -> Result<()> {
    let refuse = |why: &str| {
        Err(
            Error::new(ErrorKind::Unsupported, "bind", path.display().to_string()).because(
                format!("{why}, which a user namespace could undo in a mount namespace it joins"),
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

/// Where the host has mounted a whole procfs or sysfs.
fn revealing() -> Vec<CString> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let whole = table.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let kind = filesystem.split(' ').next()?;
        (root == "/" && ["proc", "sysfs"].contains(&kind)).then(|| unescaped(point))?
    });
    whole.collect()
}

/// `proc_pid_mountinfo(5)` writes blanks and backslashes as three octal digits.
fn unescaped(text: &str) -> Option<CString> {
    let mut parts = text.split('\\');
    let mut path = parts.next()?.as_bytes().to_vec();
    for part in parts {
        path.push(u8::from_str_radix(part.get(..3)?, 8).ok()?);
        path.extend_from_slice(part.get(3..)?.as_bytes());
    }
    CString::new(path).ok()
}

/// A node of the host, proven by what it is: the name alone says nothing (CVE-2025-31133).
fn open_device(device: &DevicePlan, limits: Limits) -> Result<Option<OwnedFd>> {
    if !device.bind || limits.cloned_inside {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_read_as_the_kernel_writes_it() {
        assert_eq!(unescaped("/proc").as_deref(), Some(c"/proc"));
        assert_eq!(unescaped(r"/a\040b\134c").as_deref(), Some(c"/a b\\c"));
        assert_eq!(unescaped(r"/a\9"), None);
    }
}
