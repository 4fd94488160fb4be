//! Makes one entry after the other.
//!
//! Order within an entry: data, owner, mode (a change of owner clears setuid), attributes (a
//! change of owner or data clears file capabilities), time.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, makedev};
use rustix::io::Errno;

use super::confine::{Confined, Parent, is_whiteout, lookup, make_whiteout};
use super::data::{copy, copy_sparse};
use super::owner::{own, own_unopened};
use super::place::{join, link_target, os};
use super::xattr::{DEFAULT_LIST, Verdict, has_default_list, verdict};
use super::{RootAttributes, Site, Target, Unpacked, Warnings, refuse};
use crate::error::{At, Result, quoted_bytes};
use crate::tape::{Device, Entry, EntryKind, EntryStream, SparseMap, Time};

/// Fills a layer directory.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    dir: Confined<'a>,
    /// Times of directories, set at the end: every entry made inside changes them.
    times: BTreeMap<Vec<u8>, Time>,
    held: u64,
    root: Option<RootAttributes>,
    bytes: u64,
    warnings: Warnings,
    /// The owner a new file has by itself.
    own: (u32, u32),
    /// Whether a file has the mode it is made with.
    exact_modes: bool,
    /// Whether the working directory is this thread's own.
    own_directory: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(site: Site<'a>) -> Self {
        let own = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        Self {
            dir: Confined::new(site.root, site.scrap),
            times: BTreeMap::new(),
            held: 0,
            root: None,
            bytes: 0,
            warnings: Warnings::default(),
            own,
            exact_modes: site.seat.exact_modes && !has_default_list(site.root),
            own_directory: site.seat.exact_modes,
        }
    }

    /// Sets what had to wait and tells what was made.
    pub(super) fn finish(self) -> Result<Unpacked> {
        for (path, time) in &self.times {
            match self.dir.open_existing(path) {
                Ok(fd) => {
                    rustix::fs::futimens(&fd, &timestamps(*time)).at("set time of", os(path))?;
                }
                // It was replaced by something else later in the layer.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(errno).at("open", os(path)),
            }
        }
        let mut warnings = self.warnings;
        if self.dir.redirected() > 0 {
            let count = self.dir.redirected();
            warnings.push(format!(
                "{count} directories reached through links or '..' in names"
            ));
        }
        Ok(Unpacked {
            entries: 0,
            bytes: self.bytes,
            root: self.root,
            opaque_root: self.dir.is_opaque_root(),
            implied: self.dir.implied().iter().cloned().collect(),
            opaque: self.dir.opaque().iter().cloned().collect(),
            straight: self.dir.is_straight(),
            warnings,
        })
    }

    /// The parent directory, with nothing under this name in it any more.
    fn cleared(&mut self, parent: &[u8], name: &[u8]) -> Result<OwnedFd> {
        let at = rustix::io::fcntl_dupfd_cloexec(&self.dir.parent(parent)?.fd, 0)
            .at("open", os(parent))?;
        self.dir.clear(at.as_fd(), name)?;
        Ok(at)
    }

    fn directory(&mut self, parent: &[u8], name: &[u8], entry: &Entry) -> Result<()> {
        let path = join(parent, name);
        let Parent { fd: at, gid, .. } = self.dir.parent(parent)?;
        let made = rustix::fs::mkdirat(at, os(name), Mode::RWXU);
        let made_own = made == Ok(()) && *gid == self.own.1;
        let (at, opaque) = match made {
            Ok(()) => (None, false),
            Err(Errno::EXIST) => {
                let stat = lookup(at, name).at("stat", os(&path))?;
                let is_dir = |mode| FileType::from_raw_mode(mode) == FileType::Directory;
                if stat.is_some_and(|stat| is_dir(stat.st_mode)) {
                    (None, false)
                } else {
                    let at = self.cleared(parent, name)?;
                    rustix::fs::mkdirat(&at, os(name), Mode::RWXU)
                        .at("make directory", os(&path))?;
                    // What stood here had hidden the lower directory; so does this one.
                    (Some(at), true)
                }
            }
            Err(errno) => return Err(errno).at("make directory", os(&path)),
        };
        let at = match &at {
            Some(at) => at,
            None => &self.dir.parent(parent)?.fd,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(at, os(name), flags, Mode::empty()).at("open", os(&path))?;
        if opaque {
            self.dir.set_opaque(&path);
        }
        self.describe(fd.as_fd(), entry, made_own)?;
        self.dir.described(&path);
        if self.times.insert(path.clone(), entry.mtime).is_none() {
            self.held += path.len() as u64;
        }
        self.dir.remember(&path, fd, entry.gid);
        Ok(())
    }

    fn file(
        &mut self,
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
        sparse: Option<&SparseMap>,
        stream: &mut EntryStream<'_>,
    ) -> Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let plain = self.exact_modes && entry.mode & !0o777 == 0;
        let mode = if plain {
            Mode::from_raw_mode(entry.mode)
        } else {
            Mode::RUSR | Mode::WUSR
        };
        let at = self.dir.parent(parent)?;
        let group = at.gid;
        let fd = match rustix::fs::openat(&at.fd, os(name), flags, mode) {
            Err(Errno::EXIST) => {
                let at = self.cleared(parent, name)?;
                rustix::fs::openat(&at, os(name), flags, mode)
            }
            opened => opened,
        };
        let fd = fd.at("create", os(name))?;
        self.bytes += match sparse {
            None => copy(stream, &fd)?,
            Some(map) => copy_sparse(stream, &fd, map)?,
        };
        // A new file is ours, with our group or, from some directories, theirs.
        if (entry.uid, entry.gid) != self.own || group != self.own.1 {
            own(fd.as_fd(), entry)?;
        }
        if !plain {
            let mode = Mode::from_raw_mode(entry.mode);
            rustix::fs::fchmod(&fd, mode).at("change mode", os(name))?;
        }
        self.set_xattrs(&entry.xattrs, |key, value| {
            rustix::fs::fsetxattr(&fd, key, value, XattrFlags::empty())
        })?;
        rustix::fs::futimens(&fd, &timestamps(entry.mtime)).at("set time of", os(name))
    }

    fn symlink(&mut self, parent: &[u8], name: &[u8], entry: &Entry, target: &[u8]) -> Result<()> {
        let at = self.dir.parent(parent)?;
        let is_own = (entry.uid, entry.gid) == self.own && at.gid == self.own.1;
        let made = rustix::fs::symlinkat(os(target), &at.fd, os(name));
        if made == Ok(()) && is_own && entry.xattrs.is_empty() {
            let itself = AtFlags::SYMLINK_NOFOLLOW;
            let times = timestamps(entry.mtime);
            return rustix::fs::utimensat(&at.fd, os(name), &times, itself)
                .at("set time of", os(name));
        }
        let at = match made {
            Ok(()) => rustix::io::fcntl_dupfd_cloexec(&at.fd, 0).at("open", os(parent))?,
            Err(Errno::EXIST) => {
                let at = self.cleared(parent, name)?;
                rustix::fs::symlinkat(os(target), &at, os(name)).at("make link", os(name))?;
                at
            }
            Err(errno) => return Err(errno).at("make link", os(name)),
        };
        self.describe_unopened(&at, name, entry)
    }

    /// The target is a name of this layer, reached without a link; a link as the last part is
    /// linked itself.
    fn hard_link(&mut self, parent: &[u8], name: &[u8], target: &[u8]) -> Result<()> {
        let (target_parent, target_name) = link_target(target).map_err(refuse)?;
        let missing = |_errno| refuse("hard link target is not in this layer");
        let from = self.dir.open_link_parent(&target_parent).map_err(missing)?;
        let stat = lookup(&from, &target_name).map_err(missing)?;
        let stat = stat.ok_or_else(|| missing(Errno::NOENT))?;
        if is_whiteout(&stat) {
            return Err(missing(Errno::NOENT));
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(refuse("hard link to a directory"));
        }
        let at = &self.dir.parent(parent)?.fd;
        let there = lookup(at, name).at("stat", os(name))?;
        if there.is_some_and(|t| (t.st_dev, t.st_ino) == (stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        let at = self.cleared(parent, name)?;
        rustix::fs::linkat(&from, os(&target_name), &at, os(name), AtFlags::empty())
            .at("make hard link", os(name))
    }

    fn node(
        &mut self,
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
        kind: FileType,
        device: Device,
    ) -> Result<()> {
        let at = self.cleared(parent, name)?;
        let number = makedev(device.major, device.minor);
        match rustix::fs::mknodat(&at, os(name), kind, Mode::RUSR | Mode::WUSR, number) {
            // Only root of the machine makes devices; a container gets its own from the runtime.
            Err(Errno::PERM) if kind != FileType::Fifo => {
                self.warnings.push(format!(
                    "device {}: left out, this user may make none",
                    quoted_bytes(&entry.path)
                ));
                self.dir.leave_out();
                // What a lower layer has under this name is gone all the same.
                return make_whiteout(at.as_fd(), name, &entry.path);
            }
            made => made.at("make device", os(name))?,
        }
        self.describe_unopened(&at, name, entry)
    }

    /// Owner, mode and attributes of an open directory; `is_own` when it is new and ours.
    fn describe(&mut self, fd: BorrowedFd<'_>, entry: &Entry, is_own: bool) -> Result<()> {
        if !is_own || (entry.uid, entry.gid) != self.own {
            own(fd, entry)?;
        }
        rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode))
            .at("change mode", os(&entry.path))?;
        self.set_xattrs(&entry.xattrs, |key, value| {
            rustix::fs::fsetxattr(fd, key, value, XattrFlags::empty())
        })
    }

    /// The same for what must not be opened: links, devices, fifos.
    fn describe_unopened(&mut self, at: &OwnedFd, name: &[u8], entry: &Entry) -> Result<()> {
        let itself = AtFlags::SYMLINK_NOFOLLOW;
        own_unopened(at, name, entry)?;
        if !matches!(entry.kind, EntryKind::Symlink(_)) {
            let mode = Mode::from_raw_mode(entry.mode);
            rustix::fs::chmodat(at, os(name), mode, AtFlags::empty())
                .at("change mode", os(name))?;
        }
        self.set_unopened_xattrs(at, name, entry)?;
        rustix::fs::utimensat(at, os(name), &timestamps(entry.mtime), itself)
            .at("set time of", os(name))
    }

    /// No call sets attributes relative to a directory without following before Linux 6.13; a thread
    /// with a working directory of its own goes there, others by the descriptor's name.
    fn set_unopened_xattrs(&mut self, at: &OwnedFd, name: &[u8], entry: &Entry) -> Result<()> {
        if entry.xattrs.is_empty() {
            return Ok(());
        }
        let mut path = Vec::new();
        if self.own_directory {
            rustix::process::fchdir(at).at("enter", os(name))?;
        } else {
            let number = std::os::fd::AsRawFd::as_raw_fd(at);
            path = format!("/proc/self/fd/{number}/").into_bytes();
        }
        path.extend_from_slice(name);
        self.set_xattrs(&entry.xattrs, |key, value| {
            rustix::fs::lsetxattr(os(&path), key, value, XattrFlags::empty())
        })
    }

    fn set_xattrs(
        &mut self,
        xattrs: &[(Vec<u8>, Vec<u8>)],
        set: impl Fn(&std::ffi::OsStr, &[u8]) -> std::result::Result<(), Errno>,
    ) -> Result<()> {
        for (key, value) in xattrs {
            let cause = match verdict(key) {
                Verdict::Drop => "dropped",
                Verdict::Keep => match set(os(key), value) {
                    Ok(()) => {
                        // What is made in that directory gets its mode from the list.
                        self.exact_modes &= key != DEFAULT_LIST.as_bytes();
                        continue;
                    }
                    // user.* is for files and directories only.
                    Err(Errno::OPNOTSUPP | Errno::PERM) => "not kept by the file system",
                    Err(errno) => return Err(errno).at("set attribute", os(key)),
                },
            };
            self.warnings
                .push(format!("extended attribute {}: {cause}", quoted_bytes(key)));
        }
        Ok(())
    }
}

