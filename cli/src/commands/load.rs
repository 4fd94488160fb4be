//! `hostrun load`.

use crate::args::images::Load;
use crate::globals::Globals;
use crate::{output, report, table};
use anyhow::Result;
use hostrun_image_store::{Image, LoadOptions, Platform, Progress, Store};

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
    let source = args.source.parse()?;
    let store = Store::open(&globals.store)?;
    for image in store.load(&source, &options(platform, args.quiet))? {
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

/// The image's names, or its id if it has none.
pub(super) fn names(image: &Image) -> Vec<String> {
    match image.names() {
        [] => vec![image.id().to_string()],
        names => names.iter().map(ToString::to_string).collect(),
    }
}

/// How images are loaded: warnings always, progress unless quiet, both on standard error.
pub(super) fn options(platform: Option<Platform>, quiet: bool) -> LoadOptions {
    let options = LoadOptions::default().with_progress(move |progress| match progress {
        Progress::Warning { diff_id, text } => {
            report::warn(&format!("layer {}: {text}", diff_id.short()));
        }
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
