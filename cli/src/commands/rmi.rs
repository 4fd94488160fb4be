//! `hostrun rmi`.

use crate::args::images::Rmi;
use crate::globals::Globals;
use crate::output;
use anyhow::Result;
use hostrun_image_store::Store;

/// Runs the verb.
///
/// # Errors
/// When an image is not there or in use; the others are removed all the same.
pub(crate) fn main(globals: &Globals, args: &Rmi) -> Result<u8> {
    let store = Store::open(&globals.store)?;
    super::each(&args.images, |name| {
        let removed = store.remove(name)?;
        for name in &removed.untagged {
            output::line(&format!("untagged: {name}"))?;
        }
        removed
            .image
            .map_or(Ok(()), |image| output::line(&format!("deleted: {image}")))
    })
}
