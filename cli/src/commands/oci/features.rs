//! `features`.

use super::{Act, told};
use crate::args::bundles::Features;
use crate::globals::Globals;
use crate::output;
use anyhow::{Context, Result};
use serde::Serialize;

/// Prints what the runtime can do.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn main(globals: &Globals, _args: &Features) -> Result<u8> {
    let printed = || {
        let mut bytes = Vec::new();
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut writer = serde_json::Serializer::with_formatter(&mut bytes, indent);
        hostrun_runtime::features()
            .serialize(&mut writer)
            .context("cannot write JSON")?;
        bytes.push(b'\n');
        output::bytes(&bytes)?;
        Ok(0)
    };
    told(globals, Act::Other, printed())
}
