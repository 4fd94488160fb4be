//! A process beside ours: started, watched, ended.

use super::{Errno, Result, best_effort, call, check};
use crate::orders::Fd;
use core::ffi::CStr;
use core::mem::{size_of, zeroed};
use core::ptr::null;

/// A process that was started to run a helper.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Helper {
    pid: i32,
    /// Closed by [`reap`].
    pub(crate) pidfd: Fd,
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Code(i32),
    Signal(i32),
}

/// `clone(2)` with a memory of its own and a pidfd. `Ok(None)` in the new process, with every signal
/// blocked, so that no handler of an embedder runs there; it unblocks them when none is left.
///
/// The old call and not `clone3(2)`, which default filters of containers do not let pass.
pub(crate) fn clone_helper() -> Result<Option<Helper>> {
    let mut pidfd: i32 = -1;
    let old = block_signals()?;
    let flags = libc::CLONE_PIDFD | libc::SIGCHLD;
    let (no_stack, none) = (0_u64, 0_u64);
    let cloned = call!(
        libc::SYS_clone,
        u64::from(flags.cast_unsigned()),
        no_stack,
        &raw mut pidfd,
        none,
        none
    );
    if cloned == Ok(0) {
        return Ok(None);
    }
    best_effort(set_mask(old));
    Ok(Some(Helper {
        pid: cloned?,
        pidfd: Fd(pidfd),
    }))
}

fn block_signals() -> Result<u64> {
    let mut old: u64 = 0;
    let all = u64::MAX;
    call!(
        libc::SYS_rt_sigprocmask,
        libc::SIG_SETMASK,
        &raw const all,
        &raw mut old,
        size_of::<u64>()
    )?;
    Ok(old)
}

fn set_mask(mask: u64) -> Result<i32> {
    call!(
        libc::SYS_rt_sigprocmask,
        libc::SIG_SETMASK,
        &raw const mask,
        null::<u64>(),
        size_of::<u64>()
    )
}

/// `kill(2)` of its session, which is its process group too unless it left that.
pub(crate) fn kill_session(helper: Helper) {
    best_effort(call!(libc::SYS_kill, -helper.pid, libc::SIGKILL));
    best_effort(call!(libc::SYS_kill, helper.pid, libc::SIGKILL));
}

/// `waitid(2)` for its end, whatever it was that it ran; closes the pidfd.
pub(crate) fn reap(helper: Helper) -> Result<End> {
    const P_PIDFD: i32 = 3;
    // SAFETY: all zeroes is a valid siginfo.
    let mut info: libc::siginfo_t = unsafe { zeroed() };
    let waited = loop {
        match call!(
            libc::SYS_waitid,
            P_PIDFD,
            helper.pidfd.0,
            &raw mut info,
            libc::WEXITED | libc::__WALL,
            null::<libc::rusage>()
        ) {
            Err(Errno(libc::EINTR)) => {}
            other => break other,
        }
    };
    super::close_now(helper.pidfd);
    waited?;
    // SAFETY: the kernel filled it in for a child that ended.
    let status = unsafe { info.si_status() };
    Ok(if info.si_code == libc::CLD_EXITED {
        End::Code(status)
    } else {
        End::Signal(status)
    })
}

/// `ppoll(2)` of two descriptors for reading or hanging up; those below zero are never ready. The
/// kernel takes the time that passed off `left`, as it does for no caller of the C library.
pub(crate) fn poll_two(one: Fd, other: Fd, left: Option<&mut [i64; 2]>) -> Result<[bool; 2]> {
    let entry = |fd: Fd| libc::pollfd {
        fd: fd.0,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut fds = [entry(one), entry(other)];
    let (no_mask, size) = (null::<u64>(), size_of::<u64>());
    let first = fds.as_mut_ptr();
    match left {
        Some(left) => call!(
            libc::SYS_ppoll,
            first,
            2_u64,
            left.as_mut_ptr(),
            no_mask,
            size
        ),
        None => call!(libc::SYS_ppoll, first, 2_u64, null::<i64>(), no_mask, size),
    }?;
    let [one, other] = fds;
    Ok([one.revents != 0, other.revents != 0])
}

/// `pipe2(2)`: the end to read from, the end to write to; both close on exec.
pub(crate) fn pipe() -> Result<(Fd, Fd)> {
    let mut ends: [i32; 2] = [-1; 2];
    call!(libc::SYS_pipe2, ends.as_mut_ptr(), libc::O_CLOEXEC)?;
    let [out, into] = ends;
    Ok((Fd(out), Fd(into)))
}

/// `memfd_create(2)`.
pub(crate) fn memory_file(name: &CStr) -> Result<Fd> {
    call!(libc::SYS_memfd_create, name.as_ptr(), libc::MFD_CLOEXEC).map(Fd)
}

/// `lseek(2)` to the beginning.
pub(crate) fn rewind(fd: Fd) -> Result<i32> {
    call!(libc::SYS_lseek, fd.0, 0_i64, libc::SEEK_SET)
}

/// `getpid(2)`, as our own pid namespace counts.
pub(crate) fn getpid() -> i32 {
    call!(libc::SYS_getpid).unwrap_or(0)
}
