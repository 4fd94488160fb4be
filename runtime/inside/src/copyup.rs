//! `tmpcopyup`: a tmpfs begins with what it covers.
//!
//! What is copied may be hostile, and may change while it is copied: every file is opened by one
//! name in a directory held by descriptor, never through a link, and looked at once it is open.
//! The copy is a mount that nobody else can reach yet, so names in it are what we made them. It is
//! written with the container's own ids and privileges, and its memory is the container's.

use crate::orders::Fd;
use crate::sys::{self, Errno};
use core::ffi::c_char;

/// Deeper than this is no tree that anybody made for use, and each level takes two descriptors.
const DEEPEST: u32 = 128;

/// Bytes of a file copied at once.
const PORTION: usize = 1 << 20;

/// Where `struct linux_dirent64` has its length and its name.
const LENGTH_AT: usize = 16;
const NAME_AT: usize = 19;

/// Copies what the directory holds into the other.
pub(crate) fn copy(from: Fd, to: Fd) -> sys::Result<()> {
    let from = open_directory(from, c".".as_ptr())?;
    let copied = copy_directory(from, to, DEEPEST);
    sys::close_now(from);
    copied
}

fn open_directory(parent: Fd, name: *const c_char) -> sys::Result<Fd> {
    sys::open_name(parent, name, libc::O_RDONLY | libc::O_DIRECTORY, 0)
}

fn copy_directory(from: Fd, to: Fd, deeper: u32) -> sys::Result<()> {
    let mut entries = Entries {
        bytes: [0; 1024],
        filled: 0,
        next: 0,
    };
    while let Some(name) = entries.next(from)? {
        // What was removed meanwhile is not there to be copied.
        match copy_one(from, to, name, deeper) {
            Ok(()) | Err(Errno(libc::ENOENT)) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Names of a directory, a few at a time.
struct Entries {
    bytes: [u8; 1024],
    filled: usize,
    next: usize,
}

impl Entries {
    /// The next name, with its end, except `.` and `..`.
    fn next(&mut self, directory: Fd) -> sys::Result<Option<*const c_char>> {
        loop {
            if self.next >= self.filled {
                self.filled = sys::getdents(directory, &mut self.bytes)?;
                self.next = 0;
                if self.filled == 0 {
                    return Ok(None);
                }
            }
            let entry = self.bytes.get(self.next..self.filled).unwrap_or_default();
            let length = |at: usize| entry.get(at).copied().map_or(0, usize::from);
            let length = length(LENGTH_AT) | length(LENGTH_AT + 1) << 8;
            let name = entry.get(NAME_AT..length).unwrap_or_default();
            self.next += length.max(NAME_AT);
            match name {
                [] | [b'.', 0, ..] | [b'.', b'.', 0, ..] => {}
                // The kernel ends every name with a zero byte.
                name if name.iter().position(|byte| *byte == 0).is_some() => {
                    return Ok(Some(name.as_ptr().cast()));
                }
                _ => return Err(Errno(libc::EIO)),
            }
        }
    }
}

fn copy_one(from: Fd, to: Fd, name: *const c_char, deeper: u32) -> sys::Result<()> {
    let found = sys::stat_name(from, name)?;
    match found.mode & libc::S_IFMT {
        libc::S_IFDIR => {
            sys::mkdirat(to, name, 0o700)?;
            copy_below(from, to, name, deeper)?;
        }
        libc::S_IFREG => copy_file(from, to, name)?,
        libc::S_IFLNK => return copy_link(from, to, name, found),
        // Device nodes, which a user namespace may not make; FIFOs and sockets.
        kind => match sys::mknodat(to, name, kind | 0o600, found.number) {
            Err(Errno(libc::EPERM)) => return Ok(()),
            made => drop(made?),
        },
    }
    // The owner first: changing it takes the set-user-ID bit away.
    chown(to, name, found)?;
    sys::chmod_name(to, name, found.mode & 0o7777).map(drop)
}

/// An id that the user namespace does not have cannot be given.
fn chown(to: Fd, name: *const c_char, found: sys::Stat) -> sys::Result<()> {
    match sys::chown_name(to, name, found.uid, found.gid) {
        Ok(_) | Err(Errno(libc::EINVAL)) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn copy_below(from: Fd, to: Fd, name: *const c_char, deeper: u32) -> sys::Result<()> {
    if deeper == 0 {
        return Err(Errno(libc::ENAMETOOLONG));
    }
    let from = open_directory(from, name)?;
    let copied = open_directory(to, name).and_then(|to| {
        let copied = copy_directory(from, to, deeper - 1);
        sys::close_now(to);
        copied
    });
    sys::close_now(from);
    copied
}

fn copy_file(from: Fd, to: Fd, name: *const c_char) -> sys::Result<()> {
    // Should it be a FIFO or a terminal by now, opening it must not wait or make it ours.
    let reading = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let from = sys::open_name(from, name, reading, 0)?;
    let writing = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
    let copied = sys::open_name(to, name, writing, 0o600).and_then(|to| {
        let copied = copy_content(from, to);
        sys::close_now(to);
        copied
    });
    sys::close_now(from);
    copied
}

fn copy_content(from: Fd, to: Fd) -> sys::Result<()> {
    if sys::stat(from, c"")?.mode & libc::S_IFMT != libc::S_IFREG {
        return Err(Errno(libc::EIO));
    }
    while sys::copy(from, to, PORTION)? > 0 {}
    Ok(())
}

fn copy_link(from: Fd, to: Fd, name: *const c_char, found: sys::Stat) -> sys::Result<()> {
    let mut text = [0_u8; libc::PATH_MAX as usize];
    let length = sys::readlinkat(from, name, &mut text)?;
    match text.get_mut(length) {
        Some(end) => *end = 0,
        None => return Err(Errno(libc::ENAMETOOLONG)),
    }
    sys::symlink_name(text.as_ptr().cast(), to, name)?;
    chown(to, name, found)
}
