//! Keeps a container from writing to the runtime's own binary (CVE-2019-5736).
//!
//! A process that joins a container can be seen from inside before it becomes its program, and
//! through `/proc/PID/exe` so can our binary. Reached through a read-only mount it cannot be
//! opened for writing, whatever its permissions; so before joining, a binary on a writable mount
//! is executed anew through a detached read-only one. A container with a pid namespace of its own
//! needs none of this: nobody is in it before its program runs.

use crate::error::{At, Error, ErrorKind, Result};
use crate::sys;
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};
use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags, fstatvfs, open};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Must a container with this config be made by a sealed program? Where its pid namespace is not
/// new, others are in it who can look.
pub fn is_needed_for(spec: &Spec) -> bool {
    let namespaces = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().as_ref());
    let new = |namespace: &LinuxNamespace| {
        let path = namespace
            .path()
            .as_ref()
            .filter(|path| !path.as_os_str().is_empty());
        namespace.typ() == LinuxNamespaceType::Pid && path.is_none()
    };
    !namespaces.is_some_and(|list| list.iter().any(new))
}

/// Makes sure that the calling program cannot be written to through its own `/proc/PID/exe`;
/// executes it anew with the same arguments where it could. For single-threaded programs, before
/// they do anything else.
///
/// # Errors
/// What the kernel refuses.
pub fn ensure() -> Result<()> {
    if is_sealed()? {
        return Ok(());
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, EXE, flags).at("clone", EXE)?;
    sys::set_mount_attributes(&tree, 1, 0, false).at("make read-only", EXE)?;
    if !is_readonly(tree.as_fd())? {
        return Err(
            Error::new(ErrorKind::System, "make read-only", EXE).because("the kernel did not")
        );
    }
    let argv: Vec<CString> = std::env::args_os()
        .filter_map(|arg| CString::new(arg.into_vec()).ok())
        .collect();
    let variable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
    };
    let envp: Vec<CString> = std::env::vars_os().filter_map(variable).collect();
    Err(sys::exec_descriptor(tree.as_fd(), &argv, &envp)).at("execute anew", EXE)
}

const EXE: &str = "/proc/self/exe";

/// Is the calling program on a mount it cannot be written through?
///
/// # Errors
/// What the kernel refuses.
pub fn is_sealed() -> Result<bool> {
    let own = open(EXE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at("open", EXE)?;
    is_readonly(own.as_fd())
}

fn is_readonly(file: BorrowedFd<'_>) -> Result<bool> {
    let flags = fstatvfs(file).at("check", "our own binary")?.f_flag;
    Ok(flags.contains(StatVfsMountFlags::RDONLY))
}
