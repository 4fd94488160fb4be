//! Processes: namespaces, identity, limits, filters.

use super::{Errno, Result, best_effort, call, check, exit};
use crate::orders::{Fd, Rlimit};
use core::ffi::{CStr, c_char};
use core::mem::{size_of, zeroed};
use core::ptr::{null, null_mut};

/// `setsid(2)`.
pub(crate) fn setsid() -> Result<i32> {
    call!(libc::SYS_setsid)
}

/// `getppid(2)`.
pub(crate) fn parent() -> Result<i32> {
    call!(libc::SYS_getppid)
}

/// `munmap(2)` from one address to another. Where nothing is mapped there is nothing to do.
pub(crate) fn unmap(from: usize, to: usize) {
    best_effort(call!(libc::SYS_munmap, from, to.saturating_sub(from)));
}

/// `prctl(2)` with one argument.
pub(crate) fn prctl(option: i32, argument: u64) -> Result<i32> {
    call!(libc::SYS_prctl, option, argument, 0_u64, 0_u64, 0_u64)
}

/// `prctl(2)` with two arguments.
pub(crate) fn prctl2(option: i32, first: u64, second: u64) -> Result<i32> {
    call!(libc::SYS_prctl, option, first, second, 0_u64, 0_u64)
}

/// `setns(2)`.
pub(crate) fn setns(fd: Fd, flags: i32) -> Result<i32> {
    call!(libc::SYS_setns, fd.0, flags)
}

/// `unshare(2)`.
pub(crate) fn unshare(flags: i32) -> Result<i32> {
    call!(libc::SYS_unshare, flags)
}

/// A process made by [`clone_sibling`].
#[derive(Clone, Copy)]
pub(crate) struct Sibling {
    /// In the pid namespace of its maker.
    pub(crate) pid: i32,
    pub(crate) pidfd: Fd,
}

/// `clone3(2)` as a sibling, with a pidfd. `Ok(None)` in the new process.
pub(crate) fn clone_sibling(flags: u64) -> Result<Option<Sibling>> {
    let mut pidfd: i32 = -1;
    let own = (libc::CLONE_PARENT | libc::CLONE_PIDFD) as u64;
    // No CLONE_VM: both processes go on with memory of their own.
    let made = if flags == 0 {
        // Filters can look into the flags of clone(2), so they let it through where they deny clone3(2).
        let nothing = null_mut::<u64>();
        call!(
            libc::SYS_clone,
            own,
            nothing,
            &raw mut pidfd,
            nothing,
            nothing
        )?
    } else {
        // SAFETY: all zeroes is a valid clone_args.
        let mut args: libc::clone_args = unsafe { zeroed() };
        args.flags = flags | own;
        args.pidfd = (&raw mut pidfd) as u64;
        call!(
            libc::SYS_clone3,
            &raw const args,
            size_of::<libc::clone_args>()
        )?
    };
    match made {
        0 => Ok(None),
        pid => Ok(Some(Sibling {
            pid,
            pidfd: Fd(pidfd),
        })),
    }
}

/// `sethostname(2)`.
pub(crate) fn sethostname(name: &[u8]) -> Result<i32> {
    call!(libc::SYS_sethostname, name.as_ptr(), name.len())
}

/// `setdomainname(2)`.
pub(crate) fn setdomainname(name: &[u8]) -> Result<i32> {
    call!(libc::SYS_setdomainname, name.as_ptr(), name.len())
}

/// `prlimit(2)` on ourselves.
pub(crate) fn set_rlimit(limit: &Rlimit) -> Result<i32> {
    let value: [u64; 2] = [limit.soft, limit.hard];
    call!(
        libc::SYS_prlimit64,
        0_i32,
        limit.resource,
        &raw const value,
        null_mut::<u64>()
    )
}

/// `prlimit(2)`: our own soft and hard limit.
pub(crate) fn rlimit(resource: u32) -> Result<(u64, u64)> {
    let mut value: [u64; 2] = [0; 2];
    call!(
        libc::SYS_prlimit64,
        0_i32,
        resource,
        null_mut::<u64>(),
        value.as_mut_ptr()
    )?;
    let [soft, hard] = value;
    Ok((soft, hard))
}

