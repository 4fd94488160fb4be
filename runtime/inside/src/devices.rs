//! Device nodes and the links of /dev.

use crate::orders::{Device, Fd, Link, Make, Node, Root};
use crate::report::{Failure, Step};
use crate::sys::{self, Errno};
use crate::targets;
use core::ffi::CStr;

const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// A directory below the root, kept open while the items that follow are in it too.
struct Directory<'a> {
    root: Fd,
    open: Option<(&'a CStr, Fd)>,
}

impl<'a> Directory<'a> {
    fn get(&mut self, path: &'a CStr) -> sys::Result<Fd> {
        if let Some((open, fd)) = self.open {
            if open == path {
                return Ok(fd);
            }
            self.close();
        }
        let fd = targets::find_or_make(self.root, path, Make::Directory)?.fd;
        self.open = Some((path, fd));
        Ok(fd)
    }

    fn close(&mut self) {
        if let Some((_, fd)) = self.open.take() {
            sys::close(fd);
        }
    }
}

/// Makes the nodes, then the links.
pub(crate) fn make(root: &Root<'_>) -> Result<(), Failure> {
    adopt(root)?;
    let mut directory = Directory {
        root: root.tree,
        open: None,
    };
    let mask = sys::umask(0);
    for (index, device) in root.devices.iter().enumerate() {
        let fail = |errno| Step::Device.failed_at(index, errno);
        let parent = directory.get(device.directory).map_err(fail)?;
        match device.node {
            Node::Tree(node) | Node::Made(node) => bind(parent, device, node).map_err(fail)?,
            Node::Host(path) => {
                let node = clone_node(path, device)
                    .map_err(|(step, errno)| step.failed_at(index, errno))?;
                bind(parent, device, node).map_err(fail)?;
            }
            Node::Make => {
                make_node(parent, device).map_err(|(step, errno)| step.failed_at(index, errno))?;
            }
        }
    }
    sys::umask(mask);
    for (index, link) in root.links.iter().enumerate() {
        let fail = |errno| Step::Link.failed_at(index, errno);
        let parent = directory.get(link.directory).map_err(fail)?;
        make_link(parent, link).map_err(fail)?;
    }
    directory.close();
    Ok(())
}

/// Clones the nodes that the parent made. Before Linux 6.15 only what is attached in our own mount
/// namespace can be cloned, so their file system is, for a moment in which no path is looked up.
fn adopt(root: &Root<'_>) -> Result<(), Failure> {
    let Some(nodes) = root.made_nodes else {
        return Ok(());
    };
    let fail = |errno| Step::Device.failed(errno);
    sys::attach(nodes, root.tree).map_err(fail)?;
    for (index, device) in root.devices.iter().enumerate() {
        if let Node::Made(node) = device.node {
            adopt_one(node).map_err(|errno| Step::Device.failed_at(index, errno))?;
        }
    }
    sys::fchdir(nodes).map_err(fail)?;
    sys::unmount_here().map_err(fail)?;
    sys::close_now(nodes);
    sys::fchdir(root.tree).map(drop).map_err(fail)
}

fn adopt_one(node: Fd) -> sys::Result<()> {
    let tree = sys::clone_tree(node, c"", false)?;
    sys::replace(tree, node)?;
    sys::close_now(tree);
    Ok(())
}

fn make_node(parent: Fd, device: &Device<'_>) -> Result<(), (Step, Errno)> {
    match sys::mknodat(parent, device.name.as_ptr(), device.mode, device.number) {
        Ok(_) => {}
        Err(Errno(libc::EEXIST)) if device.lenient => return Ok(()),
        // runtime-spec config-linux "Devices": what stands there already must be that device.
        Err(Errno(libc::EEXIST)) => return check_node(parent, device),
        // We are in a user namespace, though we did not make it.
        Err(Errno(libc::EPERM)) if device.mode & libc::S_IFMT != libc::S_IFIFO => {
            let node = clone_node(device.host_path, device)?;
            return bind(parent, device, node).map_err(|errno| (Step::Device, errno));
        }
        Err(errno) => return Err((Step::Device, errno)),
    }
    if (device.uid, device.gid) != (0, 0) {
        sys::chown(parent, device.name, device.uid, device.gid)
            .map_err(|errno| (Step::Device, errno))?;
    }
    Ok(())
}

fn check_node(parent: Fd, device: &Device<'_>) -> Result<(), (Step, Errno)> {
    let found = sys::stat(parent, device.name).map_err(|errno| (Step::Device, errno))?;
    if is_meant(found, device) {
        Ok(())
    } else {
        Err((Step::DeviceMismatch, Errno(libc::EEXIST)))
    }
}

fn is_meant(found: sys::Stat, device: &Device<'_>) -> bool {
    found.mode & libc::S_IFMT == device.mode & libc::S_IFMT
        && (found.number == device.number || device.mode & libc::S_IFMT == libc::S_IFIFO)
}

/// The host's node, proven by what it is: the name alone says nothing (CVE-2025-31133).
fn clone_node(path: &CStr, device: &Device<'_>) -> Result<Fd, (Step, Errno)> {
    let at = |errno| (Step::Device, errno);
    let plain = libc::RESOLVE_NO_MAGICLINKS;
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let place = sys::openat2(Fd(libc::AT_FDCWD), path.as_ptr(), flags, plain).map_err(at)?;
    if !is_meant(sys::stat(place, c"").map_err(at)?, device) {
        return Err((Step::DeviceMismatch, Errno(libc::ENODEV)));
    }
    let node = sys::clone_tree(place, c"", false).map_err(at)?;
    sys::close(place);
    Ok(node)
}

/// In a user namespace: the host's node, as a mount over an empty file.
fn bind(parent: Fd, device: &Device<'_>, node: Fd) -> sys::Result<()> {
    match sys::mknodat(parent, device.name.as_ptr(), libc::S_IFREG | 0o644, 0) {
        Ok(_) | Err(Errno(libc::EEXIST)) => {}
        Err(errno) => return Err(errno),
    }
    let target = sys::openat(parent, device.name, libc::O_PATH, 0)?;
    // An image's /dev may be a link to /proc, whose files are not to be covered (CVE-2019-16884).
    if sys::filesystem_magic(target)? == PROC_SUPER_MAGIC {
        return Err(Errno(libc::EPERM));
    }
    sys::attach(node, target)?;
    sys::close(target);
    sys::close(node);
    Ok(())
}

fn make_link(parent: Fd, link: &Link<'_>) -> sys::Result<()> {
    match sys::symlinkat(link.target, parent, link.name) {
        Err(Errno(libc::EEXIST)) if link.replace => {
            // Held by descriptor below the root: whatever /dev is, the host's is not touched
            // (CVE-2026-41579).
            sys::unlinkat(parent, link.name)?;
            sys::symlinkat(link.target, parent, link.name).map(drop)
        }
        Ok(_) | Err(Errno(libc::EEXIST)) => Ok(()),
        Err(errno) => Err(errno),
    }
}
