//! Durable steps on the store's own files: write, sync, rename, sync the directory.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::workspace::{Workspace, empty};
use crate::error::{At, Error, ErrorKind, Result, quoted};

pub(super) const PRIVATE: Mode = Mode::RWXU;
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory of the store: its path for messages and mounts, its descriptor for work.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    fd: OwnedFd,
}

impl Folder {
    /// Opens a directory, made if missing; only its owner may enter it.
    pub(crate) fn open_or_make(path: PathBuf) -> Result<Self> {
        let path = match Self::look(path)? {
            Ok(folder) => return Ok(folder),
            Err(missing) => missing,
        };
        match rustix::fs::mkdir(&path, PRIVATE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).at("make directory", &path),
        }
        Self::open(path)
    }

    /// Opens a directory; where there is none, the path comes back.
    pub(crate) fn look(path: PathBuf) -> Result<std::result::Result<Self, PathBuf>> {
        match rustix::fs::open(&path, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Ok(Self { path, fd })),
            Err(Errno::NOENT) => Ok(Err(path)),
            Err(errno) => Err(errno).at("open", &path),
        }
    }

    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let fd = rustix::fs::open(&path, DIRECTORY, Mode::empty()).at("open", &path)?;
        Ok(Self { path, fd })
    }

    /// The same directory, which has another path now.
    pub(super) fn moved_to(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    /// Refuses a directory of someone else, closes one that stands open. CVE-2024-25621: setuid
    /// files of images must not be in other users' reach.
    pub(crate) fn make_private(&self) -> Result<()> {
        let stat = rustix::fs::fstat(&self.fd).at("stat", &self.path)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            let subject = quoted(&self.path);
            return Err(Error::new(
                ErrorKind::Denied,
                "open",
                subject,
                "it belongs to another user",
            ));
        }
        if stat.st_mode & 0o7777 != 0o700 {
            rustix::fs::fchmod(&self.fd, PRIVATE).at("change mode", &self.path)?;
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Locks the directory itself; false when somebody has, or it was removed meanwhile.
    pub(super) fn try_own(&self) -> Result<bool> {
        let operation = FlockOperation::NonBlockingLockExclusive;
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&self.fd, operation)) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(errno) => return Err(errno).at("lock", &self.path),
        }
        let stat = rustix::fs::fstat(&self.fd).at("stat", &self.path)?;
        Ok(stat.st_nlink > 0)
    }

    /// Removes every workspace in this directory whose holder is gone.
    pub(crate) fn sweep(&self) -> Result<()> {
        for name in self.names()? {
            let path = self.path.join(&name);
            match Self::look(path.clone()) {
                Ok(Ok(folder)) if folder.try_own()? => {
                    empty(&folder)?;
                    match rustix::fs::rmdir(&path) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(errno) => return Err(errno).at("remove", &path),
                    }
                }
                Ok(_) => {}
                Err(_no_directory) => self.unlink(&name)?,
            }
        }
        Ok(())
    }

    /// Names in the directory, in no order.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd).at("list", &self.path)? {
            let entry = entry.at("list", &self.path)?;
            // All our names are ASCII; others are not ours.
            if let Ok(name) = entry.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    pub(crate) fn contains(&self, name: &str) -> Result<bool> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno).at("stat", self.path.join(name)),
        }
    }

    /// Makes what was renamed, made or removed in the directory last.
    pub(crate) fn sync(&self) -> Result<()> {
        rustix::fs::fsync(&self.fd).at("sync", &self.path)
    }

    /// Reads a small file of ours.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.read_with(name, limit, OFlags::NOFOLLOW)
    }

    /// Reads the small file that a link of ours leads to.
    pub(crate) fn read_through_link(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.read_with(name, limit, OFlags::empty())
    }

    fn read_with(&self, name: &str, limit: u64, more: OFlags) -> Result<Vec<u8>> {
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | more;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty()).at("open", &path)?;
        // Of documents that are mostly smaller than that, and are then read in one call and a look.
        let mut bytes = Vec::with_capacity(4096);
        File::from(fd)
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .at("read", &path)?;
        if bytes.len() as u64 > limit {
            return Err(Error::corrupt("read", quoted(&path), "file is too large"));
        }
        Ok(bytes)
    }

    /// Reads a symbolic link of ours; none when it is missing.
    pub(crate) fn read_link(&self, name: &str) -> Result<Option<String>> {
        match rustix::fs::readlinkat(&self.fd, name, Vec::new()) {
            Ok(target) => {
                let target = target.into_string();
                let bad = |_utf8| {
                    Error::corrupt("read", quoted(self.path.join(name)), "link is not text")
                };
                target.map(Some).map_err(bad)
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).at("read", self.path.join(name)),
        }
    }

    /// Writes a file's new contents to disk, in `work`; [`Staged::commit`] puts it in place.
    pub(crate) fn stage(&self, name: &str, bytes: &[u8], work: &Workspace) -> Result<Staged<'_>> {
        let temporary = work.fresh_name();
        let path = self.path.join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(work.fd(), &temporary, flags, Mode::RUSR | Mode::WUSR)
            .at("create", &path)?;
        let mut file = File::from(fd);
        file.write_all(bytes).at("write", &path)?;
        rustix::fs::fsync(&file).at("sync", &path)?;
        Ok(Staged {
            folder: self,
            name: name.to_owned(),
            temporary,
        })
    }

    /// Makes a new file in a directory that is itself still below `tmp`; the sync comes later.
    pub(crate) fn create(&self, name: &str) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR);
        fd.map(File::from).at("create", self.path.join(name))
    }

    /// [`Folder::create`] with all that is to be in the file.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        self.create(name)?.write_all(bytes).at("write", path)
    }

    /// Opens a file of ours for reading; none when it is missing.
    pub(crate) fn file(&self, name: &str) -> Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).at("open", self.path.join(name)),
        }
    }

    /// Makes a symbolic link in `work`; [`Staged::commit`] puts it in place, whether its name was
    /// taken or not. File systems journal links whole: there is nothing to sync but the directory.
    pub(crate) fn stage_link(
        &self,
        name: &str,
        target: &str,
        work: &Workspace,
    ) -> Result<Staged<'_>> {
        let temporary = work.fresh_name();
        let path = self.path.join(name);
        rustix::fs::symlinkat(target, work.fd(), &temporary).at("create", path)?;
        Ok(Staged {
            folder: self,
            name: name.to_owned(),
            temporary,
        })
    }

    pub(crate) fn unlink(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()).at("remove", path)
    }

    /// Takes a directory out of sight in one step.
    pub(crate) fn discard(&self, name: &str, trash: &Workspace) -> Result<()> {
        let path = self.path.join(name);
        rustix::fs::renameat(&self.fd, name, trash.fd(), trash.fresh_name()).at("remove", path)
    }
}

