//! `hostrun load`.

use crate::args::images::{Limits as LimitFlags, Load};
use crate::cell::Walls;
use crate::globals::Globals;
use crate::{output, report, table};
use anyhow::{Context, Result};
use hostrun_image_store::{Image, Limits, LoadOptions, Platform, Progress};
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::Path;

/// Runs the verb.
///
/// # Errors
/// When the source is not an image, or not a whole one.
pub(crate) fn main(globals: &Globals, args: &Load) -> Result<u8> {
    let platform = args
        .platform
        .as_deref()
        .map(str::parse::<Platform>)
        .transpose()?;
    let options = options(platform, args.quiet).with_limits(limits(&args.limits));
    let images = if let Some(source) = &args.source {
        let source = source.parse()?;
        globals.open_store()?.load(&source, &options)?
    } else {
        let (file, base) = archive(args.input.as_deref())?;
        let path = args.input.as_deref().filter(|path| *path != Path::new("-"));
        let options = match path {
            Some(path) => options.with_archive_path(path),
            None => options,
        };
        globals.open_store()?.load_archive(file, &base, &options)?
    };
    for image in images {
        for name in names(&image) {
            if args.quiet {
                output::line(&name)?;
            } else {
                let (id, size) = (image.id().short(), table::size(image.size()));
                output::line(&format!(
                    "{name}  {id}  {size}  {} layers",
                    image.layers().len()
                ))?;
            }
        }
    }
    Ok(0)
}

/// A file or standard input, and what images without a name are called.
fn archive(path: Option<&Path>) -> Result<(File, String)> {
    if let Some(path) = path.filter(|path| *path != Path::new("-")) {
        let file = File::open(path).with_context(|| format!("cannot open '{}'", path.display()))?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        return Ok((file, stem(&name).to_owned()));
    }
    Ok((standard_input()?, "image".to_owned()))
}

/// A name without what tells how a file is packed.
fn stem(name: &str) -> &str {
    let packed = [".gz", ".zst", ".tgz", ".tar"];
    let name = packed
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name);
    name.strip_suffix(".tar").unwrap_or(name)
}

/// Standard input, unless somebody sits there and waits.
///
/// # Errors
/// When it is a terminal.
pub(super) fn standard_input() -> Result<File> {
    let input = std::io::stdin();
    if input.is_terminal() {
        let failure = report::Failure::new("standard input is a terminal, not an archive");
        return Err(failure
            .hint("name a source, a file with -i, or pipe one in")
            .into());
    }
    let file = input.as_fd().try_clone_to_owned();
    Ok(File::from(file.context("cannot duplicate standard input")?))
}

/// The usual limits, and what was said about them.
pub(super) fn limits(flags: &LimitFlags) -> Limits {
    let mut limits = Limits::default();
    if let Some(bytes) = flags.layer_bytes {
        limits.layer_bytes = u64::try_from(bytes).unwrap_or(0);
    }
    if let Some(entries) = flags.entries {
        limits.entries = entries;
    }
    if let Some(layers) = flags.layers {
        limits.layers = layers;
    }
    if let Some(ratio) = flags.ratio {
        limits.ratio = ratio;
    }
    limits
}

/// The image's names, or its id if it has none.
pub(super) fn names(image: &Image) -> Vec<String> {
    match image.names() {
        [] => vec![image.id().to_string()],
        names => names.iter().map(ToString::to_string).collect(),
    }
}

/// How images are loaded: warnings always, progress unless quiet, both on standard error.
pub(super) fn options(platform: Option<Platform>, quiet: bool) -> LoadOptions {
    let options = LoadOptions::default().with_cell(Walls);
    let options = options.with_progress(move |progress| match progress {
        Progress::Warning { diff_id, text } => {
            report::warn(&format!("layer {}: {text}", diff_id.short()));
        }
        Progress::Note { text } => report::warn(text),
        // A layer the store has is only verified: nothing to tell.
        Progress::LayerStarted {
            diff_id,
            size,
            known,
        } if !quiet && !known => {
            output::say(&format!(
                "unpacking layer {} ({})",
                diff_id.short(),
                table::size(*size)
            ));
        }
        _ => {}
    });
    match platform {
        Some(platform) => options.with_platform(platform),
        None => options,
    }
}
