//! The mounts of the spec, in its order, each attached by descriptor.

use crate::orders::{Fd, Mount, Root, Source};
use crate::paths;
use crate::report::{Failure, Step};
use crate::sys::{self, Errno};
use core::ffi::CStr;

/// Attaches every mount below the new root.
pub(crate) fn attach(root: &Root<'_>) -> Result<(), Failure> {
    for (index, mount) in root.mounts.iter().enumerate() {
        attach_one(root.tree, mount).map_err(|(step, errno)| step.failed_at(index, errno))?;
    }
    Ok(())
}

fn attach_one(root: Fd, mount: &Mount<'_>) -> Result<(), (Step, Errno)> {
    let target = find_target(root, mount).map_err(|errno| (Step::MountTarget, errno))?;
    let tree = match mount.source {
        Source::Tree(tree) => Ok(tree),
        Source::Filesystem {
            fstype,
            source,
            options,
            inherit_mode,
        } => {
            let mode = if inherit_mode { Some(target) } else { None };
            create(fstype, source, options, mode, mount.attributes)
        }
    }
    .map_err(|errno| (Step::MountCreate, errno))?;
    sys::attach(tree, target).map_err(|errno| (Step::MountAttach, errno))?;
    if mount.propagation != 0 {
        sys::set_attributes(
            tree,
            0,
            mount.propagation & !libc::MS_REC,
            mount.propagation & libc::MS_REC != 0,
        )
        .map_err(|errno| (Step::MountAttributes, errno))?;
    }
    sys::close(target);
    if mount.keep || mount.late_readonly {
        mount.held.set(tree.0);
    } else {
        // Attached first, closed after: closing a mount that was never attached makes the kernel
        // wait for a grace period.
        sys::close(tree);
    }
    Ok(())
}

fn find_target(root: Fd, mount: &Mount<'_>) -> sys::Result<Fd> {
    // Mostly no link is on the way, and then the path is what the planner saw.
    match paths::find_plain(root, mount.target) {
        Err(Errno(libc::ENOENT)) => paths::find_or_make(root, mount.target, mount.make),
        // An image that makes /proc or /sys a link would move the mount, and with it every later
        // check, elsewhere (CVE-2023-27561, CVE-2019-19921).
        Err(Errno(libc::ELOOP)) if !mount.strict_target => find_through_links(root, mount),
        Ok(target) if mount.strict_target => refuse_other_than_directory(target),
        other => other,
    }
}

/// Links stay inside the root, but may still lead into the procfs, where only what the planner
/// allowed may be covered (CVE-2019-16884).
fn find_through_links(root: Fd, mount: &Mount<'_>) -> sys::Result<Fd> {
    const PROC_SUPER_MAGIC: u64 = 0x9fa0;
    let target = paths::find_or_make(root, mount.target, mount.make)?;
    if !mount.over_proc && sys::filesystem_magic(target)? == PROC_SUPER_MAGIC {
        sys::close(target);
        return Err(Errno(libc::EPERM));
    }
    Ok(target)
}

fn refuse_other_than_directory(target: Fd) -> sys::Result<Fd> {
    if sys::stat(target, c"")?.mode & libc::S_IFMT == libc::S_IFDIR {
        return Ok(target);
    }
    sys::close(target);
    Err(Errno(libc::ENOTDIR))
}

fn create(
    fstype: &CStr,
    source: &CStr,
    options: &[(&CStr, &CStr)],
    mode_of: Option<Fd>,
    attributes: u64,
) -> sys::Result<Fd> {
    let context = sys::fsopen(fstype)?;
    let tree = configure(context, source, options, mode_of)
        .and_then(|()| sys::fsmount(context, attributes));
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
    const MOUNT_ATTR_RDONLY: u64 = 1;
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
