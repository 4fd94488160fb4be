//! Every unsafe operation of the room: one system call a function, raw results turned into `Errno`.
//!
//! The calls go straight to the kernel. The C library's versions of the identity calls would
//! signal threads that this process no longer has.
#![allow(
    unsafe_code,
    reason = "system calls; this is the room's only file with unsafe code"
)]

use crate::orders::{Fd, Rlimit};
use core::ffi::{CStr, c_char};
use core::mem::{size_of, zeroed};
use core::ptr::{null, null_mut};

/// An error number, as in `errno(3)`. Never a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

/// Result of a system call.
pub type Result<T> = core::result::Result<T, Errno>;

fn check(result: i64) -> Result<i32> {
    if result < 0 {
        // SAFETY: no preconditions; the location is this thread's own.
        let location = unsafe { libc::__errno_location() };
        // SAFETY: valid for the life of the thread, and nobody else writes it.
        return Err(Errno(unsafe { location.read() }));
    }
    // The kernel's results used here (descriptors, pids, byte counts below 64 KiB) fit.
    Ok(i32::try_from(result).unwrap_or(i32::MAX))
}

macro_rules! call {
    ($number:expr $(, $argument:expr)* $(,)?) => {{
        // SAFETY: pointers among the arguments come from references that live over the call and
        // have the length the kernel is told; the kernel checks all other values.
        check(unsafe { libc::syscall($number $(, $argument)*) })
    }};
}

/// For calls whose failure leaves nothing to do: a close, a farewell.
pub(crate) fn best_effort(_: Result<i32>) {}

/// `exit_group(2)`.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: ends the process without running any destructor or exit handler of the parent's.
    unsafe { libc::_exit(code) }
}

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

/// `close_range(2)`: closes all from `first` on but these two.
pub(crate) fn close_all_but(first: u32, one: Fd, other: Fd) {
    let kept = [
        one.0.min(other.0).unsigned_abs(),
        one.0.max(other.0).unsigned_abs(),
        u32::MAX,
    ];
    let mut from = first;
    for end in kept {
        if end > from {
            let last = if end == u32::MAX { end } else { end - 1 };
            best_effort(call!(libc::SYS_close_range, from, last, 0_u32));
        }
        from = from.max(end.saturating_add(1));
    }
}

/// `close_range(2)`: from `first` on, everything closes on exec.
pub(crate) fn close_range_on_exec(first: u32) -> Result<i32> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    call!(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC)
}

/// `setsid(2)`.
pub(crate) fn setsid() -> Result<i32> {
    call!(libc::SYS_setsid)
}

/// `prctl(2)` with one argument.
pub(crate) fn prctl(option: i32, argument: u64) -> Result<i32> {
    call!(libc::SYS_prctl, option, argument, 0_u64, 0_u64, 0_u64)
}

/// `prctl(2)` with two arguments.
pub(crate) fn prctl2(option: i32, first: u64, second: u64) -> Result<i32> {
    call!(libc::SYS_prctl, option, first, second, 0_u64, 0_u64)
}

/// `poll(2)` with no time-out: has the other end hung up?
pub(crate) fn hung_up(fd: Fd) -> bool {
    let mut poll = libc::pollfd {
        fd: fd.0,
        events: 0,
        revents: 0,
    };
    let polled = call!(libc::SYS_poll, &raw mut poll, 1_u64, 0_i32);
    polled.is_ok() && poll.revents & (libc::POLLHUP | libc::POLLERR) != 0
}

/// `setns(2)`.
pub(crate) fn setns(fd: Fd, flags: i32) -> Result<i32> {
    call!(libc::SYS_setns, fd.0, flags)
}

/// `unshare(2)`.
pub(crate) fn unshare(flags: i32) -> Result<i32> {
    call!(libc::SYS_unshare, flags)
}

/// `clone3(2)` as a sibling, with a pidfd. `Ok(None)` in the new process.
pub(crate) fn clone_sibling(flags: u64) -> Result<Option<Fd>> {
    let mut pidfd: i32 = -1;
    // SAFETY: all zeroes is a valid clone_args.
    let mut args: libc::clone_args = unsafe { zeroed() };
    args.flags = flags | (libc::CLONE_PARENT | libc::CLONE_PIDFD) as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    // No CLONE_VM: both processes go on with memory of their own.
    match call!(
        libc::SYS_clone3,
        &raw const args,
        size_of::<libc::clone_args>()
    )? {
        0 => Ok(None),
        _ => Ok(Some(Fd(pidfd))),
    }
}

/// `mount(2)` that only changes propagation.
pub(crate) fn set_propagation(path: &CStr, flags: u64) -> Result<i32> {
    let none = null::<c_char>();
    call!(libc::SYS_mount, none, path.as_ptr(), none, flags, none)
}

