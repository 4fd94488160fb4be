//! `pause` and `resume`.

use super::{Act, container, told};
use crate::args::bundles::{Pause, Resume};
use crate::globals::Globals;
use anyhow::Result;

/// `pause`.
///
/// # Errors
/// When there is no such container, or it does not run.
pub(crate) fn pause(globals: &Globals, args: &Pause) -> Result<u8> {
    let paused = || Ok(container(globals, &args.id)?.pause().map(|()| 0)?);
    told(globals, Act::Other, paused())
}

/// `resume`.
///
/// # Errors
/// When there is no such container, or it is not paused.
pub(crate) fn resume(globals: &Globals, args: &Resume) -> Result<u8> {
    let resumed = || Ok(container(globals, &args.id)?.resume().map(|()| 0)?);
    told(globals, Act::Other, resumed())
}
