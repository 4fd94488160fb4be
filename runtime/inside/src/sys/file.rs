//! Files, directories and terminals.

use super::{Result, best_effort, call, check};
use crate::orders::Fd;
use core::ffi::{CStr, c_char};
use core::mem::{size_of, zeroed};

/// `close(2)`, for descriptors that would otherwise run out. Every descriptor of the room closes
/// on exec, and the kernel does that in one go; one by one they would be a tenth of all calls.
pub(crate) fn close(fd: Fd) {
    const LEFT_TO_EXEC: i32 = 200;
    if fd.0 >= LEFT_TO_EXEC {
        close_now(fd);
    }
}

/// `close(2)` where the other end waits for it.
pub(crate) fn close_now(fd: Fd) {
    best_effort(call!(libc::SYS_close, fd.0));
}

/// `close_range(2)`: closes all from `first` on but these, which are in ascending order.
pub(crate) fn close_all_but(first: u32, kept: &[Fd]) {
    let mut from = first;
    for fd in kept {
        let number = fd.0.unsigned_abs();
        if number > from {
            best_effort(call!(libc::SYS_close_range, from, number - 1, 0_u32));
        }
        from = from.max(number.saturating_add(1));
    }
    best_effort(call!(libc::SYS_close_range, from, u32::MAX, 0_u32));
}

/// `close_range(2)`: from `first` on, everything closes on exec.
pub(crate) fn close_range_on_exec(first: u32) -> Result<i32> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    call!(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC)
}

/// `fcntl(2)` `F_SETFD`: one descriptor closes on exec.
pub(crate) fn close_on_exec(fd: Fd) -> Result<i32> {
    call!(libc::SYS_fcntl, fd.0, libc::F_SETFD, libc::FD_CLOEXEC)
}

/// `fchdir(2)`.
pub(crate) fn fchdir(fd: Fd) -> Result<i32> {
    call!(libc::SYS_fchdir, fd.0)
}

/// `chdir(2)` to the root.
pub(crate) fn chdir_root() -> Result<i32> {
    call!(libc::SYS_chdir, c"/".as_ptr())
}

/// `openat(2)` of one name that is never a symbolic link.
pub(crate) fn openat(directory: Fd, name: &CStr, flags: i32, mode: u32) -> Result<Fd> {
    let flags = flags | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    call!(libc::SYS_openat, directory.0, name.as_ptr(), flags, mode).map(Fd)
}

/// `openat2(2)`.
pub(crate) fn openat2(directory: Fd, path: *const c_char, flags: i32, resolve: u64) -> Result<Fd> {
    let flags = flags | libc::O_CLOEXEC;
    let how: [u64; 3] = [u64::from(flags.unsigned_abs()), 0, resolve];
    call!(
        libc::SYS_openat2,
        directory.0,
        path,
        &raw const how,
        size_of::<[u64; 3]>()
    )
    .map(Fd)
}

/// `faccessat2(2)`: whether the ids of this process, as they are in effect, may execute a file.
pub(crate) fn may_execute(path: *const c_char) -> Result<i32> {
    call!(
        libc::SYS_faccessat2,
        libc::AT_FDCWD,
        path,
        libc::X_OK,
        libc::AT_EACCESS
    )
}

/// `mkdirat(2)`.
pub(crate) fn mkdirat(directory: Fd, name: *const c_char, mode: u32) -> Result<i32> {
    call!(libc::SYS_mkdirat, directory.0, name, mode)
}

/// `mknodat(2)`.
pub(crate) fn mknodat(directory: Fd, name: *const c_char, mode: u32, number: u64) -> Result<i32> {
    call!(libc::SYS_mknodat, directory.0, name, mode, number)
}

/// `symlinkat(2)`.
pub(crate) fn symlinkat(target: &CStr, directory: Fd, name: &CStr) -> Result<i32> {
    call!(
        libc::SYS_symlinkat,
        target.as_ptr(),
        directory.0,
        name.as_ptr()
    )
}

/// `unlinkat(2)` of a name that is no directory.
pub(crate) fn unlinkat(directory: Fd, name: &CStr) -> Result<i32> {
    call!(libc::SYS_unlinkat, directory.0, name.as_ptr(), 0_i32)
}

/// `fchownat(2)` of a name, not of what it points to.
pub(crate) fn chown(directory: Fd, name: &CStr, uid: u32, gid: u32) -> Result<i32> {
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    call!(
        libc::SYS_fchownat,
        directory.0,
        name.as_ptr(),
        uid,
        gid,
        flags
    )
}

