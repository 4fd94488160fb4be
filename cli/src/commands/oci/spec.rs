//! `spec`.

use super::{Act, told};
use crate::args::bundles::Spec;
use crate::globals::Globals;
use crate::report::Failure;
use crate::spec::template;
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;

/// Writes config.json.
///
/// # Errors
/// When there is one already, or it cannot be written.
pub(crate) fn main(globals: &Globals, args: &Spec) -> Result<u8> {
    told(globals, Act::Other, written(globals, args))
}

fn written(globals: &Globals, args: &Spec) -> Result<u8> {
    let path = args.bundle.join("config.json");
    let document = if args.rootless {
        template::rootless(globals.name.as_str())
    } else {
        template::template(globals.name.as_str())
    };
    let mut text = serde_json::to_string_pretty(&document).context("cannot write JSON")?;
    text.push('\n');
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let file = match rustix::fs::open(&path, flags, mode) {
        Err(Errno::EXIST) => {
            let failure = Failure::new("File config.json exists. Remove it first");
            return Err(failure.into());
        }
        other => other.with_context(|| format!("cannot create '{}'", path.display()))?,
    };
    File::from(file)
        .write_all(text.as_bytes())
        .with_context(|| format!("cannot write '{}'", path.display()))?;
    Ok(0)
}
