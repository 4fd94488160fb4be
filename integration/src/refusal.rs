//! The form of a refusal: one clear line, the right exit code, nothing that ran.
//!
//! hostrun answers 125 for its own failures. runc answers 1 and may take several lines; what both
//! must do is refuse and leave nothing.

use anyhow::{Result, ensure};

use crate::{Bundle, Outcome, Stage};

/// Checks the form of a refusal, `code` from hostrun or any failure from runc, and returns its text.
///
/// # Errors
/// When it has another form.
pub fn refused(stage: &Stage, what: &str, out: &Outcome, code: i32) -> Result<String> {
    ensure!(
        out.stdout().is_empty(),
        "{what}: something ran: {}",
        out.stdout()
    );
    let line = out.stderr();
    if stage.runtime().is_runc() {
        ensure!(out.code() != 0, "{what}: accepted");
        return Ok(line);
    }
    ensure!(
        out.code() == code,
        "{what}: exit code {} instead of {code}: {line}",
        out.code()
    );
    let lines: Vec<&str> = line.trim_end().lines().collect();
    let hints = lines
        .iter()
        .skip(1)
        .filter(|line| !line.trim_start().starts_with("hint:"))
        .count();
    ensure!(
        !lines.is_empty() && hints == 0,
        "{what}: not one line: {line}"
    );
    ensure!(
        line.starts_with("hostrun: "),
        "{what}: does not say who speaks: {line}"
    );
    for noise in ["os error", "panicked", "backtrace", "Error {", "Some("] {
        ensure!(!line.contains(noise), "{what}: not a sentence: {line}");
    }
    Ok(line)
}

/// Runs a bundle that must be refused with 125.
///
/// # Errors
/// When it is not.
pub fn refuse(stage: &Stage, what: &str, bundle: &Bundle) -> Result<String> {
    refused(stage, what, &stage.run(bundle)?, 125)
}

/// A bundle that would say so if it ran.
///
/// # Errors
/// When it cannot be written.
pub fn loud(stage: &Stage) -> Result<Bundle> {
    Ok(stage.bundle()?.shell("echo it ran"))
}
