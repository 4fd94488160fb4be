//! A layer's directory against the entries it was made from: nothing may be missing or different.
//!
//! Only for layers whose names lead where they read; see [`Unpacked::straight`](super::Unpacked).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};

use super::confine::{is_whiteout, lookup};
use super::place::{Place, join, link_target, os};
use super::xattr::{Verdict, verdict};
use crate::blobs::retry_on_rename;
use crate::error::{At, Error, Result, quoted_bytes};
use crate::recipe::{Pantry, Player};
use crate::tape::{Entry, EntryKind, EntryStream, Segment};

const ACCESS_LIST: &[u8] = b"system.posix_acl_access";

/// Plays a recipe with the files of a directory, and compares everything on the way. What the tar
/// was is written to `sink`, which comes back.
pub(crate) fn compare<W: Write>(recipe: File, fs: BorrowedFd<'_>, sink: W) -> Result<W> {
    let pantry = Pantry::default();
    let mut player = Player::new(recipe, sink, &pantry);
    let mut stream = EntryStream::new(&mut player);
    let mut tree = Tree::new(fs);
    while let Some(entry) = stream.next_entry()? {
        let about = |error: Error| error.about(&format!("entry {}", quoted_bytes(&entry.path)));
        if let Some((file, segments)) = tree.entry(&entry).map_err(about)? {
            pantry.put(file, segments);
            while let count @ 1.. = stream.data().map_err(about)?.len() {
                stream.consume(count);
            }
        }
    }
    tree.finish()?;
    let failed = |error| Error::from_io("write", String::new(), error);
    player.finish().map_err(failed)
}

struct Tree<'a> {
    root: BorrowedFd<'a>,
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// The last word about each directory; compared when all was said.
    directories: BTreeMap<Vec<u8>, Entry>,
    opaque: BTreeSet<Vec<u8>>,
}

impl<'a> Tree<'a> {
    fn new(root: BorrowedFd<'a>) -> Self {
        Self {
            root,
            parent: None,
            directories: BTreeMap::new(),
            opaque: BTreeSet::new(),
        }
    }

    /// The file that an entry's data is in.
    fn entry(&mut self, entry: &Entry) -> Result<Option<(File, Vec<Segment>)>> {
        let path = match Place::of(&entry.path).map_err(different)? {
            Place::Root => Vec::new(),
            Place::Opaque { parent } => {
                self.opaque.insert(parent);
                return Ok(None);
            }
            Place::Whiteout { parent, name } => {
                // Something of this layer may stand in its place.
                return self.stat(&parent, &name).map(|_found| None);
            }
            Place::Below { parent, name } => {
                if entry.kind != EntryKind::Directory {
                    return self.other(&parent, &name, entry);
                }
                join(&parent, &name)
            }
        };
        self.directories.insert(path, entry.clone());
        Ok(None)
    }

    fn other(
        &mut self,
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
    ) -> Result<Option<(File, Vec<Segment>)>> {
        let stat = self.stat(parent, name)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let expected = match &entry.kind {
            EntryKind::File { .. } => FileType::RegularFile,
            EntryKind::Symlink(_) => FileType::Symlink,
            EntryKind::CharDevice(_) => FileType::CharacterDevice,
            EntryKind::BlockDevice(_) => FileType::BlockDevice,
            EntryKind::Fifo => FileType::Fifo,
            EntryKind::HardLink(target) => return self.hard_link(&stat, target),
            EntryKind::Directory => FileType::Directory,
        };
        if kind != expected {
            return Err(different("it is of another type"));
        }
        match &entry.kind {
            EntryKind::Symlink(target) => {
                let (_, at) = self.parent(parent)?;
                let found = rustix::fs::readlinkat(at, os(name), Vec::new());
                if found.at("read", os(name))?.to_bytes() != target.as_slice() {
                    return Err(different("the link leads elsewhere"));
                }
            }
            EntryKind::CharDevice(device) | EntryKind::BlockDevice(device)
                if stat.st_rdev != rustix::fs::makedev(device.major, device.minor) =>
            {
                return Err(different("it is another device"));
            }
            _ => {}
        }
        attributes(&stat, entry)?;
        let EntryKind::File { size, sparse } = &entry.kind else {
            return Ok(None);
        };
        let length = sparse.as_ref().map_or(*size, |map| map.length);
        if u64::try_from(stat.st_size) != Ok(length) {
            return Err(different("it is of another length"));
        }
        let (_, at) = self.parent(parent)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::openat(at, os(name), flags, Mode::empty()).at("open", os(name))?;
        xattrs(&fd, entry)?;
        let whole = || {
            vec![Segment {
                offset: 0,
                length: *size,
            }]
        };
        let segments = sparse.as_ref().map_or_else(whole, |m| m.segments.clone());
        Ok(Some((File::from(fd), segments)))
    }