impl Target for Writer<'_> {
    fn held(&self) -> u64 {
        self.held + self.dir.held()
    }

    fn root(&mut self, entry: &Entry) -> Result<()> {
        self.root = Some(RootAttributes::of(entry));
        let root = self.dir.root();
        self.describe(root, entry, false)?;
        self.times.insert(Vec::new(), entry.mtime);
        Ok(())
    }

    fn entry(
        &mut self,
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
        stream: &mut EntryStream<'_>,
    ) -> Result<()> {
        match &entry.kind {
            EntryKind::Directory => self.directory(parent, name, entry),
            EntryKind::File { sparse, .. } => {
                self.file(parent, name, entry, sparse.as_ref(), stream)
            }
            EntryKind::HardLink(target) => self.hard_link(parent, name, target),
            EntryKind::Symlink(target) => self.symlink(parent, name, entry, target),
            EntryKind::CharDevice(Device { major: 0, minor: 0 }) => {
                Err(refuse("character device 0:0 is a forged whiteout"))
            }
            EntryKind::CharDevice(device) => {
                self.node(parent, name, entry, FileType::CharacterDevice, *device)
            }
            EntryKind::BlockDevice(device) => {
                self.node(parent, name, entry, FileType::BlockDevice, *device)
            }
            EntryKind::Fifo => self.node(
                parent,
                name,
                entry,
                FileType::Fifo,
                Device { major: 0, minor: 0 },
            ),
        }
    }

    fn whiteout(&mut self, parent: &[u8], name: &[u8]) -> Result<()> {
        let at = &self.dir.parent(parent)?.fd;
        let path = join(parent, name);
        match lookup(at, name).at("stat", os(&path))? {
            None => make_whiteout(at.as_fd(), name, &path),
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                self.dir.make_opaque(&path)
            }
            Some(_) => Ok(()),
        }
    }

    fn opaque(&mut self, path: &[u8]) -> Result<()> {
        self.dir.make_opaque(path)
    }
}

fn timestamps(time: Time) -> Timestamps {
    let time = Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
