//! The only way to open or make anything below a layer directory.
//!
//! Every path starts at the layer's own descriptor and is resolved by the kernel with that
//! directory as `/` (`openat2(2)`, RESOLVE_IN_ROOT), so `..`, absolute names and symbolic links
//! end inside, whatever they say. The last component is never followed. Nothing else has access
//! to the directory while it is filled: it lies in the store's private `tmp`.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, XattrFlags};
use rustix::io::Errno;

use super::place::{components, join, os};
use crate::blobs::retry_on_rename;
use crate::error::{At, Error, Result, quoted_bytes};

const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
pub(crate) const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// The same where nobody is root of the machine, `userxattr` of overlayfs.
const USERS_OPAQUE_XATTR: &str = "user.overlay.opaque";

/// Most directories kept open: entries come depth first, and few trees are deeper.
const OPEN_MAX: usize = 12;

/// A layer directory being filled.
#[derive(Debug)]
pub(super) struct Confined<'a> {
    root: BorrowedFd<'a>,
    /// Where replaced directories go; outside the layer, on the same file system.
    scrap: BorrowedFd<'a>,
    scrapped: u64,
    /// Directories that were used last, the latest at the end.
    open: Vec<Parent>,
    /// Directories nobody described so far.
    implied: BTreeSet<Vec<u8>>,
    held: u64,
    /// Names that were resolved otherwise than they read: through a link or out and back in.
    redirected: u64,
    /// Things of this layer that other things of it took the place of.
    replaced: u64,
    /// Things that could not be made.
    left_out: u64,
    /// Directories that hide the lower layers' ones.
    opaque: BTreeSet<Vec<u8>>,
}

/// An open directory of the layer.
#[derive(Debug)]
pub(super) struct Parent {
    path: Vec<u8>,
    pub(super) fd: OwnedFd,
    /// What a new file gets as group when the directory hands its own down.
    pub(super) gid: u32,
}

impl<'a> Confined<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, scrap: BorrowedFd<'a>) -> Self {
        Self {
            root,
            scrap,
            scrapped: 0,
            open: Vec::new(),
            implied: BTreeSet::new(),
            held: 0,
            redirected: 0,
            replaced: 0,
            left_out: 0,
            opaque: BTreeSet::new(),
        }
    }

    pub(super) fn root(&self) -> BorrowedFd<'a> {
        self.root
    }

    pub(super) fn redirected(&self) -> u64 {
        self.redirected
    }

    pub(super) fn is_straight(&self) -> bool {
        self.redirected == 0 && self.replaced == 0 && self.left_out == 0
    }

    /// The layer has not all of its tar.
    pub(super) fn leave_out(&mut self) {
        self.left_out += 1;
    }

    /// Bytes of names kept in memory.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    pub(super) fn implied(&self) -> &BTreeSet<Vec<u8>> {
        &self.implied
    }

    /// Overlayfs does not look at the mark on a layer's own root; the mount leaves the lower layers
    /// out instead.
    pub(super) fn is_opaque_root(&self) -> bool {
        self.opaque.contains(&b""[..])
    }

    pub(super) fn opaque(&self) -> &BTreeSet<Vec<u8>> {
        &self.opaque
    }

    /// An entry now describes this directory.
    pub(super) fn described(&mut self, path: &[u8]) {
        self.implied.remove(path);
    }

    /// Opens a directory entries go into, and makes it when no entry did.
    pub(super) fn parent(&mut self, path: &[u8]) -> Result<&Parent> {
        let known = self.open.iter().rposition(|parent| parent.path == path);
        if let Some(index) = known {
            // Back from a directory in it: the rest was left for good, more likely than not.
            self.open.truncate(index + 1);
        } else {
            let fd = self.open_parent(path)?;
            let gid = rustix::fs::fstat(&fd).at("stat", os(path))?.st_gid;
            self.remember(path, fd, gid);
        }
        self.open
            .last()
            .ok_or_else(|| Error::corrupt("open", quoted_bytes(path), "gone"))
    }

    /// Keeps an open directory as the likely parent of the next entry.
    pub(super) fn remember(&mut self, path: &[u8], fd: OwnedFd, gid: u32) {
        if self.open.len() == OPEN_MAX {
            self.open.remove(0);
        }
        self.open.push(Parent {
            path: path.to_vec(),
            fd,
            gid,
        });
    }

    fn open_parent(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let straight =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match self.open_resolved(path, straight) {
            Ok(fd) => return Ok(fd),
            Err(Errno::LOOP | Errno::XDEV) => self.redirected += 1,
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno).at("open", os(path)),
        }
        match self.open_in_root(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => self.imply(path),
            opened => opened.at("open", os(path)),
        }
    }

    /// Makes the missing directories of a path.
    fn imply(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let mut at = self.open_in_root(b"").at("open", os(path))?;
        let mut walked = Vec::new();
        for part in components(path) {
            walked = join(&walked, part);
            // One step at a time, so that a long path costs no more than its length.
            let step = match part {
                b".." => Err(Errno::LOOP),
                _ => rustix::fs::openat(&at, os(part), DIRECTORY, Mode::empty()),
            };
            at = match step {
                Ok(fd) => fd,
                Err(Errno::NOENT) => self.make_implied(&at, part, &walked)?,
                Err(Errno::LOOP | Errno::NOTDIR) => match self.open_in_root(&walked) {
                    Ok(fd) => fd,
                    Err(_) => self.replace_by_implied(&at, part, &walked)?,
                },
                Err(errno) => return Err(errno).at("open", os(&walked)),
            };
        }
        Ok(at)
    }

    fn make_implied(&mut self, at: &OwnedFd, part: &[u8], path: &[u8]) -> Result<OwnedFd> {
        rustix::fs::mkdirat(at, os(part), Mode::RWXU).at("make directory", os(path))?;
        let fd = rustix::fs::openat(
            at,
            os(part),
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .at("open", os(path))?;
        // A setgid parent hands down its group and the bit.
        let (uid, gid) = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
        rustix::fs::fchown(&fd, Some(uid), Some(gid)).at("change owner", os(path))?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755)).at("change mode", os(path))?;
        if self.implied.insert(path.to_vec()) {
            self.held += path.len() as u64;
        }
        Ok(fd)
    }

    /// A parent that is a whiteout becomes a directory that hides the lower one.
    fn replace_by_implied(&mut self, at: &OwnedFd, part: &[u8], path: &[u8]) -> Result<OwnedFd> {
        let stat = lookup(at, part).at("stat", os(path))?;
        if !stat.as_ref().is_some_and(is_whiteout) {
            let cause = "the directory it is in is a file or a link to nothing";
            return Err(Error::corrupt("make", quoted_bytes(path), cause));
        }
        self.forget();
        rustix::fs::unlinkat(at, os(part), AtFlags::empty()).at("remove", os(path))?;
        let fd = self.make_implied(at, part, path)?;
        self.set_opaque(path);
        Ok(fd)
    }

    /// Opens a directory as it is at the end, to give it its time.
    pub(super) fn open_existing(&self, path: &[u8]) -> std::result::Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        open_at(self.root, path, flags, resolve)
    }

    /// Opens the directory of a hard link's target: no links on the way, or it is refused.
    pub(super) fn open_link_parent(&self, path: &[u8]) -> std::result::Result<OwnedFd, Errno> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        self.open_resolved(path, resolve)
    }

    fn open_in_root(&self, path: &[u8]) -> std::result::Result<OwnedFd, Errno> {
        self.open_resolved(path, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }

    fn open_resolved(
        &self,
        path: &[u8],
        resolve: ResolveFlags,
    ) -> std::result::Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open_at(self.root, path, flags, resolve)
    }

    /// Clears the way for a new entry; tells what stood there.
    pub(super) fn clear(&mut self, at: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Stat>> {
        let Some(stat) = lookup(at, name).at("stat", os(name))? else {
            return Ok(None);
        };
        self.forget();
        self.replaced += 1;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let aside = self.scrapped.to_string();
            self.scrapped += 1;
            rustix::fs::renameat_with(at, os(name), self.scrap, aside, RenameFlags::NOREPLACE)
                .at("replace", os(name))?;
        } else {
            rustix::fs::unlinkat(at, os(name), AtFlags::empty()).at("replace", os(name))?;
        }
        Ok(Some(stat))
    }

    /// What is open may no longer be what its path leads to.
    fn forget(&mut self) {
        self.open.clear();
    }

    /// Hides everything the lower layers have in this directory.
    pub(super) fn make_opaque(&mut self, path: &[u8]) -> Result<()> {
        self.parent(path)?;
        self.set_opaque(path);
        Ok(())
    }

    /// The same for one that is known to be there.
    pub(super) fn set_opaque(&mut self, path: &[u8]) {
        if self.opaque.insert(path.to_vec()) {
            self.held += path.len() as u64;
        }
    }
}

