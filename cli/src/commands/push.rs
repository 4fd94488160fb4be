//! `hostrun push`.

use super::registry;
use crate::args::registries::Push;
use crate::globals::Globals;
use crate::output;
use crate::progress::Board;
use anyhow::{Context, Result};
use hostrun_image_store::PushOptions;

/// Runs the verb.
///
/// # Errors
/// When the image is not there or not whole, or the registry does not take it.
pub(crate) fn main(globals: &Globals, args: &Push) -> Result<u8> {
    let name = args.name.as_ref().unwrap_or(&args.image);
    let store = globals.open_store()?;
    // Before anything is asked of anybody.
    store.resolve(&args.image)?;
    let remote = registry::open(name, &registry::options(&args.registry)?.for_push())?;
    let board = Board::new(args.progress, args.quiet);
    let told = board.clone();
    let options = PushOptions::default()
        .with_gzip(!args.uncompressed)
        .with_progress(move |progress| told.tell(progress));
    let pushed = store.push(&args.image, &remote, &options);
    board.end();
    let digest = pushed?;
    if let Some(file) = &args.digestfile {
        std::fs::write(file, digest.to_string())
            .with_context(|| format!("cannot write '{}'", file.display()))?;
    }
    if args.quiet {
        output::line(&digest.to_string())?;
    } else {
        output::line(&format!("{}  {digest}", remote.image()))?;
    }
    Ok(0)
}
