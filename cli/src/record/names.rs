//! Names of containers: links from a name to an id, so that taking one is a single atomic step.

use super::is_missing;
use crate::report::Failure;
use anyhow::{Context, Result};
use rustix::io::Errno;
use std::path::Path;

/// Checks the spelling.
///
/// # Errors
/// When the name is not made of letters, digits, `_`, `.` and `-`, or does not begin with a letter or digit.
pub(super) fn check(name: &str) -> Result<()> {
    let spelled = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    let begins = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    if spelled && begins && name.len() <= 128 {
        return Ok(());
    }
    let failure = Failure::new(format!("'{name}' cannot be the name of a container"));
    Err(failure
        .hint("letters, digits, '_', '.' and '-', beginning with a letter or digit, at most 128")
        .into())
}

/// Takes a name.
///
/// # Errors
/// When it is taken.
pub(super) fn take(names: &Path, ids: &Path, name: &str, id: &str) -> Result<()> {
    // A name whose container is gone is nobody's: its holder was killed between two steps.
    if let Some(holder) = lookup(names, name)
        && !ids.join(&holder).exists()
    {
        release(names, name, &holder);
    }
    match rustix::fs::symlink(id, names.join(name)) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => {
            let holder = lookup(names, name).unwrap_or_default();
            let holder = holder.get(..super::SHORT).unwrap_or("another").to_owned();
            let failure =
                Failure::new(format!("the name '{name}' is in use by container {holder}"));
            Err(failure
                .hint(format!(
                    "'hostrun rm {name}' frees it, or choose another --name"
                ))
                .into())
        }
        Err(error) => Err(error).with_context(|| format!("cannot take the name '{name}'")),
    }
}

/// Who has a name.
pub(super) fn lookup(names: &Path, name: &str) -> Option<String> {
    check(name).ok()?;
    let target = rustix::fs::readlink(names.join(name), Vec::new()).ok()?;
    target.into_string().ok()
}

/// Gives a name back, if this container has it.
pub(super) fn release(names: &Path, name: &str, id: &str) {
    if lookup(names, name).as_deref() != Some(id) {
        return;
    }
    match rustix::fs::unlink(names.join(name)) {
        Ok(()) => {}
        Err(error) if is_missing(error) => {}
        Err(error) => crate::report::warn(&format!("cannot free the name '{name}': {error}")),
    }
}