/// `fsopen(2)`.
pub(crate) fn fsopen(fstype: &CStr) -> Result<Fd> {
    const FSOPEN_CLOEXEC: u32 = 1;
    call!(libc::SYS_fsopen, fstype.as_ptr(), FSOPEN_CLOEXEC).map(Fd)
}

/// `fsconfig(2)`: a string, or a flag where the value is empty.
pub(crate) fn fsconfig(context: Fd, key: &CStr, value: &CStr) -> Result<i32> {
    const FSCONFIG_SET_FLAG: u32 = 0;
    const FSCONFIG_SET_STRING: u32 = 1;
    if value.is_empty() {
        let none = null::<c_char>();
        return call!(
            libc::SYS_fsconfig,
            context.0,
            FSCONFIG_SET_FLAG,
            key.as_ptr(),
            none,
            0_i32
        );
    }
    call!(
        libc::SYS_fsconfig,
        context.0,
        FSCONFIG_SET_STRING,
        key.as_ptr(),
        value.as_ptr(),
        0_i32
    )
}

/// `fsconfig(2)`: make the superblock.
pub(crate) fn fsconfig_create(context: Fd) -> Result<i32> {
    const FSCONFIG_CMD_CREATE: u32 = 6;
    let none = null::<c_char>();
    call!(
        libc::SYS_fsconfig,
        context.0,
        FSCONFIG_CMD_CREATE,
        none,
        none,
        0_i32
    )
}

/// `fsmount(2)`.
pub(crate) fn fsmount(context: Fd, attributes: u64) -> Result<Fd> {
    const FSMOUNT_CLOEXEC: u32 = 1;
    call!(libc::SYS_fsmount, context.0, FSMOUNT_CLOEXEC, attributes).map(Fd)
}

/// `open_tree(2)`: a detached clone of what `path` below `directory` shows, or of the descriptor
/// itself where the path is empty.
pub(crate) fn clone_tree(directory: Fd, path: &CStr, recursive: bool) -> Result<Fd> {
    const OPEN_TREE_CLONE: i32 = 1;
    const AT_RECURSIVE: i32 = 0x8000;
    let mut flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | libc::AT_SYMLINK_NOFOLLOW;
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= AT_RECURSIVE;
    }
    call!(libc::SYS_open_tree, directory.0, path.as_ptr(), flags).map(Fd)
}

/// `move_mount(2)` from a detached mount onto the directory or file behind a descriptor.
pub(crate) fn attach(tree: Fd, target: Fd) -> Result<i32> {
    const F_EMPTY_PATH: u32 = 0x4;
    const T_EMPTY_PATH: u32 = 0x40;
    let empty = c"".as_ptr();
    call!(
        libc::SYS_move_mount,
        tree.0,
        empty,
        target.0,
        empty,
        F_EMPTY_PATH | T_EMPTY_PATH
    )
}

/// `move_mount(2)` onto our current root.
pub(crate) fn attach_over_root(tree: Fd) -> Result<i32> {
    const F_EMPTY_PATH: u32 = 0x4;
    call!(
        libc::SYS_move_mount,
        tree.0,
        c"".as_ptr(),
        libc::AT_FDCWD,
        c"/".as_ptr(),
        F_EMPTY_PATH
    )
}

/// `mount_setattr(2)` on the mount behind a descriptor.
pub(crate) fn set_attributes(tree: Fd, set: u64, propagation: u64, recursive: bool) -> Result<i32> {
    const AT_RECURSIVE: i32 = 0x8000;
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    let attributes: [u64; 4] = [set, 0, propagation, 0];
    call!(
        libc::SYS_mount_setattr,
        tree.0,
        c"".as_ptr(),
        flags,
        &raw const attributes,
        size_of::<[u64; 4]>()
    )
}

/// `pivot_root(2)` with both names the current directory.
pub(crate) fn pivot_root_here() -> Result<i32> {
    call!(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr())
}

/// `umount2(2)`, lazily, of what lies over the current directory.
pub(crate) fn unmount_here() -> Result<i32> {
    call!(libc::SYS_umount2, c".".as_ptr(), libc::MNT_DETACH)
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

/// Type, permissions and device number of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stat {
    pub(crate) mode: u32,
    pub(crate) number: u64,
}

