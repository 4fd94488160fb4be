//! The files of one container: writable layer, lease, and its root as a detached mount.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use crate::blobs::retry_on_rename;
use crate::digest::Digest;
use crate::driver::{self, Lower};
use crate::error::{At, Error, ErrorKind, Result, quoted};
use crate::mountpoints;
use crate::overlay::{Overlay, RootOptions};
use crate::store::{Attributes, Folder, Heir, ImageRecord, empty};

/// Longest container id in bytes.
const ID_MAX: usize = 200;

/// A checked container id: the one string of a caller that becomes a directory name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerId(String);

impl ContainerId {
    /// Letters, digits, `_`, and after the first also `.`, `+`, `-`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let good = text.len() <= ID_MAX
            && text.bytes().next().is_some_and(word)
            && text
                .bytes()
                .all(|b| word(b) || matches!(b, b'.' | b'+' | b'-'));
        if good {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid(
            "read container id",
            text,
            "not [a-zA-Z0-9_][a-zA-Z0-9_.+-]*",
        ))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A container's files in the store.
#[derive(Debug)]
pub struct Container {
    id: ContainerId,
    dir: PathBuf,
    image: Digest,
    /// The layers' folders, highest first.
    lower: Vec<PathBuf>,
    attributes: Attributes,
}

impl Container {
    pub(crate) fn create(
        containers: &Folder,
        id: ContainerId,
        image: &ImageRecord,
        lower: Vec<PathBuf>,
        attributes: Attributes,
    ) -> Result<Self> {
        let dir = containers.path().join(id.as_str());
        match rustix::fs::mkdirat(containers.fd(), id.as_str(), Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let cause = "the id is taken";
                let subject = quoted(id.as_str());
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    "create container",
                    subject,
                    cause,
                )
                .with_hint("remove that container or choose another name"));
            }
            Err(errno) => return Err(errno).at("make directory", &dir),
        }
        if let Err(error) = fill(&dir, image) {
            // Nothing is left of a container that was not made.
            drop(Folder::open(dir.clone()).and_then(|folder| empty(&folder)));
            rustix::fs::rmdir(&dir).ok();
            return Err(error);
        }
        Ok(Self {
            id,
            dir,
            image: image.config.clone(),
            lower,
            attributes,
        })
    }

    pub(crate) fn existing(
        containers: &Folder,
        id: &ContainerId,
        image: &ImageRecord,
        lower: Vec<PathBuf>,
        attributes: Attributes,
    ) -> Self {
        let dir = containers.path().join(id.as_str());
        Self {
            id: id.clone(),
            dir,
            image: image.config.clone(),
            lower,
            attributes,
        }
    }

    /// The id it was made with.
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Its directory, mode 0700, for the caller's own files. `lease`, `upper` and `work` in it are
    /// the store's.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The id of the image it was made from.
    pub fn image(&self) -> &Digest {
        &self.image
    }

    /// Mounts the container's root: the image's layers, and the writable one on top.
    ///
    /// The mount is detached: it stands in no mount namespace, and is gone when the descriptor
    /// and all that was attached from it are. Attach it with `move_mount(2)`.
    ///
    /// # Errors
    /// `Unsupported` when the kernel has no overlayfs or the store's file system cannot carry
    /// one, `Denied` without CAP_SYS_ADMIN, `NotFound` when layers are gone.
    pub fn mount_root(&self, options: &RootOptions) -> Result<OwnedFd> {
        let lower = self.lower.iter().map(|layer| driver::of(layer).root(layer));
        let mut lower: Vec<Lower> = lower.collect::<Result<_>>()?;
        if options.mount_points {
            // Beside the directory of all containers; made in our own.
            let dir = self.dir.join("../../mountpoints");
            mountpoints::ensure(&dir, &self.dir.join("mountpoints"))?;
            lower.push(Lower::Directory(dir));
        }
        let overlay = Overlay {
            lower: &lower,
            upper: &self.dir.join("upper"),
            work: &self.dir.join("work"),
            target: &self.dir,
            attributes: self.attributes,
        };
        overlay.mount(options)
    }
}

/// Lease first: from then on the image stays.
fn fill(dir: &Path, image: &ImageRecord) -> Result<()> {
    let folder = Folder::open(dir.to_owned())?;
    let target = format!("../../images/{}", image.config.file_name());
    rustix::fs::symlinkat(target, folder.fd(), "lease").at("create", dir.join("lease"))?;
    rustix::fs::mkdirat(folder.fd(), "work", Mode::RWXU).at("make directory", dir.join("work"))?;
    // The merged root shows the attributes of the writable layer's root.
    let upper = Folder::open_or_make(dir.join("upper"))?;
    let (uid, gid) = (Uid::from_raw(image.root.uid), Gid::from_raw(image.root.gid));
    rustix::fs::fchown(upper.fd(), Some(uid), Some(gid)).at("change owner", upper.path())?;
    rustix::fs::fchmod(upper.fd(), Mode::from_raw_mode(image.root.mode))
        .at("change mode", upper.path())?;
    image
        .directories
        .iter()
        .try_for_each(|heir| inherit(&upper, heir))
}

/// A directory of the writable layer merges with the ones below and shows its own attributes.
fn inherit(upper: &Folder, heir: &Heir) -> Result<()> {
    let path = OsStr::from_bytes(&heir.path.0);
    let (uid, gid) = (
        Uid::from_raw(heir.attributes.uid),
        Gid::from_raw(heir.attributes.gid),
    );
    let mode = Mode::from_raw_mode(heir.attributes.mode);
    // Our own record, and nothing but directories we just made: still never leave.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let open = |path: &Path| {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        retry_on_rename(|| rustix::fs::openat2(upper.fd(), path, flags, Mode::empty(), resolve))
    };
    let (parent, name) = (Path::new(path).parent(), Path::new(path).file_name());
    let (Some(parent), Some(name)) = (parent, name) else {
        return Err(Error::corrupt("make directory", quoted(path), "not a path"));
    };
    let parent = open(parent).at("open", path)?;
    rustix::fs::mkdirat(&parent, name, Mode::RWXU).at("make directory", path)?;
    let fd = open(Path::new(path)).at("open", path)?;
    rustix::fs::fchown(&fd, Some(uid), Some(gid)).at("change owner", path)?;
    rustix::fs::fchmod(&fd, mode).at("change mode", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_that_could_be_paths_are_refused() {
        let long = "a".repeat(201);
        for id in [
            "", ".", "..", "a/b", "/", ".a", "-a", "a b", "a\n", "a\0", "é", &long,
        ] {
            assert_eq!(
                ContainerId::parse(id).unwrap_err().kind(),
                ErrorKind::Invalid,
                "{id:?}"
            );
        }
        for id in ["a", "web-1", "A_b.c+d", "0"] {
            assert_eq!(ContainerId::parse(id).unwrap().as_str(), id);
        }
    }

    proptest! {
        #[test]
        fn an_id_is_one_plain_name(text in ".{0,20}") {
            if let Ok(id) = ContainerId::parse(&text) {
                prop_assert!(!id.as_str().contains('/') && !id.as_str().starts_with('.'));
            }
        }
    }
}
