//! Files of one cgroup directory, or one of resctrl's, which works alike; always by descriptor. Neither has symbolic links; what could lead
//! astray is a mount over a directory, which every open here refuses to cross.

use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

const INSIDE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Upper bound of what we read of one file: `io.stat` of a host with thousands of devices fits.
const MAX_FILE: usize = 1 << 20;

/// Opens a cgroup below `dir` by relative path.
pub(crate) fn open(dir: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    inside(dir, path, flags)
}

/// Opens an interface file below `dir`.
pub(crate) fn open_file(dir: BorrowedFd<'_>, path: &str, access: OFlags) -> Result<OwnedFd, Errno> {
    inside(dir, path, access | OFlags::CLOEXEC | OFlags::NOCTTY)
}

fn inside(dir: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    loop {
        // EAGAIN: the kernel could not prove the path stays inside because of a concurrent rename.
        match rustix::fs::openat2(dir, path, flags, Mode::empty(), INSIDE) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            answer => return answer,
        }
    }
}

/// The parent of a cgroup directory.
pub(crate) fn open_parent(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(dir, "..", flags, Mode::empty())
}

/// Makes a cgroup; the last component must not exist.
pub(crate) fn make(dir: BorrowedFd<'_>, path: &str) -> Result<(), Errno> {
    rustix::fs::mkdirat(dir, path, Mode::from_raw_mode(0o755))
}

/// Removes a cgroup that has no processes and no sub-cgroups; absent is fine.
pub(crate) fn remove<P: rustix::path::Arg>(dir: BorrowedFd<'_>, path: P) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, path, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        answer => answer,
    }
}

/// Reads a whole interface file.
pub(crate) fn read(dir: BorrowedFd<'_>, file: &str) -> Result<String, Errno> {
    let fd = open_file(dir, file, OFlags::RDONLY)?;
    let mut text = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        let count = match rustix::io::read(&fd, &mut buffer) {
            Err(Errno::INTR) => continue,
            answer => answer?,
        };
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        };
        if text.len() + part.len() > MAX_FILE {
            return Err(Errno::FBIG);
        }
        text.extend_from_slice(part);
    }
}

/// Writes an interface file in one `write(2)`, as the kernel wants it.
pub(crate) fn write(dir: BorrowedFd<'_>, file: &str, value: &str) -> Result<(), Errno> {
    let fd = open_file(dir, file, OFlags::WRONLY)?;
    loop {
        match rustix::io::write(&fd, value.as_bytes()) {
            Err(Errno::INTR) => {}
            Ok(count) if count != value.len() => return Err(Errno::INVAL),
            answer => return answer.map(|_count| ()),
        }
    }
}

/// Names of the sub-cgroups.
pub(crate) fn children(dir: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let special = matches!(name.to_bytes(), b"." | b"..");
        if entry.file_type() == FileType::Directory && !special {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
