//! Making what a mount or a device needs below the root: by descriptor, never leaving it.

use crate::orders::{Fd, Make};
use crate::paths::{find, find_plain, open, open_plain};
use crate::sys::{self, Errno};
use core::ffi::{CStr, c_char};

/// As many links as the kernel follows on one path.
const MOST_LINKS: u32 = 40;

/// A target, and whether it had to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) fd: Fd,
    pub(crate) made: bool,
}

/// Opens a path below `root`, making what is missing of it: directories on the way, and at its
/// end what `make` says.
pub(crate) fn find_or_make(root: Fd, path: &CStr, make: Make) -> sys::Result<Target> {
    let path = if path.is_empty() { c"." } else { path };
    match find(root, path) {
        Err(Errno(libc::ENOENT)) => make_missing(root, Path::of(path)?, make),
        found => Ok(Target {
            fd: found?,
            made: false,
        }),
    }
}

/// The same for a path with no symbolic link on it, of which no more than the last name is missing:
/// ELOOP and ENOENT for all others. What it finds is where the path says, and nowhere else.
pub(crate) fn find_or_make_plain(root: Fd, path: &CStr, make: Make) -> sys::Result<Target> {
    match find_plain(root, path) {
        Err(Errno(libc::ENOENT)) => {}
        found => {
            return Ok(Target {
                fd: found?,
                made: false,
            });
        }
    }
    let bytes = path.to_bytes();
    let slash = bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let mut directory = Path::new();
    directory.push(bytes.get(..slash).unwrap_or_default())?;
    let name = path.to_bytes_with_nul().get(slash + 1..);
    let (Some(name), true) = (name.map(<[u8]>::as_ptr), slash > 0) else {
        return Err(Errno(libc::ENOENT));
    };
    let directory = open_plain(root, directory.as_ptr(), libc::O_DIRECTORY)?;
    // "a/.." or "a/" cannot be made, and is for those who walk.
    let target = make_one(directory, name.cast(), make)
        .and_then(|()| open_plain(directory, name.cast(), kind(make)));
    sys::close(directory);
    Ok(Target {
        fd: target?,
        made: true,
    })
}

/// A path in a buffer of its own, always with an end.
struct Path {
    bytes: [u8; libc::PATH_MAX as usize],
    length: usize,
}

impl Path {
    fn new() -> Path {
        Path {
            bytes: [0; libc::PATH_MAX as usize],
            length: 0,
        }
    }

    fn of(path: &CStr) -> sys::Result<Path> {
        let mut copy = Path::new();
        copy.push(path.to_bytes())?;
        Ok(copy)
    }

    fn push(&mut self, bytes: &[u8]) -> sys::Result<()> {
        let end = self.length + bytes.len();
        // One more for the end.
        let room = self.bytes.get_mut(self.length..=end);
        let room = room.ok_or(Errno(libc::ENAMETOOLONG))?;
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.length = end;
        self.end_at(end);
        Ok(())
    }

    fn end_at(&mut self, index: usize) {
        if let Some(place) = self.bytes.get_mut(index) {
            *place = 0;
        }
    }

    /// Adds a name; the path is without a leading slash, and empty for the root.
    fn push_name(&mut self, name: &[u8]) -> sys::Result<()> {
        if self.length > 0 {
            self.push(b"/")?;
        }
        self.push(name)
    }

