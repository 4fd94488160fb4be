//! A copy of this process, and what it gives up before it meets what strangers made.

use super::check;
use libc::sock_filter;
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// `fork(2)`: the child's number in the parent, nothing in the child.
///
/// The child goes on with all of the program, so the caller must have but one thread: what another
/// one had locked, nobody would unlock.
pub(crate) fn fork() -> rustix::io::Result<Option<i32>> {
    // SAFETY: the process has one thread, so its copy finds no lock taken and no state half-done.
    let pid = check(libc::c_long::from(unsafe { libc::fork() }))?;
    Ok(i32::try_from(pid).ok().filter(|pid| *pid != 0))
}

/// `_exit(2)`: without destructors and handlers, which are the parent's.
pub(crate) fn leave(status: i32) -> ! {
    // SAFETY: no preconditions.
    unsafe { libc::_exit(status) }
}

/// Waits for a child; its wait status.
pub(crate) fn wait(pid: i32) -> rustix::io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: the status lives over the call.
        let waited = check(libc::c_long::from(unsafe {
            libc::waitpid(pid, &raw mut status, 0)
        }));
        match waited {
            Err(Errno::INTR) => {}
            other => return other.map(|_| status),
        }
    }
}

/// Makes the first three descriptors this one.
pub(crate) fn set_standard(fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    for number in 0..3 {
        // SAFETY: no memory is involved; what the numbers were is given up.
        check(libc::c_long::from(unsafe {
            libc::dup2(fd.as_raw_fd(), number)
        }))?;
    }
    Ok(())
}

/// `close_range(2)`: closes everything but the first three descriptors and these.
pub(crate) fn close_others(mut kept: Vec<RawFd>) -> rustix::io::Result<()> {
    kept.sort_unstable();
    let mut from = 3;
    for fd in kept {
        if fd > from {
            close(from, fd - 1)?;
        }
        from = from.max(fd + 1);
    }
    close(from, RawFd::MAX)
}

fn close(first: RawFd, last: RawFd) -> rustix::io::Result<()> {
    // SAFETY: no memory is involved; who owned these numbers is never heard of again in this copy.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// `seccomp(2)`: a filter for this thread and all it makes.
pub(crate) fn install_filter(program: &[sock_filter]) -> rustix::io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_long| Errno::INVAL)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads as many instructions as there are, and keeps a copy.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    check(result).map(drop)
}
