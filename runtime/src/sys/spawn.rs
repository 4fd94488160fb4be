//! Starting another program with surroundings of its own: `fork(2)`, a few raw calls, `execve(2)`.

use rustix::io::Errno;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

/// What the program gets that the caller has not.
#[derive(Debug, Default)]
pub(crate) struct Surroundings<'a> {
    /// Its cgroup: an open `cgroup.procs`.
    pub(crate) cgroup_procs: Option<BorrowedFd<'a>>,
    /// A directory to be a mount point, in mounts of its own, which the caller's never see.
    pub(crate) mount_point: Option<&'a CStr>,
    /// Descriptors to stay open, under their numbers.
    pub(crate) kept: Vec<BorrowedFd<'a>>,
}

/// Starts it with `socket` open.
pub(crate) fn spawn(
    command: &mut Command,
    socket: BorrowedFd<'_>,
    surroundings: &Surroundings<'_>,
) -> io::Result<Child> {
    let kept: Vec<RawFd> = surroundings
        .kept
        .iter()
        .map(AsRawFd::as_raw_fd)
        .chain([socket.as_raw_fd()])
        .collect();
    let procs = surroundings.cgroup_procs.map(|fd| fd.as_raw_fd());
    let point = surroundings.mount_point.map(CStr::to_owned);
    let prepare = move || -> io::Result<()> {
        unblock_signals()?;
        for fd in &kept {
            // SAFETY: F_SETFD reads no memory; the number was open when we were forked.
            checked(unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) })?;
        }
        if let Some(procs) = procs {
            // SAFETY: one byte of a constant is read.
            let written = unsafe { libc::write(procs, c"0".as_ptr().cast(), 1) };
            checked(i32::try_from(written).unwrap_or(-1))?;
        }
        if let Some(point) = &point {
            own_mounts(point)?;
        }
        Ok(())
    };
    // SAFETY: what runs between fork(2) and execve(2) makes raw calls and allocates nothing: an
    // error holds an errno only.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}

/// What the caller reads from a descriptor, the program is to hear.
fn unblock_signals() -> io::Result<()> {
    let none = 0_u64;
    let how = libc::SIG_SETMASK;
    let (set, old) = (&raw const none, std::ptr::null_mut::<u64>());
    // SAFETY: the kernel reads the eight bytes of a local, and a null pointer stands for no answer.
    let set = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, set, old, size_of::<u64>()) };
    checked(i32::try_from(set).unwrap_or(-1))
}

/// A mount namespace of our own, in which a directory is mounted on itself.
fn own_mounts(point: &CStr) -> io::Result<()> {
    const SLAVE: libc::c_ulong = libc::MS_SLAVE | libc::MS_REC;
    const BIND: libc::c_ulong = libc::MS_BIND | libc::MS_REC;
    // SAFETY: no memory is involved, and the forked process has one thread.
    checked(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount(c"/", SLAVE)?;
    mount(point, BIND)
}

fn mount(path: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    let (from, none) = (path.as_ptr(), std::ptr::null());
    // SAFETY: the path lives over the call, and a null pointer stands for no type and no data.
    checked(unsafe { libc::mount(from, from, none, flags, none.cast()) })
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result >= 0 {
        return Ok(());
    }
    let errno = io::Error::last_os_error().raw_os_error();
    Err(Errno::from_raw_os_error(errno.unwrap_or(libc::EIO)).into())
}