    /// Takes the last name off; the root stays the root.
    fn pop(&mut self) {
        while self.length > 0 {
            self.length -= 1;
            let last = self.bytes.get(self.length).copied();
            self.end_at(self.length);
            if last == Some(b'/') {
                break;
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn as_ptr(&self) -> *const c_char {
        if self.length == 0 {
            return c".".as_ptr();
        }
        self.bytes.as_ptr().cast()
    }
}

/// Where a walk stands: what is real so far, and what is still to be looked at.
struct Walk {
    done: Path,
    rest: Path,
    /// How much of `rest` was taken.
    taken: usize,
    links: u32,
    made: bool,
}

/// Walks the path name by name, and follows links by hand: the last of them may lead to what is
/// not there yet, which is then made where it points to, inside the root. Each directory is
/// resolved anew from the root, so whatever is swapped meanwhile leads nowhere else; only the one
/// missing name is made, in a directory held by descriptor (CVE-2024-45310).
fn make_missing(root: Fd, path: Path, make: Make) -> sys::Result<Target> {
    let mut walk = Walk {
        done: Path::new(),
        rest: path,
        taken: 0,
        links: 0,
        made: false,
    };
    while let Some(name) = walk.next()? {
        let directory = open(root, walk.done.as_ptr(), libc::O_PATH | libc::O_DIRECTORY)?;
        let step = walk.step(root, directory, &name, make);
        sys::close(directory);
        step?;
    }
    Ok(Target {
        fd: open(root, walk.done.as_ptr(), libc::O_PATH | kind(make))?,
        made: walk.made,
    })
}

impl Walk {
    /// The next name that is one.
    fn next(&mut self) -> sys::Result<Option<Path>> {
        loop {
            let rest = self.rest.bytes().get(self.taken..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(None);
            }
            let length = rest.iter().take_while(|byte| **byte != b'/').count();
            let mut name = Path::new();
            name.push(rest.get(..length).unwrap_or_default())?;
            self.taken = (self.taken + length + 1).min(self.rest.length);
            match name.bytes() {
                b"" | b"." => {}
                b".." => self.done.pop(),
                _ => return Ok(Some(name)),
            }
        }
    }

    fn is_last(&self) -> bool {
        let rest = self.rest.bytes().get(self.taken..).unwrap_or_default();
        rest.iter().all(|byte| *byte == b'/')
    }

    fn step(&mut self, root: Fd, directory: Fd, name: &Path, make: Make) -> sys::Result<()> {
        let mut target = [0_u8; libc::PATH_MAX as usize];
        match sys::readlinkat(directory, name.as_ptr(), &mut target) {
            Ok(length) => {
                self.refuse_magic(root, name)?;
                return self.follow(target.get(..length).unwrap_or_default());
            }
            // Something else than a link.
            Err(Errno(libc::EINVAL)) => {}
            Err(Errno(libc::ENOENT)) => {
                let what = if self.is_last() {
                    make
                } else {
                    Make::Directory
                };
                make_one(directory, name.as_ptr(), what)?;
                self.made = true;
            }
            Err(errno) => return Err(errno),
        }
        self.done.push_name(name.bytes())
    }

    /// The text of a magic link of procfs is not where it leads, and where that is nobody may go.
    fn refuse_magic(&self, root: Fd, name: &Path) -> sys::Result<()> {
        let mut link = Path::new();
        link.push(self.done.bytes())?;
        link.push_name(name.bytes())?;
        match open(root, link.as_ptr(), libc::O_PATH) {
            Err(Errno(libc::ELOOP)) => Err(Errno(libc::ELOOP)),
            Ok(found) => {
                sys::close(found);
                Ok(())
            }
            // Nowhere: that is why it is followed by hand.
            Err(_) => Ok(()),
        }
    }

    fn follow(&mut self, target: &[u8]) -> sys::Result<()> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno(libc::ELOOP));
        }
        if target.first() == Some(&b'/') {
            self.done = Path::new();
        }
        let mut rest = Path::new();
        rest.push(target)?;
        rest.push(b"/")?;
        rest.push(self.rest.bytes().get(self.taken..).unwrap_or_default())?;
        self.rest = rest;
        self.taken = 0;
        Ok(())
    }
}

fn make_one(directory: Fd, name: *const c_char, make: Make) -> sys::Result<()> {
    let made = match make {
        Make::Directory => sys::mkdirat(directory, name, 0o755),
        Make::File => sys::mknodat(directory, name, libc::S_IFREG | 0o644, 0),
    };
    match made {
        // Made by somebody else meanwhile: what it is shows when it is opened.
        Ok(_) | Err(Errno(libc::EEXIST)) => Ok(()),
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

/// The directory a path ends in, made where it is missing, and the name at its end.
pub(crate) fn find_parent(root: Fd, path: &CStr) -> sys::Result<(Fd, *const c_char)> {
    let bytes = path.to_bytes_with_nul();
    let slash = path.to_bytes().iter().rposition(|byte| *byte == b'/');
    let name = slash.map_or(0, |slash| slash + 1);
    let mut directory = Path::new();
    directory.push(bytes.get(..slash.unwrap_or(0)).unwrap_or_default())?;
    let name = bytes
        .get(name..)
        .map_or(c"".as_ptr(), |name| name.as_ptr().cast());
    let found = open(root, directory.as_ptr(), libc::O_PATH | libc::O_DIRECTORY);
    let directory = match found {
        Err(Errno(libc::ENOENT)) => make_missing(root, directory, Make::Directory)?.fd,
        found => found?,
    };
    Ok((directory, name))
}

/// As [`find_or_make`], but a link at the end of the path is itself the target.
pub(crate) fn find_or_make_unfollowed(root: Fd, path: &CStr, make: Make) -> sys::Result<Target> {
    let (directory, name) = find_parent(root, path)?;
    let target = match sys::open_name(directory, name, libc::O_PATH, 0) {
        Err(Errno(libc::ENOENT)) => make_one(directory, name, make)
            .and_then(|()| sys::open_name(directory, name, libc::O_PATH, 0))
            .map(|fd| Target { fd, made: true }),
        found => found.map(|fd| Target { fd, made: false }),
    };
    sys::close(directory);
    target
}

/// Makes a link with this text; one that stands there already must have the same.
pub(crate) fn make_link(root: Fd, path: &CStr, text: &CStr) -> sys::Result<()> {
    let (directory, name) = find_parent(root, path)?;
    let mut found = [0_u8; libc::PATH_MAX as usize];
    let made = match sys::symlink_name(text.as_ptr(), directory, name) {
        Err(Errno(libc::EEXIST)) => sys::readlinkat(directory, name, &mut found)
            .map(|length| found.get(..length) == Some(text.to_bytes())),
        made => made.map(|_| true),
    };
    sys::close(directory);
    if made? {
        Ok(())
    } else {
        Err(Errno(libc::EEXIST))
    }
}
