//! A child that lives in our own memory while we wait: cheap, because nothing is copied, and only
//! for a process that soon makes another and ends.

use super::arguments;
use crate::error::{At, Result};
use hostrun_inside::Orders;
use rustix::io::Errno;
use std::ffi::c_void;
use std::mem::size_of;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;

/// What a child stands on, below it a page nobody may touch: a child that needs more dies of it
/// instead of writing over what is ours.
#[derive(Debug)]
struct Stack {
    start: *mut c_void,
}

impl Stack {
    /// Only what is touched costs memory.
    const SIZE: usize = 512 * 1024;
    /// A page, on machines with large ones, too.
    const GUARD: usize = 64 * 1024;

    fn new() -> rustix::io::Result<Stack> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        let size = Stack::GUARD + Stack::SIZE;
        // SAFETY: a new mapping at a place of the kernel's choice touches nothing that exists.
        let start = unsafe { libc::mmap(null_mut(), size, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(last_errno());
        }
        let stack = Stack { start };
        let usable = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the range is the upper part of the mapping above, which nobody else knows.
        let result = unsafe { libc::mprotect(stack.bottom(), Stack::SIZE, usable) };
        if result == 0 {
            Ok(stack)
        } else {
            Err(last_errno())
        }
    }

    fn bottom(&self) -> *mut c_void {
        self.start.wrapping_byte_add(Stack::GUARD)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; whoever stood on it is gone, or has a copy.
        unsafe { libc::munmap(self.start, Stack::GUARD + Stack::SIZE) };
    }
}

fn last_errno() -> Errno {
    let number = std::io::Error::last_os_error().raw_os_error();
    Errno::from_raw_os_error(number.unwrap_or(libc::EIO))
}

/// As [`clone_room`](super::clone_room), without namespaces, for a child whose orders say that it
/// borrows its memory. Returns when it has ended or become another program: pid and pidfd.
pub(crate) fn clone_borrowing(
    cgroup: Option<BorrowedFd<'_>>,
    orders: &Orders<'_>,
) -> Result<(i32, OwnedFd)> {
    let subject = "the container's first process";
    let stack = Stack::new().at("make a stack for", subject)?;
    let mut pidfd: i32 = -1;
    let mut args = arguments(libc::CLONE_VM | libc::CLONE_VFORK, cgroup, &raw mut pidfd);
    args.stack = stack.bottom() as u64;
    args.stack_size = Stack::SIZE as u64;
    let result = clone_and_call(&args, orders);
    let pid = i32::try_from(result).unwrap_or(-libc::EIO);
    if pid < 0 {
        return Err(Errno::from_raw_os_error(-pid)).at("clone", subject);
    }
    // SAFETY: the kernel stored a new descriptor there, which nobody else owns.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

extern "C" fn follow(orders: *const c_void) -> ! {
    // SAFETY: the orders outlive the child: whoever lent them waits until it has ended.
    hostrun_inside::follow(unsafe { &*orders.cast::<Orders<'_>>() })
}

/// `clone3(2)`; the child calls [`follow`] on its own stack, for on ours it would return into what
/// we still need.
#[cfg(target_arch = "x86_64")]
fn clone_and_call(args: &libc::clone_args, orders: &Orders<'_>) -> i64 {
    let mut result = libc::SYS_clone3;
    // SAFETY: with CLONE_VFORK this thread stands still until the child has ended, so that nothing
    // of its frames changes; the child never leaves `follow`, which neither allocates nor locks.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") result,
            in("rdi") std::ptr::from_ref(args),
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") std::ptr::from_ref(orders),
            in("r13") follow as extern "C" fn(*const c_void) -> !,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// `clone3(2)`; the child calls [`follow`] on its own stack, for on ours it would return into what
/// we still need.
#[cfg(target_arch = "aarch64")]
fn clone_and_call(args: &libc::clone_args, orders: &Orders<'_>) -> i64 {
    let mut result = std::ptr::from_ref(args) as i64;
    // SAFETY: with CLONE_VFORK this thread stands still until the child has ended, so that nothing
    // of its frames changes; the child never leaves `follow`, which neither allocates nor locks.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            inlateout("x0") result,
            in("x1") size_of::<libc::clone_args>(),
            in("x8") libc::SYS_clone3,
            in("x20") std::ptr::from_ref(orders),
            in("x21") follow as extern "C" fn(*const c_void) -> !,
        );
    }
    result
}
