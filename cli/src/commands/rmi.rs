//! `hostrun rmi`.

use super::sweep;
use crate::args::images::Rmi;
use crate::globals::Globals;
use crate::output;
use anyhow::Result;
use hostrun_image_store::{ErrorKind, Removed, Store};

/// Runs the verb.
///
/// # Errors
/// When an image is not there or in use; the others are removed all the same.
pub(crate) fn main(globals: &Globals, args: &Rmi) -> Result<u8> {
    let store = globals.open_store()?;
    let mut entries = 0;
    let result = super::each(&args.images, |name| {
        let removed = match remove(&store, name, args.force) {
            Err(error) if args.force && error.kind() == ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        };
        for removed in removed {
            entries += removed.entries;
            for name in &removed.untagged {
                output::line(&format!("untagged: {name}"))?;
            }
            if let Some(image) = removed.image {
                output::line(&format!("deleted: {image}"))?;
            }
        }
        Ok(())
    });
    sweep::later(globals, &store, entries)?;
    result
}

/// By force an id stands for all names of its image.
fn remove(store: &Store, name: &str, force: bool) -> hostrun_image_store::Result<Vec<Removed>> {
    let error = match store.remove(name) {
        Err(error) if force && error.kind() == ErrorKind::InUse => error,
        removed => return Ok(vec![removed?]),
    };
    let image = store.resolve(name)?;
    if image.names().len() < 2 {
        return Err(error);
    }
    let names = image.names().iter();
    names.map(|name| store.remove(&name.to_string())).collect()
}
