//! `hostrun unit`: by a program of its own, which systemd calls as well.

use crate::args::unit::{Action, Unit};
use crate::companion;
use crate::globals::Globals;
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Runs the verb; what became of it is said by the program.
///
/// # Errors
/// When the program is not installed.
pub(crate) fn main(_globals: &Globals, args: &Unit) -> Result<u8> {
    let program = companion::find("hostrun-units", "makes services of systemd's")?;
    let action = match args.action {
        Action::Check => "check",
        Action::Show => "show",
    };
    let failed = Command::new(&program).arg(action).args(&args.files).exec();
    Err(failed).with_context(|| format!("cannot execute '{}'", program.display()))
}