/// `keyctl(2)` `KEYCTL_JOIN_SESSION_KEYRING`.
pub(crate) fn join_session_keyring(name: &CStr) -> Result<i32> {
    const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
    call!(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr())
}

/// `setgroups(2)`, this thread only: there is no other.
pub(crate) fn setgroups(groups: &[u32]) -> Result<i32> {
    call!(libc::SYS_setgroups, groups.len(), groups.as_ptr())
}

/// `setresgid(2)`.
pub(crate) fn setresgid(gid: u32) -> Result<i32> {
    call!(libc::SYS_setresgid, gid, gid, gid)
}

/// `setresuid(2)`.
pub(crate) fn setresuid(uid: u32) -> Result<i32> {
    call!(libc::SYS_setresuid, uid, uid, uid)
}

/// `capset(2)`.
pub(crate) fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<i32> {
    const VERSION_3: u32 = 0x2008_0522;
    let low = |set: u64| (set & 0xffff_ffff) as u32;
    let high = |set: u64| (set >> 32) as u32;
    let header: [u32; 2] = [VERSION_3, 0];
    let data: [u32; 6] = [
        low(effective),
        low(permitted),
        low(inheritable),
        high(effective),
        high(permitted),
        high(inheritable),
    ];
    call!(libc::SYS_capset, &raw const header, &raw const data)
}

/// `seccomp(2)` `SECCOMP_SET_MODE_FILTER`.
pub(crate) fn install_filter(program: &[libc::sock_filter], flags: u32) -> Result<i32> {
    const SECCOMP_SET_MODE_FILTER: u32 = 1;
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(0),
        // The kernel only reads; the type is not const for historical reasons.
        filter: program.as_ptr().cast_mut(),
    };
    call!(
        libc::SYS_seccomp,
        SECCOMP_SET_MODE_FILTER,
        flags,
        &raw const filter
    )
}

/// `rt_sigprocmask(2)`: unblock everything; a payload starts with a clean mask.
pub(crate) fn unblock_signals() -> Result<i32> {
    let none: u64 = 0;
    call!(
        libc::SYS_rt_sigprocmask,
        libc::SIG_SETMASK,
        &raw const none,
        null_mut::<u64>(),
        size_of::<u64>()
    )
}

/// `rt_sigaction(2)`: the default action. Ignored signals would survive `execve(2)`.
pub(crate) fn reset_signal(number: u64) {
    let action: [u64; 4] = [0; 4];
    best_effort(call!(
        libc::SYS_rt_sigaction,
        number,
        &raw const action,
        null_mut::<u64>(),
        size_of::<u64>()
    ));
}

/// `rt_sigaction(2)`: the signal ends us, in process 1 of a pid namespace too. `execve(2)` undoes it.
pub(crate) fn end_by(number: u64) -> Result<i32> {
    // x86 delivers nothing to a handler without a restorer; ours never returns to one.
    const SA_RESTORER: u64 = 0x0400_0000;
    let handler: extern "C" fn(i32) -> ! = ended;
    let handler = handler as usize as u64;
    let action: [u64; 4] = [handler, SA_RESTORER, handler, 0];
    call!(
        libc::SYS_rt_sigaction,
        number,
        &raw const action,
        null_mut::<u64>(),
        size_of::<u64>()
    )
}

/// The code a shell gives to one that a signal ended: process 1 cannot end by the signal itself.
extern "C" fn ended(signal: i32) -> ! {
    exit(signal.saturating_add(128))
}

/// `execve(2)`. Returns only on failure.
pub(crate) fn execve(
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> Errno {
    match call!(libc::SYS_execve, path, argv, envp) {
        Ok(_) => Errno(libc::EINVAL),
        Err(errno) => errno,
    }
}

/// `ppoll(2)` of nothing, for ever; no signal handler runs in here.
pub(crate) fn pause() {
    let nothing = null::<u8>();
    while call!(libc::SYS_ppoll, nothing, 0_u64, nothing, nothing, 0_usize).is_err() {}
}
