//! Keeps a container from writing to the runtime's own binary (CVE-2019-5736).
//!
//! A process that joins a container can be seen from inside before it becomes its program, and
//! through `/proc/PID/exe` so can our binary; and a container that shares its root with another
//! can have the other swap its program for a script whose interpreter is `/proc/self/exe`, between
//! our check and the kernel's reading. Reached through a read-only mount the file cannot be opened
//! for writing, whatever its permissions; so a binary on a writable mount is executed anew through
//! a detached read-only one, and nothing is copied. A file that cannot be written anyway needs
//! none of this: one on a read-only mount, with fs-verity, or of a user whom the
//! container's user namespace does not know.

mod memory;

use crate::error::{At, Error, ErrorKind, Result};
use crate::sys;
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, StatVfsMountFlags, StatxFlags, fstat, fstatvfs, open, statx,
};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::geteuid;
use serde::Deserialize;
use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What of a config decides whether its container could write to our file. The rest is skipped:
/// the program that is executed anew reads it all again.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Glance {
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<Namespace>,
    uid_mappings: Vec<Mapping>,
    gid_mappings: Vec<Mapping>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: String,
}

#[derive(Debug, Deserialize)]
struct Mapping {
    #[serde(rename = "hostID")]
    host: u64,
    size: u64,
}

impl Glance {
    /// Is a file of this owner and mode out of reach for everybody in the container? Root in a user
    /// namespace has power over files only whose owner and group both have a place in its maps,
    /// `user_namespaces(7)`.
    fn puts_out_of_reach(&self, owner: u32, group: u32, mode: u32) -> bool {
        const WRITABLE_BY_ALL: u32 = 0o002;
        let linux = &self.linux;
        let new = |kind: &str| {
            let mut list = linux.namespaces.iter();
            list.any(|namespace| namespace.kind == kind && namespace.path.is_empty())
        };
        // In a namespace that is joined there may be somebody whom our maps do not bind.
        let alone = linux
            .namespaces
            .iter()
            .all(|namespace| namespace.path.is_empty());
        let known = |maps: &[Mapping], id: u32| {
            maps.iter().any(|map| {
                let distance = u64::from(id).checked_sub(map.host);
                distance.is_some_and(|distance| distance < map.size)
            })
        };
        alone
            && new("user")
            && new("pid")
            && !linux.uid_mappings.is_empty()
            && !linux.gid_mappings.is_empty()
            && !known(&linux.uid_mappings, owner)
            && !known(&linux.gid_mappings, group)
            && mode & WRITABLE_BY_ALL == 0
    }
}

/// As [`ensure`], where a container made from this config could write to our file.
///
/// # Errors
/// When it cannot be put out of reach. What is wrong with the config is left to [`crate::Bundle`].
pub fn ensure_for(config: &Path) -> Result<()> {
    if is_sealed()? {
        return Ok(());
    }
    let bytes = fs::read(config).unwrap_or_default();
    let glance: Glance = serde_json::from_slice(&bytes).unwrap_or_default();
    let own = fs::metadata(EXE);
    if own.is_ok_and(|own| glance.puts_out_of_reach(own.uid(), own.gid(), own.mode())) {
        return Ok(());
    }
    ensure()
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
    let program = match readonly_mount() {
        Err(error) if error.errno() == Some(libc::ENOSYS) => memory::copy()?,
        // An ordinary user may clone no mounts.
        Err(error) if error.errno() == Some(libc::EPERM) => {
            if is_roots_own()? {
                return Ok(());
            }
            memory::copy()?
        }
        other => other?,
    };
    let argv: Vec<CString> = std::env::args_os()
        .filter_map(|arg| CString::new(arg.into_vec()).ok())
        .collect();
    execute_anew(program.as_fd(), &argv).map(|never| match never {})
}

/// The calling program's file, to be found again by [`execute`].
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    file: OwnedFd,
}

/// Before other mounts are entered: what is executed stays a file of the mounts it came from.
pub(crate) fn program() -> Result<Program> {
    Ok(Program {
        path: fs::read_link(EXE).unwrap_or_default(),
        file: open(EXE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at("open", EXE)?,
    })
}

/// Executes the program with these arguments, sealed, in mounts that were entered since: by the mount that
/// its path leads through now, if that has the same file, or else a copy.
pub(crate) fn execute(program: &Program, argv: &[CString]) -> Result<Infallible> {
    let sealed = match program.on_readonly_mount() {
        Some(sealed) => sealed,
        None => memory::copy()?,
    };
    execute_anew(sealed.as_fd(), argv)
}

impl Program {
    fn on_readonly_mount(&self) -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = open(&self.path, flags, Mode::empty()).ok()?;
        let (here, meant) = (fstat(&file).ok()?, fstat(&self.file).ok()?);
        let same = (here.st_dev, here.st_ino) == (meant.st_dev, meant.st_ino);
        same.then(|| readonly(&file, "").ok()).flatten()
    }
}

