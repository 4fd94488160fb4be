//! Masked and read-only paths.

use crate::orders::{Fd, Root};
use crate::paths;
use crate::report::{Failure, Step};
use crate::sys::{self, Errno};
use core::ffi::CStr;

const MOUNT_ATTR_RDONLY: u64 = 1;

/// What masks are made of, each made once: one empty read-only file system for all directories
/// (a superblock each would cost memory and time), the container's own null device for files.
struct Covers {
    root: Fd,
    empty: Option<Fd>,
    null: Option<Fd>,
}

impl Covers {
    /// A detached mount to cover a directory.
    fn directory(&mut self) -> sys::Result<Fd> {
        if let Some(empty) = self.empty {
            return sys::clone_tree(empty, c"", false);
        }
        let context = sys::fsopen(c"tmpfs")?;
        let tree = sys::fsconfig(context, c"source", c"tmpfs")
            .and_then(|_| sys::fsconfig_create(context))
            .and_then(|_| sys::fsmount(context, MOUNT_ATTR_RDONLY));
        sys::close(context);
        let tree = tree?;
        self.empty = Some(tree);
        Ok(tree)
    }

    /// A detached mount to cover a file. The node is checked by what it is, not by its name: a
    /// container that shares the directory may have swapped it (CVE-2025-31133).
    fn file(&mut self) -> sys::Result<Fd> {
        if let Some(null) = self.null {
            return sys::clone_tree(null, c"", false);
        }
        let node = find_null(self.root)?;
        let null = sys::clone_tree(node, c"", false)?;
        sys::close(node);
        // Mode and owner of the node that all have are nothing to be changed through a mask.
        match sys::set_attributes(null, MOUNT_ATTR_RDONLY, 0, false) {
            // Kernels before Linux 5.12 do that to no mount that is not attached yet.
            Ok(_) | Err(Errno(libc::ENOSYS)) => {}
            Err(errno) => return Err(errno),
        }
        self.null = Some(null);
        Ok(null)
    }

    fn close(self) {
        for fd in [self.empty, self.null].into_iter().flatten() {
            sys::close(fd);
        }
    }
}

/// The container's null device.
pub(crate) fn find_null(root: Fd) -> sys::Result<Fd> {
    let null = paths::find(root, c"dev/null")?;
    if is_null(&sys::stat(null, c"")?) {
        return Ok(null);
    }
    sys::close(null);
    Err(Errno(libc::ENODEV))
}

/// Is it the null device, under whatever name?
pub(crate) fn is_null(found: &sys::Stat) -> bool {
    found.mode & libc::S_IFMT == libc::S_IFCHR && found.number == libc::makedev(1, 3)
}

/// Covers each masked path that exists.
pub(crate) fn mask(root: &Root<'_>) -> Result<(), Failure> {
    let mut covers = Covers {
        root: root.tree,
        empty: None,
        null: None,
    };
    for (index, path) in root.masked.iter().enumerate() {
        mask_one(root.tree, path, &mut covers)
            .map_err(|errno| Step::Mask.failed_at(index, errno))?;
    }
    covers.close();
    Ok(())
}

fn mask_one(root: Fd, path: &CStr, covers: &mut Covers) -> sys::Result<()> {
    let Some(target) = absent_is_none(paths::find(root, path))? else {
        return Ok(());
    };
    let directory = sys::stat(target, c"")?.mode & libc::S_IFMT == libc::S_IFDIR;
    let kept = [covers.empty, covers.null];
    let cover = if directory {
        covers.directory()?
    } else {
        covers.file()?
    };
    sys::attach(cover, target)?;
    sys::close(target);
    // The first of each kind is kept: the others are cloned from it.
    if [covers.empty, covers.null] == kept {
        sys::close(cover);
    }
    Ok(())
}

/// Makes each path that exists read-only, with all that is mounted below it.
pub(crate) fn make_readonly(root: &Root<'_>) -> Result<(), Failure> {
    for (index, path) in root.readonly_paths.iter().enumerate() {
        let fail = |errno| Step::ReadonlyPath.failed_at(index, errno);
        // Opened once: the descriptor that is cloned is also the one that is covered
        // (GHSA-3q8j-pf29-vwv8 resolved the path twice).
        let Some(target) = absent_is_none(paths::find(root.tree, path)).map_err(fail)? else {
            continue;
        };
        let tree = sys::clone_tree(target, c"", true).map_err(fail)?;
        sys::attach(tree, target).map_err(fail)?;
        set_readonly(tree).map_err(fail)?;
        sys::close(tree);
        sys::close(target);
    }
    Ok(())
}

/// With all that is mounted below; before Linux 5.12 that cannot be had, and the path itself is
/// what other runtimes stop at, too.
fn set_readonly(tree: Fd) -> sys::Result<()> {
    match sys::set_attributes(tree, MOUNT_ATTR_RDONLY, 0, true) {
        Err(Errno(libc::ENOSYS)) => sys::set_attributes(tree, MOUNT_ATTR_RDONLY, 0, false),
        other => other,
    }
    .map(drop)
}

/// A path the kernel or the image does not have needs no cover.
fn absent_is_none(found: sys::Result<Fd>) -> sys::Result<Option<Fd>> {
    match found {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(errno) => Err(errno),
    }
}