/// `newfstatat(2)` of the descriptor itself (empty name) or of a name in it, never followed.
pub(crate) fn stat(directory: Fd, name: &CStr) -> Result<Stat> {
    // SAFETY: all zeroes is a valid stat.
    let mut stat: libc::stat = unsafe { zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    call!(
        libc::SYS_newfstatat,
        directory.0,
        name.as_ptr(),
        &raw mut stat,
        flags
    )?;
    Ok(Stat {
        mode: stat.st_mode,
        number: stat.st_rdev,
    })
}

/// `fstatfs(2)`: the magic number of the file system.
pub(crate) fn filesystem_magic(fd: Fd) -> Result<u64> {
    // SAFETY: all zeroes is a valid statfs.
    let mut stat: libc::statfs = unsafe { zeroed() };
    call!(libc::SYS_fstatfs, fd.0, &raw mut stat)?;
    Ok(stat.f_type)
}

/// `umask(2)`; returns the old one.
pub(crate) fn umask(mask: u32) -> u32 {
    call!(libc::SYS_umask, mask).map_or(0, i32::unsigned_abs)
}

/// `write(2)` of all bytes at once, as procfs files want it.
pub(crate) fn write(fd: Fd, bytes: &[u8]) -> Result<i32> {
    call!(libc::SYS_write, fd.0, bytes.as_ptr(), bytes.len())
}

/// `dup3(2)` without close-on-exec.
pub(crate) fn dup_onto(fd: Fd, number: i32) -> Result<i32> {
    call!(libc::SYS_dup3, fd.0, number, 0_i32)
}

/// `fcntl(2)`: inherit this descriptor over `execve(2)`.
pub(crate) fn clear_close_on_exec(fd: Fd) -> Result<i32> {
    call!(libc::SYS_fcntl, fd.0, libc::F_SETFD, 0_i32)
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

/// Sets the loopback device up, `netdevice(7)`.
pub(crate) fn loopback_up() -> Result<i32> {
    let socket = call!(
        libc::SYS_socket,
        libc::AF_INET,
        libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
        0_i32
    )?;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(0);
    let result = call!(
        libc::SYS_ioctl,
        socket,
        libc::SIOCSIFFLAGS,
        &raw const request
    );
    close(Fd(socket));
    result
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

/// `sendto(2)` without `SIGPIPE`.
pub(crate) fn send(socket: Fd, bytes: &[u8]) -> Result<i32> {
    let nobody = null::<u8>();
    call!(
        libc::SYS_sendto,
        socket.0,
        bytes.as_ptr(),
        bytes.len(),
        libc::MSG_NOSIGNAL,
        nobody,
        0_u32
    )
}

/// `sendmsg(2)`: one byte and one descriptor, `unix(7)` `SCM_RIGHTS`.
pub(crate) fn send_fd(socket: Fd, byte: u8, fd: Fd) -> Result<i32> {
    /// One control message with one descriptor, laid out as `cmsg(3)` does on 64-bit machines.
    #[repr(C, align(8))]
    struct Rights {
        length: usize,
        level: i32,
        kind: i32,
        fd: i32,
        padding: i32,
    }
    const RIGHTS_LENGTH: u32 = 24;
    let rights = Rights {
        length: 20,
        level: libc::SOL_SOCKET,
        kind: libc::SCM_RIGHTS,
        fd: fd.0,
        padding: 0,
    };
    let payload = [byte];
    let part = libc::iovec {
        iov_base: payload.as_ptr().cast_mut().cast(),
        iov_len: 1,
    };
    // SAFETY: all zeroes is a valid msghdr.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = (&raw const part).cast_mut();
    message.msg_iovlen = 1;
    message.msg_control = (&raw const rights).cast_mut().cast();
    message.msg_controllen = RIGHTS_LENGTH;
    call!(
        libc::SYS_sendmsg,
        socket.0,
        &raw const message,
        libc::MSG_NOSIGNAL
    )
}

/// `recvfrom(2)` of one byte; `Ok(None)` where the other end is gone.
pub(crate) fn receive_byte(socket: Fd) -> Result<Option<u8>> {
    let mut byte = [0_u8; 1];
    let nobody = null_mut::<u8>();
    loop {
        match call!(
            libc::SYS_recvfrom,
            socket.0,
            byte.as_mut_ptr(),
            1_usize,
            0_i32,
            nobody,
            nobody
        ) {
            Ok(0) => return Ok(None),
            Ok(_) => {
                let [value] = byte;
                return Ok(Some(value));
            }
            Err(Errno(libc::EINTR)) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// `accept4(2)`.
pub(crate) fn accept(listener: Fd) -> Result<Fd> {
    let nobody = null_mut::<u8>();
    loop {
        match call!(
            libc::SYS_accept4,
            listener.0,
            nobody,
            nobody,
            libc::SOCK_CLOEXEC
        ) {
            Err(Errno(libc::EINTR)) => {}
            other => return other.map(Fd),
        }
    }
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

/// `execve(2)`. Returns only on failure.
pub(crate) fn execve(path: &CStr, argv: &[*const c_char], envp: &[*const c_char]) -> Errno {
    match call!(
        libc::SYS_execve,
        path.as_ptr(),
        argv.as_ptr(),
        envp.as_ptr()
    ) {
        Ok(_) => Errno(libc::EINVAL),
        Err(errno) => errno,
    }
}
