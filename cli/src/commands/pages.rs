//! `hostrun completions` and `hostrun man`: generated from the same tree that parses, by a build of their own.

use crate::args::bundles::{Completions, Man};
use crate::globals::Globals;
use crate::{output, verbs};
use anyhow::{Context, Result};

/// Prints a shell's completions.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn completions(_globals: &Globals, args: &Completions) -> Result<u8> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut verbs::tree(), "hostrun", &mut text);
    output::bytes(&text)?;
    Ok(0)
}

/// Writes one page for hostrun and one for each verb.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn man(_globals: &Globals, args: &Man) -> Result<u8> {
    let shown = args.dir.display();
    std::fs::create_dir_all(&args.dir).with_context(|| format!("cannot create '{shown}'"))?;
    clap_mangen::generate_to(verbs::tree(), &args.dir)
        .with_context(|| format!("cannot write pages to '{shown}'"))?;
    Ok(0)
}
