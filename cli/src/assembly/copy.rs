//! Copies a directory tree by descriptor: no path is walked twice, no link is followed.

use anyhow::{Context, Result, bail};
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid,
    XattrFlags, chownat, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens,
    mkdirat, mknodat, openat, readlinkat, seek, statat, symlinkat,
};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

/// Deeper than any tree that is not an attack on the stack.
const DEEPEST: usize = 512;
/// More bytes than an extended attribute may have (xattr(7)).
const LARGEST_ATTRIBUTE: usize = 64 * 1024;

/// Copies what is in one directory into another, with owners, modes, times and extended attributes.
///
/// # Errors
/// When something cannot be read or written, or the tree is absurdly deep.
pub(super) fn tree(source: &OwnedFd, target: &OwnedFd) -> Result<()> {
    directory(source, target, 0)
}

fn directory(source: &OwnedFd, target: &OwnedFd, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        bail!("the directories are nested deeper than {DEEPEST}");
    }
    for entry in Dir::read_from(source).context("cannot list a directory")? {
        let entry = entry.context("cannot list a directory")?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            one(source, target, name, depth).with_context(|| format!("entry {name:?}"))?;
        }
    }
    finish(source, target, &fstat(source)?)
}

fn one(source: &OwnedFd, target: &OwnedFd, name: &CStr, depth: usize) -> Result<()> {
    let stat = statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(target, name, Mode::RWXU)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let from = openat(source, name, flags, Mode::empty())?;
            let to = openat(target, name, flags, Mode::empty())?;
            directory(&from, &to, depth + 1)
        }
        FileType::RegularFile => {
            let from = openat(
                source,
                name,
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let to = openat(target, name, flags, Mode::RUSR | Mode::WUSR)?;
            let (mut reader, mut writer) = (File::from(from), File::from(to));
            contents(&mut reader, &mut writer)?;
            finish(&OwnedFd::from(reader), &OwnedFd::from(writer), &stat)
        }
        FileType::Symlink => {
            symlinkat(readlinkat(source, name, Vec::new())?, target, name)?;
            Ok(owner_at(target, name, &stat)?)
        }
        // A socket's other end is not in the image; nothing can be copied.
        FileType::Socket | FileType::Unknown => Ok(()),
        kind => {
            mknodat(
                target,
                name,
                kind,
                Mode::from_raw_mode(stat.st_mode),
                stat.st_rdev,
            )?;
            Ok(owner_at(target, name, &stat)?)
        }
    }
}

fn owner_at(target: &OwnedFd, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(
        target,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

/// Copies the data of a file and leaves its holes: a file of a few bytes in the image may claim to
/// be larger than the host's disk.
fn contents(reader: &mut File, writer: &mut File) -> Result<()> {
    let length = reader.metadata()?.len();
    let mut at = 0;
    while at < length {
        let data = match seek(&*reader, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error).context("cannot find the data of a file"),
        };
        let hole = seek(&*reader, SeekFrom::Hole(data)).context("cannot find a hole of a file")?;
        seek(&*reader, SeekFrom::Start(data))?;
        seek(&*writer, SeekFrom::Start(data))?;
        std::io::copy(&mut reader.take(hole.saturating_sub(data)), writer)?;
        at = hole;
    }
    Ok(writer.set_len(length)?)
}

/// Owner first, as a change of owner clears setuid and file capabilities; times last.
fn finish(source: &OwnedFd, target: &OwnedFd, stat: &Stat) -> Result<()> {
    fchown(
        target,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    fchmod(target, Mode::from_raw_mode(stat.st_mode))?;
    attributes(source, target)?;
    let time = |tv_sec: i64, nanos: u64| Timespec {
        tv_sec,
        tv_nsec: i64::try_from(nanos).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(futimens(target, &times)?)
}

/// Copies extended attributes, among them file capabilities and ACLs; overlayfs' own are of no use elsewhere.
fn attributes(source: &OwnedFd, target: &OwnedFd) -> Result<()> {
    let mut names = vec![0_u8; LARGEST_ATTRIBUTE];
    let length = match flistxattr(source, &mut names) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error).context("cannot list extended attributes"),
    };
    names.truncate(length);
    for name in names.split(|&b| b == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let name = CString::new(name)?;
        let mut value = vec![0_u8; LARGEST_ATTRIBUTE];
        let length = fgetxattr(source, &name, &mut value)?;
        value.truncate(length);
        match fsetxattr(target, &name, &value, XattrFlags::empty()) {
            // What the store's file system cannot hold, a volume on it cannot have.
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot set {name:?}")),
        }
    }
    Ok(())
}