    fn hard_link(&mut self, stat: &Stat, target: &[u8]) -> Result<Option<(File, Vec<Segment>)>> {
        let (parent, name) = link_target(target).map_err(different)?;
        let other = self.stat(&parent, &name)?;
        if (stat.st_dev, stat.st_ino) == (other.st_dev, other.st_ino) {
            Ok(None)
        } else {
            Err(different("it is not the file it is a link to"))
        }
    }

    fn stat(&mut self, parent: &[u8], name: &[u8]) -> Result<Stat> {
        let (_, at) = self.parent(parent)?;
        let stat = lookup(at, name).at("stat", os(name))?;
        stat.ok_or_else(|| different("it is missing"))
    }

    fn parent(&mut self, path: &[u8]) -> Result<&(Vec<u8>, OwnedFd)> {
        if self.parent.as_ref().is_none_or(|(known, _)| known != path) {
            self.parent = Some((path.to_vec(), self.open(path)?));
        }
        let opened = self.parent.as_ref();
        opened.ok_or_else(|| different("its directory is missing"))
    }

    fn open(&self, path: &[u8]) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let name = if path.is_empty() { b"." } else { path };
        retry_on_rename(|| rustix::fs::openat2(self.root, os(name), flags, Mode::empty(), resolve))
            .at("open", os(path))
    }

    fn finish(&self) -> Result<()> {
        for (path, entry) in &self.directories {
            let about = |error: Error| error.about(&format!("entry {}", quoted_bytes(path)));
            let fd = self.open(path)?;
            let stat = rustix::fs::fstat(&fd).at("stat", os(path))?;
            attributes(&stat, entry).map_err(about)?;
            xattrs(&fd, entry).map_err(about)?;
        }
        for path in &self.opaque {
            let fd = self.open(path)?;
            if !super::is_opaque(&fd) {
                let what = different("it does not hide the lower layers' any more");
                return Err(what.about(&format!("entry {}", quoted_bytes(path))));
            }
        }
        Ok(())
    }
}

fn attributes(stat: &Stat, entry: &Entry) -> Result<()> {
    // The kernel bends the mode after an access control list.
    let has_list = entry.xattrs.iter().any(|(key, _)| key == ACCESS_LIST);
    let is_exact = !matches!(entry.kind, EntryKind::Symlink(_)) && !has_list;
    if is_exact && stat.st_mode & 0o7777 != entry.mode {
        return Err(different("it has another mode"));
    }
    if (stat.st_uid, stat.st_gid) != (entry.uid, entry.gid) {
        return Err(different("it has another owner"));
    }
    let time = (entry.mtime.seconds, u64::from(entry.mtime.nanoseconds));
    // Seconds only: a file system may keep its times less finely than an image gives them.
    if stat.st_mtime != time.0 {
        return Err(different("it has another time"));
    }
    if is_whiteout(stat) {
        return Err(different("it is a whiteout"));
    }
    Ok(())
}

fn xattrs(fd: &OwnedFd, entry: &Entry) -> Result<()> {
    for (key, value) in &entry.xattrs {
        if verdict(key) == Verdict::Drop {
            continue;
        }
        let mut found = vec![0; value.len() + 1];
        match rustix::fs::fgetxattr(fd, os(key), found.as_mut_slice()) {
            Ok(count) if found.get(..count) == Some(value.as_slice()) => {}
            // One that says no more than the mode is not kept.
            Err(rustix::io::Errno::NODATA) if key == ACCESS_LIST => {}
            // Nor could it be set.
            Err(rustix::io::Errno::OPNOTSUPP) => {}
            _ => return Err(different("an extended attribute is missing or different")),
        }
    }
    Ok(())
}

fn different(cause: &'static str) -> Error {
    Error::corrupt("verify", "", cause)
}
