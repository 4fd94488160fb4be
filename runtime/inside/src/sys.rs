//! Every unsafe operation of the room: one system call a function, raw results turned into `Errno`.
//!
//! The calls go straight to the kernel. The C library's versions of the identity calls would
//! signal threads that this process no longer has.
#![allow(
    unsafe_code,
    reason = "system calls; this is the room's only file with unsafe code"
)]

mod file;
mod helper;
mod landlock;
mod mount;
mod process;
mod socket;
mod treatment;
mod tree;

pub(crate) use file::*;
pub(crate) use helper::*;
pub(crate) use landlock::*;
pub(crate) use mount::*;
pub(crate) use process::*;
pub use socket::bring_loopback_up;
pub(crate) use socket::*;
pub(crate) use treatment::*;
pub(crate) use tree::*;

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
pub(crate) use call;

/// For calls whose failure leaves nothing to do: a close, a farewell.
pub(crate) fn best_effort(_: Result<i32>) {}

/// `exit_group(2)`.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: ends the process without running any destructor or exit handler of the parent's.
    unsafe { libc::_exit(code) }
}
