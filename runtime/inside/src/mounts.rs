//! The mounts of the spec, in its order, each attached by descriptor.

use crate::copyup;
use crate::orders::{Fd, Make, Mount, Root, Source};
use crate::paths;
use crate::report::{Failure, Step};
use crate::sources;
use crate::sys::{self, Errno};
use crate::targets::{self, Target};
use core::ffi::CStr;

const MOUNT_ATTR_RDONLY: u64 = 1;

/// Attaches every mount below the new root.
pub(crate) fn attach(root: &Root<'_>, parent: Fd) -> Result<(), Failure> {
    for (index, mount) in root.mounts.iter().enumerate() {
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        let asked = sources::Asked { parent, number };
        attach_one(root.tree, mount, asked)
            .map_err(|(step, errno)| step.failed_at(index, errno))?;
    }
    Ok(())
}

fn attach_one(root: Fd, mount: &Mount<'_>, asked: sources::Asked) -> Result<(), (Step, Errno)> {
    if let Source::Link(text) = mount.source {
        return targets::make_link(root, mount.target, text)
            .map_err(|errno| (Step::MountTarget, errno));
    }
    let at = |step: Step| move |errno| (step, errno);
    let inside = match mount.source {
        Source::Inside { path, .. } => {
            Some(find_inside(root, path).map_err(at(Step::MountSource))?)
        }
        _ => None,
    };
    let make = inside.map_or(mount.make, |(_, make)| make);
    let target = find_target(root, mount, make).map_err(at(Step::MountTarget))?;
    let tree = match mount.source {
        Source::Tree(tree) => tree,
        Source::Filesystem { copy_up, .. } => {
            let tree = create(mount, target).map_err(at(Step::MountCreate))?;
            if copy_up && !target.made {
                copyup::copy(target.fd, tree).map_err(at(Step::MountCopy))?;
            }
            tree
        }
        Source::Remount(options) => {
            return sources::remount(target.fd, options, &mount.changes)
                .map_err(at(Step::MountAttributes));
        }
        Source::Host { path, recursive } => {
            let place = asked.source(path).map_err(at(Step::MountSource))?;
            sources::clone(place, recursive, mount, asked)?
        }
        Source::Inside { recursive, .. } => {
            let place = inside.map_or(Fd(-1), |(place, _)| place);
            sources::clone(place, recursive, mount, asked)?
        }
        Source::Link(_) => return Ok(()),
    };
    sys::attach(tree, target.fd).map_err(at(Step::MountAttach))?;
    if matches!(mount.source, Source::Host { .. } | Source::Inside { .. }) {
        sources::change(tree, &mount.changes).map_err(at(Step::MountAttributes))?;
    }
    spread(tree, mount.propagation).map_err(at(Step::MountAttributes))?;
    sys::close(target.fd);
    if mount.target.is_empty() {
        // Everything that follows happens in what covers the root now.
        sys::replace(tree, root).map_err(at(Step::MountAttach))?;
        sys::fchdir(root).map_err(at(Step::MountAttach))?;
    }
    if mount.keep || mount.late_readonly {
        mount.held.set(tree.0);
    } else {
        // Attached first, closed after: closing a mount that was never attached makes the kernel
        // wait for a grace period.
        sys::close(tree);
    }
    Ok(())
}

fn spread(tree: Fd, propagation: &[u64]) -> sys::Result<()> {
    for kind in propagation {
        let recursive = kind & libc::MS_REC != 0;
        sys::set_attributes(tree, 0, kind & !libc::MS_REC, recursive)?;
    }
    Ok(())
}

/// What an earlier mount, or the root itself, shows at a path; and what it can be mounted on.
fn find_inside(root: Fd, path: &CStr) -> sys::Result<(Fd, Make)> {
    let place = paths::find(root, if path.is_empty() { c"." } else { path })?;
    match sys::stat(place, c"")?.mode & libc::S_IFMT {
        libc::S_IFDIR => Ok((place, Make::Directory)),
        _ => Ok((place, Make::File)),
    }
}

