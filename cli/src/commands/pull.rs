//! `hostrun pull`.

use super::{load, registry};
use crate::args::registries::{How, Pull};
use crate::globals::Globals;
use crate::progress::Board;
use crate::{output, table};
use anyhow::Result;
use hostrun_image_store::{Image, LoadOptions, Platform, RegistryOptions, Store};

/// Runs the verb.
///
/// # Errors
/// When the image cannot be had, or is not what the registry says.
pub(crate) fn main(globals: &Globals, args: &Pull) -> Result<u8> {
    let platform = args
        .platform
        .as_deref()
        .map(str::parse::<Platform>)
        .transpose()?;
    let remote = registry::open(&args.image, &registry::options(&args.registry)?)?;
    let board = Board::new(args.progress, args.quiet);
    let options = board
        .options(platform)
        .with_limits(load::limits(&args.limits));
    let image = globals.open_store()?.pull(&remote, &options);
    board.end();
    let (image, name) = (image?, remote.image());
    if args.quiet {
        output::line(&name.to_string())?;
    } else {
        let (id, size) = (image.id().short(), table::size(image.size()));
        let layers = image.layers().len();
        output::line(&format!("{name}  {id}  {size}  {layers} layers"))?;
    }
    Ok(0)
}

/// An image for a container, under the same rules.
///
/// # Errors
/// As the verb.
pub(super) fn for_run(
    store: &Store,
    name: &str,
    platform: Option<Platform>,
    (quiet, only_missing): (bool, bool),
) -> Result<Image> {
    let remote = registry::open(name, &RegistryOptions::default())?;
    // A short name that the configuration makes a longer one.
    let whole = remote.image().to_string();
    if only_missing && let Ok(image) = store.resolve(&whole) {
        return Ok(image);
    }
    let board = Board::new(How::Auto, quiet);
    let options: LoadOptions = board.options(platform);
    let image = store.pull(&remote, &options);
    board.end();
    Ok(image?)
}
