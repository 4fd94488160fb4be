//! System calls of the parent's side that no crate offers with a safe signature. The only unsafe
//! code of this package is here and below.
#![allow(
    unsafe_code,
    reason = "clone3 and mount_setattr; one operation a block, each with its reason"
)]

pub(crate) mod borrowed;
pub(crate) mod bpf;
pub(crate) mod fork;
pub(crate) mod lineage;
pub(crate) mod spawn;

use hostrun_inside::Orders;
use rustix::io::Errno;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

fn check(result: libc::c_long) -> rustix::io::Result<libc::c_long> {
    if result >= 0 {
        return Ok(result);
    }
    let errno = std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO);
    Err(Errno::from_raw_os_error(errno))
}

/// Where the C library keeps this thread's `errno`, in the thread's own storage.
pub(crate) fn errno_address() -> usize {
    // SAFETY: no preconditions; the location is not read here.
    unsafe { libc::__errno_location() }.addr()
}

/// The one `clone3(2)`: every new namespace, straight into the cgroup if there is one, with a pidfd.
/// The child never returns from here: it follows the orders.
///
/// Returns pid and pidfd.
pub(crate) fn clone_room(
    namespaces: i32,
    cgroup: Option<BorrowedFd<'_>>,
    orders: &Orders<'_>,
) -> rustix::io::Result<(i32, OwnedFd)> {
    clone3(namespaces, cgroup, || hostrun_inside::follow(orders))
}

/// A process in these new namespaces that does nothing until it is killed. Returns pid and pidfd.
pub(crate) fn clone_holder(namespaces: i32) -> rustix::io::Result<(i32, OwnedFd)> {
    let parent = std::process::id().cast_signed();
    clone3(namespaces, None, || hostrun_inside::hold_still(parent))
}

/// What every clone of ours asks for: these flags, a pidfd stored at `pidfd`, a place in the cgroup.
fn arguments(flags: i32, cgroup: Option<BorrowedFd<'_>>, pidfd: *mut i32) -> libc::clone_args {
    const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: all zeroes is a valid clone_args, clone(2).
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    // No handler of the embedder may run in the child: it could allocate.
    args.flags = u64::from(flags.cast_unsigned())
        | u64::from(libc::CLONE_PIDFD.cast_unsigned())
        | CLONE_CLEAR_SIGHAND;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup.as_raw_fd()).unwrap_or(u64::MAX);
    }
    args.pidfd = pidfd as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    args
}

/// `inside` runs in the child: code of the room only.
fn clone3(
    namespaces: i32,
    cgroup: Option<BorrowedFd<'_>>,
    inside: impl FnOnce() -> std::convert::Infallible,
) -> rustix::io::Result<(i32, OwnedFd)> {
    let mut pidfd: i32 = -1;
    let mut args = arguments(namespaces, cgroup, &raw mut pidfd);
    // SAFETY: without CLONE_VM the child has a copy of our memory and a stack of its own, as after
    // fork(2). It runs only `inside`, which neither allocates nor locks and never returns, so no
    // state another thread left half-done in that copy is ever touched.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    };
    if result == 0 {
        inside();
    }
    let pid = check(result)?;
    // SAFETY: the kernel stored a new descriptor there, which nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((i32::try_from(pid).unwrap_or(i32::MAX), pidfd))
}

/// `mount_setattr(2)`: shows a detached mount with the ids of a user namespace.
pub(crate) fn set_mount_idmap(
    mount: impl AsFd,
    user_namespace: BorrowedFd<'_>,
    recursive: bool,
) -> rustix::io::Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
    let namespace = u64::try_from(user_namespace.as_raw_fd()).unwrap_or(u64::MAX);
    mount_setattr(
        mount.as_fd(),
        [MOUNT_ATTR_IDMAP, 0, 0, namespace],
        recursive,
    )
}

/// `landlock_create_ruleset(2)`: the version of the kernel's interface, 0 where it has none or it is
/// switched off.
pub(crate) fn landlock_abi() -> u32 {
    const CREATE_RULESET_VERSION: u32 = 1;
    let none = std::ptr::null::<u64>();
    // SAFETY: with this flag the kernel takes no structure, so the null pointer is not followed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            none,
            0_usize,
            CREATE_RULESET_VERSION,
        )
    };
    check(result)
        .ok()
        .and_then(|version| u32::try_from(version).ok())
        .unwrap_or(0)
}

/// `mount_setattr(2)` on the mount behind a descriptor.
pub(crate) fn set_mount_attributes(
    mount: impl AsFd,
    set: u64,
    clear: u64,
    recursive: bool,
) -> rustix::io::Result<()> {
    mount_setattr(mount.as_fd(), [set, clear, 0, 0], recursive)
}

/// `mount_setattr(2)`: propagation of a whole tree.
pub(crate) fn set_mount_propagation(mount: impl AsFd, propagation: u64) -> rustix::io::Result<()> {
    mount_setattr(mount.as_fd(), [0, 0, propagation, 0], true)
}

fn mount_setattr(
    mount: BorrowedFd<'_>,
    attributes: [u64; 4],
    recursive: bool,
) -> rustix::io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { 0x8000 } else { 0 };
    // SAFETY: the pointers are to a C string and to as many bytes as the last argument says; the
    // kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<[u64; 4]>(),
        )
    };
    check(result).map(drop)
}

/// `execveat(2)` of a descriptor with our own arguments and environment. Returns only on failure.
pub(crate) fn exec_descriptor(
    program: BorrowedFd<'_>,
    argv: &[std::ffi::CString],
    envp: &[std::ffi::CString],
) -> Errno {
    let pointers = |list: &[std::ffi::CString]| -> Vec<*const libc::c_char> {
        list.iter()
            .map(|text| text.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: both arrays end with a null pointer and hold pointers to C strings that outlive the
    // call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    match check(result) {
        Ok(_) => Errno::INVAL,
        Err(errno) => errno,
    }
}

/// `pidfd_send_signal(2)` of any signal, real-time ones included.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> rustix::io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks for what kill(2) would send; nothing is read or written.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            no_info,
            0,
        )
    };
    check(result).map(drop)
}
