//! `landlock(7)`.

use super::{Result, call, check};
use crate::orders::Fd;
use core::mem::size_of;

/// `landlock_create_ruleset(2)`. Older kernels know a shorter structure and take this one as long as
/// what they do not know is zero.
pub(crate) fn landlock_ruleset(files: u64, ports: u64, scopes: u64) -> Result<Fd> {
    let handled: [u64; 3] = [files, ports, scopes];
    call!(
        libc::SYS_landlock_create_ruleset,
        handled.as_ptr(),
        size_of::<[u64; 3]>(),
        0_u32
    )
    .map(Fd)
}

/// `landlock_add_rule(2)`: a file, or a directory with all below it.
pub(crate) fn landlock_allow_path(rules: Fd, file: Fd, access: u64) -> Result<i32> {
    /// `struct landlock_path_beneath_attr`.
    #[repr(C, packed)]
    struct Beneath {
        access: u64,
        file: i32,
    }
    const RULE_PATH_BENEATH: i32 = 1;
    let rule = Beneath {
        access,
        file: file.0,
    };
    call!(
        libc::SYS_landlock_add_rule,
        rules.0,
        RULE_PATH_BENEATH,
        &raw const rule,
        0_u32
    )
}

/// `landlock_add_rule(2)`: a TCP port.
pub(crate) fn landlock_allow_port(rules: Fd, port: u16, access: u64) -> Result<i32> {
    const RULE_NET_PORT: i32 = 2;
    let rule: [u64; 2] = [access, u64::from(port)];
    call!(
        libc::SYS_landlock_add_rule,
        rules.0,
        RULE_NET_PORT,
        rule.as_ptr(),
        0_u32
    )
}

/// `landlock_restrict_self(2)`.
pub(crate) fn landlock_restrict(rules: Fd) -> Result<i32> {
    call!(libc::SYS_landlock_restrict_self, rules.0, 0_u32)
}
