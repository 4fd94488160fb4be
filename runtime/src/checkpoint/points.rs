//! Places for the mounts of a container that is restored in a root where it never ran.

use super::external::is_bind;
use crate::error::{At, Result};
use crate::lookup::find;
use oci_spec::runtime::{Mount, Spec};
use rustix::fs::{FileType, Mode, OFlags, mkdirat, openat, stat};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Makes what is missing, inside the root whatever links lead there. What lies in another mount of
/// the container comes with that mount.
pub(super) fn make(root: BorrowedFd<'_>, spec: &Spec, bundle: &Path) -> Result<()> {
    let mounts: Vec<&Mount> = spec.mounts().iter().flatten().collect();
    for mount in &mounts {
        let inside = |other: &&&Mount| {
            let path = mount.destination();
            path != other.destination() && path.starts_with(other.destination())
        };
        if mounts.iter().any(|other| inside(&other)) {
            continue;
        }
        let source = mount.source().as_deref().map(|source| bundle.join(source));
        let file = is_bind(mount) && source.is_some_and(|source| !is_directory(&source));
        point(root, mount.destination(), file).at("create", mount.destination().display())?;
    }
    Ok(())
}

fn is_directory(path: &Path) -> bool {
    stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn point(root: BorrowedFd<'_>, destination: &Path, file: bool) -> rustix::io::Result<()> {
    let mut parent = find(root, Path::new("."))?;
    let mut path = PathBuf::from(".");
    let mut names = destination
        .components()
        .filter_map(|component| match component {
            std::path::Component::Normal(name) => Some(name),
            _ => None,
        })
        .peekable();
    while let Some(name) = names.next() {
        path.push(name);
        let last = names.peek().is_none();
        parent = match find(root, &path) {
            Err(Errno::NOENT) if last && file => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                openat(&parent, name, flags, Mode::from_raw_mode(0o644))?
            }
            Err(Errno::NOENT) => {
                mkdirat(parent.as_fd(), name, Mode::from_raw_mode(0o755))?;
                find(root, &path)?
            }
            other => other?,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_made_inside_the_root_whatever_links_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("real")).unwrap();
        std::os::unix::fs::symlink("/real", root.join("link")).unwrap();
        std::os::unix::fs::symlink(dir.path(), root.join("out")).unwrap();
        let fd = crate::bundle::open_dir(&root).unwrap();
        point(fd.as_fd(), Path::new("/link/data"), false).unwrap();
        assert!(root.join("real/data").is_dir());
        point(fd.as_fd(), Path::new("/a/b/file"), true).unwrap();
        assert!(root.join("a/b/file").is_file());
        // the link leads to a path that the root does not have
        assert!(point(fd.as_fd(), Path::new("/out/data"), false).is_err());
        assert!(!dir.path().join("data").exists());
    }
}
