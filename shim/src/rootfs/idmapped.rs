//! Roots whose files are shown under other ids: those of pods in user namespaces, where containerd keeps one copy
//! of an image for all.

use super::options::Options;
use super::{failed, mounted, place, remount};
use crate::messages::Mount;
use crate::wire::status::{Answer, Failure};
use hostrun_runtime::{Error, IdMapping};
use rustix::fs::{Mode, mkdir};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// Makes such a mount. Of an overlay the lower layers are mapped; what is written has the right ids already.
pub(super) fn attach(one: &Mount, mut options: Options, root: &Path) -> Answer<()> {
    let words = |error: Error| Failure::of("", &error);
    let mapping = IdMapping::new(&options.ids.uids, &options.ids.gids).map_err(words)?;
    let wrong = |errno| failed(one, root, errno);
    if options.bind || one.kind == "bind" {
        let tree = mapping.tree(Path::new(&one.source)).map_err(words)?;
        let bind = || -> rustix::io::Result<()> {
            join(&tree, &place(one, root)?)?;
            if !options.flags.is_empty() {
                remount(one, root, options.flags)?;
            }
            match options.propagation {
                Some(propagation) => mount_change(&*mounted(one, root)?.1, propagation),
                None => Ok(()),
            }
        };
        return bind().map_err(wrong);
    }
    let mut layers = Layers(Vec::new());
    for option in &mut options.data {
        let Some(listed) = option.strip_prefix("lowerdir=") else {
            continue;
        };
        let mut mapped = Vec::new();
        for layer in listed.split(':') {
            let tree = mapping.tree(Path::new(layer)).map_err(words)?;
            mapped.push(layers.add(root, &tree).map_err(wrong)?);
        }
        *option = format!("lowerdir={}", mapped.join(":"));
    }
    super::attach(one, &options, root).map_err(wrong)
}

fn join(tree: &OwnedFd, place: &OwnedFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree.as_fd(), "", place.as_fd(), "", flags)
}

/// Mapped layers, mounted where an overlay finds them by name. It keeps what it has found: when it is
/// mounted, they go.
struct Layers(Vec<PathBuf>);

impl Layers {
    /// Mounts one beside the root; the path of it.
    fn add(&mut self, root: &Path, tree: &OwnedFd) -> rustix::io::Result<String> {
        let dir = root.with_file_name(format!(".layer-{}", self.0.len()));
        match mkdir(&dir, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let place = rustix::fs::open(&dir, flags, Mode::empty())?;
        self.0.push(dir.clone());
        join(tree, &place)?;
        Ok(dir.display().to_string())
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        for dir in &self.0 {
            unmount(dir, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).unwrap_or_default();
            rustix::fs::rmdir(dir).unwrap_or_default();
        }
    }
}
