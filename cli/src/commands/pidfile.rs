//! The file that tells a process id to whoever waits for it.

use anyhow::{Context, Result};
use std::path::Path;

/// Writes a process id for whoever waits for the file to appear.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(path: &Path, pid: i32) -> Result<()> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let beside = path.with_file_name(format!(".{name}.new"));
    std::fs::write(&beside, pid.to_string())
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("cannot write the pid file '{}'", path.display()))
}