fn open_at(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    resolve: ResolveFlags,
) -> std::result::Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    retry_on_rename(|| rustix::fs::openat2(root, os(path), flags, Mode::empty(), resolve))
}

/// What is there, the link itself for a link.
pub(super) fn lookup(at: impl AsFd, name: &[u8]) -> std::result::Result<Option<Stat>, Errno> {
    match rustix::fs::statat(at, os(name), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What overlayfs takes for the sign that nothing is here, whatever is below; every root may make one.
pub(super) fn make_whiteout(at: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<()> {
    rustix::fs::mknodat(at, os(name), FileType::CharacterDevice, Mode::empty(), 0)
        .at("make whiteout", os(path))
}

/// Overlayfs' mark for a deleted name: a character device 0:0. Only we make them.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Marks directories of a layer as hiding the lower layers' ones, which only `CAP_SYS_ADMIN` may.
/// What became something else later in the layer hides them anyway.
pub(crate) fn mark_opaque(root: BorrowedFd<'_>, paths: &[Vec<u8>]) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for path in paths {
        let fd = match open_at(root, path, flags, resolve) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(errno) => return Err(errno).at("open", os(path)),
        };
        let mark = |name| rustix::fs::fsetxattr(&fd, name, b"y", XattrFlags::empty());
        match mark(OPAQUE_XATTR) {
            Err(Errno::PERM) => mark(USERS_OPAQUE_XATTR),
            marked => marked,
        }
        .at("mark as opaque", os(path))
        .map_err(|error| {
            error.with_hint("the store's file system must keep trusted.* and user.* attributes")
        })?;
    }
    Ok(())
}

/// Is a directory marked so?
pub(crate) fn is_opaque(fd: impl AsFd) -> bool {
    [OPAQUE_XATTR, USERS_OPAQUE_XATTR].iter().any(|name| {
        let mut value = [0_u8; 1];
        rustix::fs::fgetxattr(&fd, *name, &mut value[..]) == Ok(1) && value == *b"y"
    })
}
