//! The new root: attached, entered, closed behind us.

use crate::mounts;
use crate::orders::{Fd, Orders, Root};
use crate::report::{Failure, Step};
use crate::sys::{self, Errno};
use core::ffi::CStr;

/// Cuts our copy of the host's mounts off from the host's.
pub(crate) fn detach(root: &Root<'_>) -> Result<(), Failure> {
    sys::set_propagation(c"/", root.detach)
        .map(drop)
        .map_err(|errno| Step::Detach.failed(errno))
}

/// Attaches the new root, mostly over the old one, which needs no directory of the host, and stands
/// in it.
pub(crate) fn enter(root: &Root<'_>) -> Result<(), Failure> {
    let fail = |errno| Step::Root.failed(errno);
    match root.place {
        None => sys::attach_over_root(root.tree),
        Some(path) => find_place(path).and_then(|place| sys::attach(root.tree, place)),
    }
    .map_err(fail)?;
    // pivot_root(2) refuses a shared root, and what is mounted below one would show on the host.
    // As a slave it still receives what the host mounts there.
    sys::set_attributes(root.tree, 0, libc::MS_SLAVE, true).map_err(fail)?;
    sys::fchdir(root.tree).map(drop).map_err(fail)
}

/// Only in our own mounts by now: if somebody swaps that directory, hooks miss the root, no more.
fn find_place(path: &CStr) -> sys::Result<Fd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    sys::openat2(Fd(libc::AT_FDCWD), path.as_ptr(), flags, 0)
}

/// Read-only, where the spec asks for it; the mounts that waited for this, too.
pub(crate) fn make_readonly(root: &Root<'_>) -> Result<(), Failure> {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    mounts::finish(root)?;
    if root.readonly {
        sys::set_attributes(root.tree, MOUNT_ATTR_RDONLY, 0, false)
            .map_err(|errno| Step::RootReadonly.failed(errno))?;
    }
    Ok(())
}

/// Makes the current directory the root and lets go of the old one. With both names the same the
/// old root ends up over the new one, where it is unmounted, `pivot_root(2)` NOTES.
pub(crate) fn pivot(root: &Root<'_>) -> Result<(), Failure> {
    let fail = |errno| Step::Pivot.failed(errno);
    if root.without_pivot {
        cover_revealing(root).map_err(fail)?;
        if root.place.is_some() {
            // A chroot alone is left by any CAP_SYS_CHROOT, and whoever joins the mount namespace
            // never has it: the namespace's own root must be ours.
            sys::attach_over_root(root.tree).map_err(fail)?;
            sys::fchdir(root.tree).map_err(fail)?;
        }
        sys::chroot_here().map_err(fail)?;
    } else {
        sys::pivot_root_here().map_err(fail)?;
        sys::unmount_here().map_err(fail)?;
    }
    sys::chdir_root().map_err(fail)?;
    let Some(propagation) = root.propagation else {
        return Ok(());
    };
    if propagation & libc::MS_SHARED != 0 {
        // Shared with its own copies to come, and no slave of the host's besides.
        sys::set_propagation(c"/", libc::MS_PRIVATE).map_err(fail)?;
    }
    sys::set_propagation(c"/", propagation)
        .map(drop)
        .map_err(fail)
}

/// Back to the caller's mount namespace, with a copy of all that was built. No namespace knows the
/// copy, so the host's table shows nothing of it, nothing has to be unmounted, and `..` and
/// `chroot(2)` inside end at its root; the kernel frees it with the last process in it. The
/// namespace it was built in goes at once, for nobody is left there.
pub(crate) fn go_back(root: &Root<'_>, namespace: Fd) -> Result<(), Failure> {
    let fail = |errno| Step::Return.failed(errno);
    // Copies leave out what is unbindable; and nobody would pass mounts on to them any more.
    sys::set_propagation(c"/", libc::MS_PRIVATE | libc::MS_REC).map_err(fail)?;
    let tree = sys::clone_tree(Fd(libc::AT_FDCWD), c"/", true).map_err(fail)?;
    sys::setns(namespace, libc::CLONE_NEWNS).map_err(fail)?;
    sys::close_now(namespace);
    sys::fchdir(tree).map_err(fail)?;
    sys::chroot_here().map_err(fail)?;
    sys::replace(tree, root.tree).map_err(fail)?;
    sys::close_now(tree);
    Ok(())
}

/// The root of a container that stands, where no mount namespace leads there. By descriptor, and
/// before anybody inside can see us.
pub(crate) fn enter_known(orders: &Orders<'_>) -> Result<(), Failure> {
    let Some(root) = orders.enter else {
        return Ok(());
    };
    let fail = |errno| Step::Enter.failed(errno);
    sys::fchdir(root).map_err(fail)?;
    sys::chroot_here().map_err(fail)?;
    sys::close_now(root);
    Ok(())
}

/// The old tree stays in the mount namespace, below the new root. A procfs or sysfs in it that is
/// whole would be the kernel's leave to mount another, without our masks, from a user namespace.
fn cover_revealing(root: &Root<'_>) -> sys::Result<()> {
    for path in root.revealing {
        match sys::unmount(path) {
            // Locked by a user namespace: covered instead.
            Err(Errno(libc::EINVAL | libc::EPERM)) => cover(path)?,
            // It went with another.
            Ok(_) | Err(Errno(libc::ENOENT)) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn cover(path: &CStr) -> sys::Result<()> {
    let place = match sys::openat2(Fd(libc::AT_FDCWD), path.as_ptr(), libc::O_PATH, 0) {
        Err(Errno(libc::ENOENT)) => return Ok(()),
        place => place?,
    };
    let context = sys::fsopen(c"tmpfs")?;
    sys::fsconfig_create(context)?;
    let tree = sys::fsmount(context, 0)?;
    sys::attach(tree, place)?;
    for fd in [context, tree, place] {
        sys::close(fd);
    }
    Ok(())
}