fn find_target(root: Fd, mount: &Mount<'_>, make: Make) -> sys::Result<Target> {
    if mount.over_link {
        // Links on the way are followed all the same.
        let target = targets::find_or_make_unfollowed(root, mount.target, make)?;
        return refuse_procfs(target, mount);
    }
    // Mostly no link is on the way, and then the path is what the planner saw.
    let path = if mount.target.is_empty() {
        c"."
    } else {
        mount.target
    };
    match targets::find_or_make_plain(root, path, make) {
        Err(Errno(libc::ENOENT)) => {
            let target = targets::find_or_make(root, path, make)?;
            refuse_procfs(target, mount)
        }
        // An image that makes /proc or /sys a link would move the mount, and with it every later
        // check, elsewhere (CVE-2023-27561, CVE-2019-19921).
        Err(Errno(libc::ELOOP)) if !mount.strict_target => {
            let target = targets::find_or_make(root, path, make)?;
            refuse_procfs(target, mount)
        }
        found => {
            let target = found?;
            if mount.strict_target {
                refuse_other_than_directory(target)
            } else {
                Ok(target)
            }
        }
    }
}

/// Links stay inside the root, but may still lead into the procfs, where only what the planner
/// allowed may be covered (CVE-2019-16884).
fn refuse_procfs(target: Target, mount: &Mount<'_>) -> sys::Result<Target> {
    const PROC_SUPER_MAGIC: u64 = 0x9fa0;
    if !mount.over_proc && sys::filesystem_magic(target.fd)? == PROC_SUPER_MAGIC {
        sys::close(target.fd);
        return Err(Errno(libc::EPERM));
    }
    Ok(target)
}

fn refuse_other_than_directory(target: Target) -> sys::Result<Target> {
    if sys::stat(target.fd, c"")?.mode & libc::S_IFMT == libc::S_IFDIR {
        return Ok(target);
    }
    sys::close(target.fd);
    Err(Errno(libc::ENOTDIR))
}

/// A new file system; made here because it belongs to our namespaces.
fn create(mount: &Mount<'_>, target: Target) -> sys::Result<Fd> {
    let Source::Filesystem {
        fstype,
        source,
        options,
        inherit_mode,
        ..
    } = mount.source
    else {
        return Err(Errno(libc::EINVAL));
    };
    // A directory that was only just made for it has no mode to speak of.
    let covered = (inherit_mode && !target.made).then_some(target.fd);
    let context = sys::fsopen(fstype)?;
    let tree = configure(context, source, options, covered)
        .and_then(|()| sys::fsmount(context, mount.attributes));
    sys::close(context);
    tree
}

fn configure(
    context: Fd,
    source: &CStr,
    options: &[(&CStr, &CStr)],
    mode_of: Option<Fd>,
) -> sys::Result<()> {
    if !source.is_empty() {
        sys::fsconfig(context, c"source", source)?;
    }
    for (key, value) in options {
        sys::fsconfig(context, key, value)?;
    }
    if let Some(covered) = mode_of {
        let mode = sys::stat(covered, c"")?.mode & 0o7777;
        sys::fsconfig_bytes(context, c"mode", &octal(mode))?;
    }
    sys::fsconfig_create(context).map(drop)
}

/// Four octal digits and an end, for the `mode` option of tmpfs.
fn octal(mode: u32) -> [u8; 5] {
    let digit = |shift: u32| b'0' + u8::try_from(mode >> shift & 7).unwrap_or(0);
    [digit(9), digit(6), digit(3), digit(0), 0]
}

/// Makes read-only what had to be writable while mounts below it were made.
pub(crate) fn finish(root: &Root<'_>) -> Result<(), Failure> {
    for (index, mount) in root
        .mounts
        .iter()
        .enumerate()
        .filter(|(_, mount)| mount.late_readonly)
    {
        let tree = Fd(mount.held.get());
        sys::set_attributes(tree, MOUNT_ATTR_RDONLY, 0, false)
            .map_err(|errno| Step::MountAttributes.failed_at(index, errno))?;
    }
    Ok(())
}
