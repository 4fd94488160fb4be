//! The two calls of 32-bit x86 through which many others go.
//!
//! `socketcall(2)` and `ipc(2)` take the number of the call they stand for as their first argument;
//! the arguments of that call lie in memory, out of a filter's sight. A rule about `connect` must
//! therefore also speak about `socketcall`, or a profile that denies the one leaves the other open.

use crate::policy::{Comparison, Condition};

/// A multiplexer and what selects one call in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Detour {
    /// `socketcall` or `ipc`.
    pub(crate) through: &'static str,
    /// The condition on its first argument.
    pub(crate) selector: Condition,
}

/// Their names.
pub(crate) const MULTIPLEXERS: [&str; 2] = ["socketcall", "ipc"];

// linux/net.h, SYS_*: the first is 1.
const SOCKET_CALLS: [&str; 20] = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

// linux/ipc.h
const IPC_CALLS: [(&str, u64); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// How 32-bit x86 can reach the call `name` besides calling it.
pub(crate) fn detour(name: &str) -> Option<Detour> {
    let socket = SOCKET_CALLS
        .iter()
        .zip(1..)
        .find(|(known, _)| **known == name);
    if let Some((_, number)) = socket {
        return Some(Detour {
            through: "socketcall",
            selector: Condition {
                argument: 0,
                comparison: Comparison::Equal(number),
            },
        });
    }
    let (_, number) = IPC_CALLS.iter().find(|(known, _)| *known == name)?;
    Some(Detour {
        through: "ipc",
        selector: Condition {
            argument: 0,
            // The upper half is a version that the kernel does not need to know the call.
            comparison: Comparison::Masked {
                mask: 0xffff,
                value: *number,
            },
        },
    })
}

/// How much an action leaves to the program: the kernel's own order, from the strictest
/// (`seccomp(2)`: of several filters, the action first in this order wins).
pub(crate) fn leniency(action: u32) -> u32 {
    match action & libc::SECCOMP_RET_ACTION_FULL {
        libc::SECCOMP_RET_KILL_PROCESS => 0,
        other => other + 1,
    }
}
