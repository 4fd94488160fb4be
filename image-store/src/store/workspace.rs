//! Directories for work in progress and for what is to be deleted, and how they are emptied.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::disk::{Folder, PRIVATE};
use crate::error::{At, Result};

/// A private directory for work in progress, removed with all it holds when dropped.
///
/// It is locked for as long as it is in use, and the lock dies with its holder: who gets the lock
/// of one knows that nobody will come back for it.
#[derive(Debug)]
pub(crate) struct Workspace {
    folder: Folder,
    counter: AtomicU64,
    keep: bool,
}

impl Workspace {
    /// Makes `<pid>-<number>` in a directory.
    pub(crate) fn new(parent: &Folder) -> Result<Self> {
        loop {
            let path = parent.path().join(unused_name());
            match rustix::fs::mkdir(&path, PRIVATE) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(errno).at("make directory", &path),
            }
            // A sweeper may have been faster than the lock: then there is another name.
            if let Ok(folder) = Folder::look(path)?
                && folder.try_own()?
            {
                return Ok(Self {
                    folder,
                    counter: AtomicU64::new(0),
                    keep: false,
                });
            }
        }
    }

    /// Takes a directory out of sight, to be emptied here: it becomes a workspace itself. `None` where
    /// it is not there.
    pub(crate) fn of_discarded(from: &Folder, name: &str, trash: &Folder) -> Result<Option<Self>> {
        let Ok(folder) = Folder::look(from.path().join(name))? else {
            return Ok(None);
        };
        // Locked before it is where sweepers look. Who else removes it meanwhile has it then.
        if !folder.try_own()? {
            return Ok(None);
        }
        let path = trash.path().join(unused_name());
        match rustix::fs::renameat(from.fd(), name, rustix::fs::CWD, &path) {
            Err(Errno::NOENT) => return Ok(None),
            renamed => renamed.at("remove", folder.path())?,
        }
        Ok(Some(Self {
            folder: folder.moved_to(path),
            counter: AtomicU64::new(0),
            keep: false,
        }))
    }

    /// Leaves what is in it to the next sweeper.
    pub(crate) fn leave(mut self) {
        self.keep = true;
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.folder.fd()
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A name nothing in the workspace has.
    pub(crate) fn fresh_name(&self) -> String {
        format!("w{}", self.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// A new file without a name, to write and read again.
    pub(crate) fn file(&self) -> Result<File> {
        let name = self.fresh_name();
        let path = self.folder.path().join(&name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.fd(), &name, flags, Mode::RUSR | Mode::WUSR)
            .at("create", path)?;
        self.folder.unlink(&name)?;
        Ok(File::from(fd))
    }

    /// A new directory inside.
    pub(crate) fn make_folder(&self, name: &str) -> Result<Folder> {
        Folder::open_or_make(self.folder.path().join(name))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if self.keep {
            rustix::fs::rmdir(self.folder.path()).ok();
            return;
        }
        // What cannot be removed now is garbage in `tmp` or `trash`, and swept later.
        drop(empty(&self.folder));
        rustix::fs::rmdir(self.folder.path()).ok();
    }
}

/// Of this process, this call and this moment.
fn unused_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let clock = std::time::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .subsec_nanos();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{}-{number}-{clock:08x}", std::process::id())
}

/// Removes everything in a directory without recursion: what is not empty moves up into the
/// directory first, so neither depth nor open descriptors grow with what an image made.
pub(crate) fn empty(folder: &Folder) -> Result<()> {
    let mut number = 0_u64;
    loop {
        let names = children(folder.fd()).at("list", folder.path())?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            empty_one(folder, &name, &mut number).at("remove", folder.path())?;
        }
    }
}

fn empty_one(
    folder: &Folder,
    name: &std::ffi::CString,
    number: &mut u64,
) -> std::result::Result<(), Errno> {
    match rustix::fs::unlinkat(folder.fd(), name, AtFlags::empty()) {
        Ok(()) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(folder.fd(), name, flags, Mode::empty())?;
    for child in children(&inner)? {
        let removed = rustix::fs::unlinkat(&inner, &child, AtFlags::empty()).or_else(|errno| {
            if !matches!(errno, Errno::ISDIR | Errno::PERM) {
                return Err(errno);
            }
            rustix::fs::unlinkat(&inner, &child, AtFlags::REMOVEDIR)
        });
        match removed {
            Ok(()) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => move_up(folder, &inner, &child, number)?,
            Err(errno) => return Err(errno),
        }
    }
    rustix::fs::unlinkat(folder.fd(), name, AtFlags::REMOVEDIR)
}

fn move_up(
    folder: &Folder,
    inner: &OwnedFd,
    child: &std::ffi::CString,
    number: &mut u64,
) -> std::result::Result<(), Errno> {
    loop {
        let aside = format!("moved-{number}");
        *number += 1;
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(inner, child, folder.fd(), aside, flags) {
            Err(Errno::EXIST) => {}
            done => return done,
        }
    }
}

fn children(fd: impl AsFd) -> std::result::Result<Vec<std::ffi::CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