/// `fchown(2)`; a group of `u32::MAX` stays as it is.
pub(crate) fn fchown(fd: Fd, uid: u32, gid: u32) -> Result<i32> {
    call!(libc::SYS_fchown, fd.0, uid, gid)
}

/// What is known of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stat {
    /// Type and permissions.
    pub(crate) mode: u32,
    /// Device number of a device node.
    pub(crate) number: u64,
    pub(crate) inode: u64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// `newfstatat(2)` of the descriptor itself (empty name) or of a name in it, never followed.
pub(crate) fn stat(directory: Fd, name: &CStr) -> Result<Stat> {
    stat_name(directory, name.as_ptr())
}

/// The same of a name that is no string of ours.
pub(crate) fn stat_name(directory: Fd, name: *const c_char) -> Result<Stat> {
    // SAFETY: all zeroes is a valid stat.
    let mut stat: libc::stat = unsafe { zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    call!(
        libc::SYS_newfstatat,
        directory.0,
        name,
        &raw mut stat,
        flags
    )?;
    Ok(Stat {
        mode: stat.st_mode,
        number: stat.st_rdev,
        inode: stat.st_ino,
        uid: stat.st_uid,
        gid: stat.st_gid,
    })
}

/// A file system as the kernel describes it on 64-bit machines, `struct statfs`: in each C library some
/// of the fields are of another type.
#[repr(C)]
#[derive(Default)]
struct FileSystem {
    magic: u64,
    sizes: [u64; 9],
    flags: u64,
    spare: [u64; 4],
}

fn file_system(fd: Fd) -> Result<FileSystem> {
    let mut found = FileSystem::default();
    call!(libc::SYS_fstatfs, fd.0, &raw mut found)?;
    Ok(found)
}

/// `fstatfs(2)`: the magic number of the file system.
pub(crate) fn filesystem_magic(fd: Fd) -> Result<u64> {
    file_system(fd).map(|found| found.magic)
}

/// `fstatfs(2)`: `ST_*` flags of the mount.
pub(crate) fn filesystem_flags(fd: Fd) -> Result<u64> {
    file_system(fd).map(|found| found.flags)
}

/// `umask(2)`; returns the old one.
pub(crate) fn umask(mask: u32) -> u32 {
    call!(libc::SYS_umask, mask).map_or(0, i32::unsigned_abs)
}

/// `write(2)` of all bytes at once, as procfs files want it.
pub(crate) fn write(fd: Fd, bytes: &[u8]) -> Result<i32> {
    call!(libc::SYS_write, fd.0, bytes.as_ptr(), bytes.len())
}

/// `read(2)`; how many bytes came.
pub(crate) fn read(fd: Fd, bytes: &mut [u8]) -> Result<i32> {
    call!(libc::SYS_read, fd.0, bytes.as_mut_ptr(), bytes.len())
}

/// `dup3(2)` without close-on-exec.
pub(crate) fn dup_onto(fd: Fd, number: i32) -> Result<i32> {
    call!(libc::SYS_dup3, fd.0, number, 0_i32)
}

/// `dup3(2)` with close-on-exec.
pub(crate) fn replace(fd: Fd, number: Fd) -> Result<i32> {
    call!(libc::SYS_dup3, fd.0, number.0, libc::O_CLOEXEC)
}

/// `fcntl(2)`: is it open, and marked to close on exec?
pub(crate) fn closes_on_exec(fd: Fd) -> bool {
    call!(libc::SYS_fcntl, fd.0, libc::F_GETFD, 0_i32) == Ok(libc::FD_CLOEXEC)
}

/// `fcntl(2)`: a copy above the standard streams, which closes on exec.
pub(crate) fn dup_above(fd: Fd) -> Result<Fd> {
    call!(libc::SYS_fcntl, fd.0, libc::F_DUPFD_CLOEXEC, 3_i32).map(Fd)
}

/// `ioctl(2)` with a plain number.
pub(crate) fn ioctl_value(fd: Fd, request: libc::Ioctl, value: u64) -> Result<i32> {
    call!(libc::SYS_ioctl, fd.0, request, value)
}

/// `ioctl(2)` `TIOCSPTLCK`: unlock the terminal.
pub(crate) fn unlock_terminal(master: Fd) -> Result<i32> {
    let unlocked: i32 = 0;
    call!(
        libc::SYS_ioctl,
        master.0,
        libc::TIOCSPTLCK,
        &raw const unlocked
    )
}

/// `ioctl(2)` `TIOCSWINSZ`.
pub(crate) fn set_terminal_size(terminal: Fd, rows: u16, columns: u16) -> Result<i32> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    call!(
        libc::SYS_ioctl,
        terminal.0,
        libc::TIOCSWINSZ,
        &raw const size
    )
}
