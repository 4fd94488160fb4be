//! What the process is, and what keeps it in.

use core::ffi::CStr;

/// Numeric identity of the payload.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Real, effective and saved user.
    pub uid: u32,
    /// Real, effective and saved group.
    pub gid: u32,
    /// All supplementary groups; `None` where `setgroups(2)` is denied by the user namespace.
    pub groups: Option<&'a [u32]>,
    /// The parent may set groups: where we may not, the user namespace denies it to everybody.
    pub parent_sets_groups: bool,
    /// `umask(2)`.
    pub umask: Option<u32>,
}

/// The five sets, as bit masks by capability number.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// What an `execve(2)` can ever gain.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// May be put in force.
    pub permitted: u64,
    /// Kept over `execve(2)` by files that say so.
    pub inheritable: u64,
    /// Kept over `execve(2)` of ordinary files.
    pub ambient: u64,
    /// The highest capability this kernel knows.
    pub last: u32,
}

/// A classic BPF filter.
#[derive(Clone, Copy, Debug)]
pub struct Seccomp<'a> {
    /// At most 4096 instructions.
    pub program: &'a [libc::sock_filter],
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

/// A ruleset of `landlock(7)`.
#[derive(Clone, Copy, Debug)]
pub struct Landlock<'a> {
    /// `LANDLOCK_ACCESS_FS_*` that is denied but where allowed.
    pub files: u64,
    /// `LANDLOCK_ACCESS_NET_*` that is denied but where allowed.
    pub ports: u64,
    /// `LANDLOCK_SCOPE_*`.
    pub scopes: u64,
    /// Where files are allowed.
    pub allowed_paths: &'a [LandlockPath<'a>],
    /// Where ports are allowed.
    pub allowed_ports: &'a [LandlockPort],
}

/// A file, or a directory with all below it.
#[derive(Clone, Copy, Debug)]
pub struct LandlockPath<'a> {
    /// Below the root, without a leading slash.
    pub path: &'a CStr,
    /// `LANDLOCK_ACCESS_FS_*`, as for a directory.
    pub access: u64,
}

/// A TCP port.
#[derive(Clone, Copy, Debug)]
pub struct LandlockPort {
    /// Its number.
    pub number: u16,
    /// `LANDLOCK_ACCESS_NET_*`.
    pub access: u64,
}

/// Labels of security modules.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// Written to AppArmor's `exec` attribute as it is.
    pub apparmor: Option<&'a [u8]>,
    /// Written to SELinux' `exec` attribute, and to `keycreate` while the keyring is made.
    pub selinux: Option<&'a [u8]>,
}