fn execute_anew(program: BorrowedFd<'_>, argv: &[CString]) -> Result<Infallible> {
    let variable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
    };
    let envp: Vec<CString> = std::env::vars_os().filter_map(variable).collect();
    Err(sys::exec_descriptor(program, argv, &envp)).at("execute anew", EXE)
}

/// Root's file is one that no user namespace of an ordinary user can reach.
fn is_roots_own() -> Result<bool> {
    let own = open(EXE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at("open", EXE)?;
    let stat = fstat(&own).at("check", EXE)?;
    Ok(stat.st_uid == 0 && stat.st_mode & 0o022 == 0 && !geteuid().is_root())
}

/// The program on a detached mount that is read-only.
fn readonly_mount() -> Result<OwnedFd> {
    readonly(CWD, EXE)
}

fn readonly(at: impl AsFd, path: &str) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_EMPTY_PATH, path.is_empty());
    let tree = open_tree(at, path, flags).at("clone", EXE)?;
    sys::set_mount_attributes(&tree, 1, 0, false).at("make read-only", EXE)?;
    if is_readonly(tree.as_fd())? {
        return Ok(tree);
    }
    Err(Error::new(ErrorKind::System, "make read-only", EXE).because("the kernel did not"))
}

const EXE: &str = "/proc/self/exe";

/// Is the calling program's file one that nobody can write to?
///
/// # Errors
/// What the kernel refuses.
pub fn is_sealed() -> Result<bool> {
    let own = open(EXE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at("open", EXE)?;
    Ok(is_readonly(own.as_fd())? || has_verity(own.as_fd()) || memory::is_running_from())
}

fn is_readonly(file: BorrowedFd<'_>) -> Result<bool> {
    let flags = fstatvfs(file).at("check", "our own binary")?.f_flag;
    Ok(flags.contains(StatVfsMountFlags::RDONLY))
}

/// Sealed by fs-verity. `chattr +i` does not count: a container may have CAP_LINUX_IMMUTABLE.
fn has_verity(file: BorrowedFd<'_>) -> bool {
    const STATX_ATTR_VERITY: u64 = 0x10_0000;
    let stat = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::empty());
    stat.is_ok_and(|stat| stat.stx_attributes.bits() & STATX_ATTR_VERITY != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glance(json: &str) -> Glance {
        serde_json::from_str(json).unwrap()
    }

    const AWAY: &str = r#"{"ociVersion":"1.0.0","process":{"args":[]},"linux":{"namespaces":[{"type":"user"},{"type":"pid"}],
        "uidMappings":[{"containerID":0,"hostID":1000,"size":10}],
        "gidMappings":[{"containerID":0,"hostID":1000,"size":10}]}}"#;

    #[test]
    fn a_file_of_root_is_out_of_reach_for_a_namespace_that_does_not_know_root() {
        assert!(glance(AWAY).puts_out_of_reach(0, 0, 0o755));
        assert!(
            !glance(AWAY).puts_out_of_reach(0, 0, 0o757),
            "writable by all"
        );
        assert!(!glance(AWAY).puts_out_of_reach(1009, 0, 0o755));
        assert!(!glance(AWAY).puts_out_of_reach(0, 1000, 0o755));
        assert!(glance(AWAY).puts_out_of_reach(1010, 999, 0o755));
    }

    #[test]
    fn without_a_new_user_namespace_nothing_is_out_of_reach() {
        for json in [
            "{}",
            &AWAY.replace(r#""type":"user""#, r#""type":"pid""#),
            &AWAY.replace(
                r#""type":"user""#,
                r#""type":"user","path":"/proc/1/ns/user""#,
            ),
            &AWAY.replace(r#""type":"pid""#, r#""type":"pid","path":"/proc/1/ns/pid""#),
            &AWAY.replace(
                r#"{"type":"pid"}"#,
                r#"{"type":"pid"},{"type":"ipc","path":"/x"}"#,
            ),
            &AWAY.replace(r#",{"type":"pid"}"#, ""),
            &AWAY.replace(r#""hostID":1000"#, r#""hostID":0"#),
            &AWAY.replace("uidMappings", "uidmappings"),
        ] {
            assert!(!glance(json).puts_out_of_reach(0, 0, 0o755), "{json}");
        }
    }
}
