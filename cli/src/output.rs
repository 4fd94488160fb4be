//! The one place that writes to standard output and standard error: data to the first, talk to the second.

use anyhow::{Context, Result};
use std::io::{ErrorKind, Write};

/// Writes text as it is.
///
/// # Errors
/// When standard output cannot be written; a reader that went away is not an error.
pub(crate) fn text(text: &str) -> Result<()> {
    bytes(text.as_bytes())
}

/// Writes bytes as they are.
///
/// # Errors
/// As [`text`].
pub(crate) fn bytes(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Writes one line.
///
/// # Errors
/// As [`text`].
pub(crate) fn line(line: &str) -> Result<()> {
    text(&format!("{line}\n"))
}

/// Writes a value as indented JSON.
///
/// # Errors
/// As [`text`].
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<()> {
    line(&serde_json::to_string_pretty(value).context("cannot write JSON")?)
}

/// Says one line on standard error. If even that fails there is nobody left to tell.
pub(crate) fn say(line: &str) {
    say_bytes(format!("{line}\n").as_bytes());
}

/// Writes bytes to standard error as they are.
pub(crate) fn say_bytes(bytes: &[u8]) {
    drop(std::io::stderr().lock().write_all(bytes));
}
