//! Finding and making files below the root: by descriptor, never leaving it.

use crate::orders::{Fd, Make};
use crate::sys::{self, Errno};
use core::ffi::{CStr, c_char};

/// Absolute links, `..` and links of links all end inside the root; `/proc/PID/fd` and its like
/// are refused, because they lead anywhere (CVE-2024-21626, CVE-2025-52881).
const INSIDE: u64 = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;

/// How often a path may be swapped under us before we call it an attack.
const PATIENCE: u32 = 128;

/// Opens a path below `root` (no leading slash; empty for the root itself) as `O_PATH`.
pub(crate) fn find(root: Fd, path: &CStr) -> sys::Result<Fd> {
    open(root, path.as_ptr(), libc::O_PATH)
}

/// The same for a path with no symbolic link on it; ELOOP where there is one.
pub(crate) fn find_plain(root: Fd, path: &CStr) -> sys::Result<Fd> {
    let plain = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS;
    retry(|| sys::openat2(root, path.as_ptr(), libc::O_PATH, plain))
}

/// Opens a path below `root` with these flags.
pub(crate) fn open(root: Fd, path: *const c_char, flags: i32) -> sys::Result<Fd> {
    retry(|| sys::openat2(root, path, flags, INSIDE))
}

/// `openat2(2)` answers EAGAIN where a rename elsewhere made it unsure.
fn retry(attempt: impl Fn() -> sys::Result<Fd>) -> sys::Result<Fd> {
    for _ in 0..PATIENCE {
        match attempt() {
            Err(Errno(libc::EAGAIN)) => {}
            other => return other,
        }
    }
    Err(Errno(libc::EAGAIN))
}

/// Opens a path below `root`, making what is missing of it: directories on the way, and at its
/// end what `make` says.
pub(crate) fn find_or_make(root: Fd, path: &CStr, make: Make) -> sys::Result<Fd> {
    let path = if path.is_empty() { c"." } else { path };
    match find(root, path) {
        Err(Errno(libc::ENOENT)) => make_missing(root, path, make),
        other => other,
    }
}

/// A copy of a path whose slashes can be turned into ends, one after another.
struct Prefixes {
    bytes: [u8; libc::PATH_MAX as usize],
    length: usize,
}

impl Prefixes {
    fn of(path: &CStr) -> sys::Result<Prefixes> {
        let source = path.to_bytes();
        let mut bytes = [0; libc::PATH_MAX as usize];
        if source.len() >= bytes.len() {
            return Err(Errno(libc::ENAMETOOLONG));
        }
        for (to, from) in bytes.iter_mut().zip(source) {
            *to = *from;
        }
        Ok(Prefixes {
            bytes,
            length: source.len(),
        })
    }

    fn set(&mut self, index: usize, byte: u8) {
        if let Some(place) = self.bytes.get_mut(index) {
            *place = byte;
        }
    }

    fn is_slash(&self, index: usize) -> bool {
        self.bytes.get(index) == Some(&b'/')
    }

    fn from(&self, index: usize) -> *const c_char {
        self.bytes
            .get(index..)
            .map_or(c"".as_ptr(), |rest| rest.as_ptr().cast())
    }

    /// Where the last name begins.
    fn last_name(&self) -> usize {
        let mut name = 0;
        for index in 0..self.length {
            if self.is_slash(index) {
                name = index + 1;
            }
        }
        name
    }
}

/// Mostly only the last name is missing; then its directory is found at once.
fn make_missing(root: Fd, path: &CStr, make: Make) -> sys::Result<Fd> {
    let mut prefixes = Prefixes::of(path)?;
    let name = prefixes.last_name();
    if name == 0 {
        return make_one(root, root, prefixes.from(0), prefixes.from(0), make);
    }
    prefixes.set(name - 1, 0);
    let parent = open(root, prefixes.from(0), libc::O_PATH | libc::O_DIRECTORY);
    prefixes.set(name - 1, b'/');
    match parent {
        Ok(parent) => {
            let made = make_one(root, parent, prefixes.from(0), prefixes.from(name), make);
            sys::close(parent);
            made
        }
        Err(Errno(libc::ENOENT)) => make_all(root, &mut prefixes, make),
        Err(errno) => Err(errno),
    }
}

/// Walks the path prefix by prefix. Each is resolved anew from the root, so a link met on the way
/// is resolved inside it; only the one missing name is made, in a directory held by descriptor.
fn make_all(root: Fd, prefixes: &mut Prefixes, make: Make) -> sys::Result<Fd> {
    let mut parent = root;
    let mut start = 0;
    for end in 0..=prefixes.length {
        let last = end == prefixes.length;
        if !last && !prefixes.is_slash(end) {
            continue;
        }
        if end > start {
            prefixes.set(end, 0);
            let what = if last { make } else { Make::Directory };
            let next = find_or_make_one(root, parent, prefixes.from(0), prefixes.from(start), what);
            if parent != root {
                sys::close(parent);
            }
            parent = next?;
            if !last {
                prefixes.set(end, b'/');
            }
        }
        start = end + 1;
    }
    Ok(parent)
}

fn find_or_make_one(
    root: Fd,
    parent: Fd,
    prefix: *const c_char,
    name: *const c_char,
    make: Make,
) -> sys::Result<Fd> {
    match open(root, prefix, libc::O_PATH | kind(make)) {
        Err(Errno(libc::ENOENT)) => make_one(root, parent, prefix, name, make),
        other => other,
    }
}

fn make_one(
    root: Fd,
    parent: Fd,
    prefix: *const c_char,
    name: *const c_char,
    make: Make,
) -> sys::Result<Fd> {
    let made = match make {
        Make::Directory => sys::mkdirat(parent, name, 0o755),
        Make::File => sys::mknodat(parent, name, libc::S_IFREG | 0o644, 0),
    };
    match made {
        // Made by somebody else meanwhile, or a link that leads nowhere: the next line tells.
        Ok(_) | Err(Errno(libc::EEXIST)) => open(root, prefix, libc::O_PATH | kind(make)),
        Err(errno) => Err(errno),
    }
}

fn kind(make: Make) -> i32 {
    if make == Make::Directory {
        libc::O_DIRECTORY
    } else {
        0
    }
}
