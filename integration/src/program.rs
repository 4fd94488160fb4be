//! Programs: files that are about to be executed, and the start of others meanwhile.
//!
//! While a descriptor is open for writing, the kernel executes no such file (`ETXTBSY`). A child of
//! another thread holds copies of all our descriptors from its fork until its own execve(2), which
//! on a busy machine takes longer than a container takes to start. So while one thread writes a
//! program, none starts another.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{PoisonError, RwLock};

/// Held for writing while a program is written, for reading from fork to execve.
static STARTS: RwLock<()> = RwLock::new(());

/// Writes a program, or any file, with these permissions.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, mode: u32, content: impl AsRef<[u8]>) -> io::Result<()> {
    let _alone = STARTS.write().unwrap_or_else(PoisonError::into_inner);
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Copies a program.
///
/// # Errors
/// When it cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let _alone = STARTS.write().unwrap_or_else(PoisonError::into_inner);
    fs::copy(from, to).map(drop)
}

/// Starts a program. When this returns, its execve(2) is over.
///
/// # Errors
/// When it cannot be started.
pub fn start(command: &mut Command) -> io::Result<Child> {
    let _others = STARTS.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}
