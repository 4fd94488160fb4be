//! `hostrun health`: by the program that knows of services; it asks us about containers.

use crate::args::containers::Format;
use crate::args::health::Health;
use crate::companion;
use crate::globals::Globals;
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Runs the verb; what became of it is said by the program.
///
/// # Errors
/// When the program is not installed.
pub(crate) fn main(globals: &Globals, args: &Health) -> Result<u8> {
    let program = companion::find("hostrun-units", "knows what should run")?;
    let own = std::env::current_exe().context("cannot find hostrun's own binary")?;
    let mut command = Command::new(&program);
    command.arg("health").arg(own);
    // Where these are, it passes on to us.
    command.arg("--root").arg(&globals.root);
    if globals.store_given {
        command.arg("--store").arg(&globals.store);
    }
    if let Some(store) = &globals.system_store {
        command.arg("--system-store").arg(store);
    }
    if let Some(seconds) = args.wait {
        command.arg(format!("--wait={seconds}"));
    }
    command.args((args.format == Format::Json).then_some("--json"));
    let failed = command.arg("--").args(&args.names).exec();
    Err(failed).with_context(|| format!("cannot execute '{}'", program.display()))
}
