//! What the host's mount table says of the places a container is made from.

use crate::error::{At, Error, ErrorKind, Result};
use rustix::fs::{StatVfsMountFlags, fstatvfs};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Of a mount namespace that is joined nothing is copied, so nothing is locked either.
pub(super) fn refuse_what_hides(tree: &OwnedFd, path: &Path) -> Result<()> {
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
pub(super) fn revealing() -> Vec<CString> {
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