/// A file whose contents are on disk, but not yet under its name.
#[derive(Debug)]
pub(crate) struct Staged<'a> {
    folder: &'a Folder,
    name: String,
    temporary: String,
}

impl Staged<'_> {
    /// Puts the file in place, in one step, and makes that last.
    pub(crate) fn commit(self, work: &Workspace) -> Result<()> {
        let folder = self.folder;
        self.place(work)?;
        folder.sync()
    }

    /// Puts the file in place, in one step; the directory still has to be synced.
    pub(crate) fn place(self, work: &Workspace) -> Result<()> {
        rustix::fs::renameat(work.fd(), &self.temporary, self.folder.fd(), &self.name)
            .at("rename", self.folder.path.join(&self.name))
    }
}

/// A file lock that dies with its holder.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held open, closed on drop")] OwnedFd);

impl Lock {
    pub(crate) fn shared(folder: &Folder) -> Result<Self> {
        Self::take(folder, FlockOperation::LockShared)
    }

    pub(crate) fn exclusive(folder: &Folder) -> Result<Self> {
        Self::take(folder, FlockOperation::LockExclusive)
    }

    /// The exclusive lock if nobody holds any.
    pub(crate) fn try_exclusive(folder: &Folder) -> Result<Option<Self>> {
        match Self::take(folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == ErrorKind::InUse => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn take(folder: &Folder, operation: FlockOperation) -> Result<Self> {
        let path = folder.path.join("lock");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&folder.fd, "lock", flags, Mode::RUSR | Mode::WUSR)
            .at("open", &path)?;
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, operation)) {
            Ok(()) => Ok(Self(fd)),
            Err(Errno::WOULDBLOCK) => Err(Error::new(
                ErrorKind::InUse,
                "lock",
                quoted(&path),
                "someone works in it",
            )),
            Err(errno) => Err(errno).at("lock", &path),
        }
    }
}

/// Bytes free for us on a file system.
pub(crate) fn free_bytes(folder: &Folder) -> Result<u64> {
    let stat = rustix::fs::fstatvfs(&folder.fd).at("stat file system of", &folder.path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
