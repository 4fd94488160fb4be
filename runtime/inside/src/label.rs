//! Labels of the security modules, written to our own attributes in procfs.
//!
//! Whoever can mount over those files, or over /proc, turns the write into one of nothing and runs
//! unconfined (CVE-2019-16884, CVE-2025-52881). So they are not looked for in any mount that others
//! can reach: a procfs of our own is made for it, which has no name anywhere.

use crate::orders::{Fd, Orders};
use crate::report::{Failure, Step};
use crate::sys::{self, Errno};
use core::ffi::CStr;

const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// `PROC_ROOT_INO`, `linux/proc_fs.h`.
const PROC_ROOT_INODE: u64 = 1;

/// Where AppArmor keeps its attribute since Linux 5.8, and before.
const APPARMOR_EXEC: [&CStr; 2] = [c"thread-self/attr/apparmor/exec", c"thread-self/attr/exec"];
const SELINUX_EXEC: [&CStr; 1] = [c"thread-self/attr/exec"];
const SELINUX_KEYS: [&CStr; 1] = [c"thread-self/attr/keycreate"];

/// What the program will be once it is executed. Nothing changes before.
pub(crate) fn set_for_exec(orders: &Orders<'_>) -> Result<(), Failure> {
    if let Some(profile) = orders.labels.apparmor {
        write(&APPARMOR_EXEC, profile).map_err(|errno| Step::ApparmorProfile.failed(errno))?;
    }
    if let Some(label) = orders.labels.selinux {
        write(&SELINUX_EXEC, label).map_err(|errno| Step::SelinuxLabel.failed(errno))?;
    }
    Ok(())
}

/// What keys made from here on are.
pub(crate) fn set_for_keys(label: &[u8]) -> Result<(), Failure> {
    write(&SELINUX_KEYS, label).map_err(|errno| Step::SelinuxLabel.failed(errno))
}

/// Back to what the policy says about keys: a line without a label.
pub(crate) fn unset_for_keys() -> Result<(), Failure> {
    set_for_keys(b"\n")
}

fn write(paths: &[&CStr], label: &[u8]) -> sys::Result<()> {
    let proc = procfs()?;
    let resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_XDEV | libc::RESOLVE_NO_MAGICLINKS;
    let mut found = Err(Errno(libc::ENOENT));
    for path in paths {
        if found == Err(Errno(libc::ENOENT)) {
            found = sys::openat2(proc, path.as_ptr(), libc::O_WRONLY, resolve);
        }
    }
    // Others may look into this process by now, and a procfs must not lie about in it.
    sys::close_now(proc);
    let file = found?;
    let written = sys::write(file, label);
    sys::close_now(file);
    written.map(drop)
}

/// A procfs that nobody can have mounted anything over.
fn procfs() -> sys::Result<Fd> {
    /// `MOUNT_ATTR_NOSUID`, `MOUNT_ATTR_NODEV` and `MOUNT_ATTR_NOEXEC`.
    const HARMLESS: u64 = 2 | 4 | 8;
    let made = sys::fsopen(c"proc").and_then(|context| {
        let mount = sys::fsconfig_create(context).and_then(|_| sys::fsmount(context, HARMLESS));
        sys::close_now(context);
        mount
    });
    match made {
        // In a user namespace that sees parts of procfs only, no whole one can be made.
        Err(Errno(libc::EPERM)) => mounted(),
        other => other,
    }
}

/// The one at /proc, if it is the root of a procfs. Mounts on files in it are met by
/// `RESOLVE_NO_XDEV`.
fn mounted() -> sys::Result<Fd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let root = Fd(libc::AT_FDCWD);
    let proc = sys::openat2(root, c"/proc".as_ptr(), flags, libc::RESOLVE_NO_SYMLINKS)?;
    let found = sys::stat(proc, c"")?;
    if sys::filesystem_magic(proc)? == PROC_SUPER_MAGIC && found.inode == PROC_ROOT_INODE {
        return Ok(proc);
    }
    sys::close_now(proc);
    Err(Errno(libc::EXDEV))
}
