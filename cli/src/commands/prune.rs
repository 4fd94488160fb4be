//! `hostrun prune` and `hostrun gc`.

use super::images::selected;
use super::sweep;
use crate::args::images::{Gc, Prune};
use crate::globals::Globals;
use crate::{output, table};
use anyhow::Result;
use hostrun_image_store::{Collected, Store};
use std::collections::BTreeSet;

/// Runs `prune`.
///
/// # Errors
/// When the store cannot be read or changed.
pub(crate) fn prune(globals: &Globals, args: &Prune) -> Result<u8> {
    let store = globals.open_store()?;
    let collected = if args.filter.is_empty() {
        store.prune(args.all)?
    } else {
        let images = selected(&store, &args.filter, None)?;
        let mut ids = BTreeSet::new();
        ids.extend(images.iter().map(|image| image.id().clone()));
        store.prune_among(args.all, &ids)?
    };
    tell(globals, &store, &collected)
}

/// Runs `gc`.
///
/// # Errors
/// As [`prune`].
pub(crate) fn gc(globals: &Globals, _args: &Gc) -> Result<u8> {
    let store = globals.open_store()?;
    let collected = store.collect()?;
    tell(globals, &store, &collected)
}

fn tell(globals: &Globals, store: &Store, collected: &Collected) -> Result<u8> {
    for image in &collected.images {
        output::line(&format!("deleted: {image}"))?;
    }
    let size = table::size(collected.bytes);
    output::line(&format!("reclaimed: {size}"))?;
    // Also what a crash left lies there.
    sweep::later(globals, store, collected.entries)?;
    Ok(0)
}
