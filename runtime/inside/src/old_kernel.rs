//! Kernels before Linux 5.12, which have no `mount_setattr(2)`: `mount(2)` instead, on the path of
//! our own descriptor in a procfs that was checked to be one.
//!
//! It only reaches mounts of our own mount namespace, so what is changed must be attached first.

use crate::orders::Fd;
use crate::sys::{self, Errno};
use core::ffi::c_char;

/// `MOUNT_ATTR__ATIME`, the field of how access times are kept.
const ATIME: u64 = 0x70;
const ATIME_NONE: u64 = 0x10;
const ATIME_STRICT: u64 = 0x20;
const NO_DIRECTORY_ATIME: u64 = 0x80;
const NO_SYMLINKS: u64 = 0x20_0000;

/// Does what `mount_setattr(2)` would have done; ENOSYS where only that can do it: to a mount that
/// is attached nowhere, or to the attributes of all mounts of a tree.
pub(crate) fn change(tree: Fd, attributes: [u64; 4], recursive: bool) -> sys::Result<i32> {
    let [set, clear, propagation, namespace] = attributes;
    let flags = set | clear;
    if namespace != 0 || (flags != 0 && recursive) {
        return Err(Errno(libc::ENOSYS));
    }
    let here = sys::openat2(Fd(libc::AT_FDCWD), c".".as_ptr(), libc::O_PATH, 0)?;
    let changed = enter_proc().and_then(|()| {
        if flags != 0 {
            remount(tree, set, clear)?;
        }
        if propagation != 0 {
            let all = if recursive { libc::MS_REC } else { 0 };
            by_path(tree, propagation | all)?;
        }
        Ok(0)
    });
    let back = sys::fchdir(here);
    sys::close(here);
    back.and(changed)
}

/// The host's: our root is still its root, and nobody in the container has a say there.
fn enter_proc() -> sys::Result<()> {
    const PROC_SUPER_MAGIC: u64 = 0x9fa0;
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let proc = sys::openat2(Fd(libc::AT_FDCWD), c"/proc".as_ptr(), flags, 0)?;
    let entered = match sys::filesystem_magic(proc)? {
        PROC_SUPER_MAGIC => sys::fchdir(proc).map(drop),
        _ => Err(Errno(libc::ENOSYS)),
    };
    sys::close(proc);
    entered
}

/// `mount(2)` replaces all flags at once, so those that stay are asked for again. Times of access
/// stay as they are where nothing is said about them.
fn remount(tree: Fd, set: u64, clear: u64) -> sys::Result<()> {
    const SAME: u64 = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    const ST_NOSYMFOLLOW: u64 = 0x2000;
    const MS_NOSYMFOLLOW: u64 = 256;
    let now = sys::filesystem_flags(tree)?;
    // These four are the same number everywhere.
    let mut flags = (now & SAME & !clear) | (set & SAME);
    let no_links = now & ST_NOSYMFOLLOW != 0 && clear & NO_SYMLINKS == 0;
    if no_links || set & NO_SYMLINKS != 0 {
        flags |= MS_NOSYMFOLLOW;
    }
    flags |= times(now, set, clear);
    by_path(tree, flags | libc::MS_REMOUNT | libc::MS_BIND)
}

fn times(now: u64, set: u64, clear: u64) -> u64 {
    // The only one whose number differs from that of mount(2).
    const ST_RELATIME: u64 = 4096;
    if (set | clear) & (ATIME | NO_DIRECTORY_ATIME) == 0 {
        return 0;
    }
    let files = match (clear & ATIME, set & ATIME) {
        (0, 0) if now & libc::MS_NOATIME != 0 => libc::MS_NOATIME,
        (0, 0) if now & ST_RELATIME != 0 => libc::MS_RELATIME,
        (0, 0) | (_, ATIME_STRICT) => libc::MS_STRICTATIME,
        (_, ATIME_NONE) => libc::MS_NOATIME,
        _ => libc::MS_RELATIME,
    };
    let stays = now & libc::MS_NODIRATIME != 0 && clear & NO_DIRECTORY_ATIME == 0;
    if stays || set & NO_DIRECTORY_ATIME != 0 {
        return files | libc::MS_NODIRATIME;
    }
    files
}

/// From within a procfs: nobody can put another mount behind our own descriptor's name.
fn by_path(tree: Fd, flags: u64) -> sys::Result<()> {
    let name = Name::of(tree);
    match sys::change_mount(name.as_ptr(), flags) {
        // It is in no mount namespace, or in another.
        Err(Errno(libc::EINVAL)) => Err(Errno(libc::ENOSYS)),
        other => other.map(drop),
    }
}

/// `self/fd/N`, with its end.
struct Name([u8; 24]);

impl Name {
    fn of(fd: Fd) -> Name {
        let mut name = [0; 24];
        let mut digits = [b'0'; 10];
        let mut rest = fd.0.unsigned_abs();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
        let start = digits.iter().take(9).take_while(|digit| **digit == b'0');
        let number = digits.iter().skip(start.count());
        for (to, from) in name.iter_mut().zip(b"self/fd/".iter().chain(number)) {
            *to = *from;
        }
        Name(name)
    }

    fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_has_its_name() {
        for (number, name) in [(0, "self/fd/0"), (7, "self/fd/7"), (100, "self/fd/100")] {
            let bytes = Name::of(Fd(number)).0;
            let end = bytes.iter().position(|byte| *byte == 0);
            assert_eq!(end.and_then(|end| bytes.get(..end)), Some(name.as_bytes()));
        }
        let longest = Name::of(Fd(i32::MAX)).0;
        assert!(longest.starts_with(b"self/fd/2147483647\0"));
    }

    #[test]
    fn times_of_access_stay_where_nothing_is_said() {
        assert_eq!(times(libc::MS_NOATIME, 0, 0), 0);
        assert_eq!(
            times(libc::MS_NOATIME, ATIME_STRICT, ATIME),
            libc::MS_STRICTATIME
        );
        assert_eq!(times(libc::MS_NOATIME, 0, ATIME), libc::MS_RELATIME);
        let both = libc::MS_NOATIME | libc::MS_NODIRATIME;
        assert_eq!(times(libc::MS_NOATIME, NO_DIRECTORY_ATIME, 0), both);
        assert_eq!(times(both, 0, NO_DIRECTORY_ATIME), libc::MS_NOATIME);
        assert_eq!(
            times(0, NO_DIRECTORY_ATIME, 0),
            libc::MS_STRICTATIME | libc::MS_NODIRATIME
        );
    }
}
