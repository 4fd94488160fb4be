//! Whether two directories are the same: everything in them, and what it looks like.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{At, Result};

/// Extended attributes of directories that a layer may have.
const MARKS: [&str; 3] = [
    "trusted.overlay.opaque",
    "user.overlay.opaque",
    "security.capability",
];

/// A digest over names, types, modes, owners, times, links and contents of all below a directory.
///
/// Directories are gone through from a list, not by recursion: depth is an image's word.
pub(crate) fn fingerprint(root: BorrowedFd<'_>) -> Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut todo: Vec<Vec<u8>> = vec![b".".to_vec()];
    // Names of files with more than one link, by their number: linked files are the same file.
    let mut linked: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::new();
    while let Some(path) = todo.pop() {
        let dir = open(root, &path)?;
        describe(
            &mut hasher,
            &path,
            &rustix::fs::fstat(&dir).at("stat", "layer")?,
        );
        for mark in MARKS {
            let mut value = [0; 64];
            let count = rustix::fs::fgetxattr(&dir, mark, &mut value[..]).unwrap_or(0);
            hasher.update(value.get(..count).unwrap_or_default());
        }
        let mut names = names(&dir)?;
        names.sort_unstable();
        for name in names {
            let stat = rustix::fs::statat(&dir, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
                .at("stat", "layer")?;
            let inner = [path.as_slice(), b"/", &name].concat();
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                todo.push(inner);
                continue;
            }
            describe(&mut hasher, &inner, &stat);
            if stat.st_nlink > 1 {
                let first = linked.entry((stat.st_dev, stat.st_ino)).or_insert(inner);
                hasher.update(first);
            }
            content(&mut hasher, &dir, &name, &stat)?;
        }
    }
    Ok(hasher.finish())
}

fn open(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // A path may be longer than the kernel takes at once.
    let mut at = rustix::fs::openat(root, ".", flags, Mode::empty()).at("open", "layer")?;
    for part in path.split(|byte| *byte == b'/').skip(1) {
        at = rustix::fs::openat(&at, part, flags, Mode::empty()).at("open", "layer")?;
    }
    Ok(at)
}

fn names(dir: &OwnedFd) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir.as_fd()).at("list", "layer")? {
        let entry = entry.at("list", "layer")?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

fn describe(hasher: &mut Hasher, path: &[u8], stat: &Stat) {
    hasher.update(path);
    // A directory that no entry describes has the time it was made.
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let time = if is_directory { 0 } else { stat.st_mtime };
    for number in [
        u64::from(stat.st_mode),
        u64::from(stat.st_uid),
        u64::from(stat.st_gid),
        stat.st_rdev,
        time.cast_unsigned(),
    ] {
        hasher.update(&number.to_le_bytes());
    }
}

fn content(hasher: &mut Hasher, dir: &OwnedFd, name: &[u8], stat: &Stat) -> Result<()> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(dir, name, Vec::new()).at("read", "layer")?;
            hasher.update(target.to_bytes());
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(dir, name, flags, Mode::empty()).at("open", "layer")?;
            let mut value = [0; 64];
            match rustix::fs::fgetxattr(&fd, "security.capability", &mut value[..]) {
                Ok(count) => hasher.update(value.get(..count).unwrap_or_default()),
                Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno).at("read attribute of", "layer"),
            }
            let (mut file, mut buffer) = (File::from(fd), vec![0; 64 * 1024]);
            loop {
                let count = file.read(&mut buffer).at("read", "layer")?;
                if count == 0 {
                    break;
                }
                hasher.update(buffer.get(..count).unwrap_or_default());
            }
        }
        _ => {}
    }
    Ok(())
}
