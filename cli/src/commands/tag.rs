//! `hostrun tag`.

use crate::args::images::Tag;
use crate::globals::Globals;
use anyhow::Result;
use hostrun_image_store::Reference;

/// Runs the verb.
///
/// # Errors
/// When the image is not there or a name is none.
pub(crate) fn main(globals: &Globals, args: &Tag) -> Result<u8> {
    let store = globals.open_store()?;
    let names = args.names.iter().map(|name| Reference::parse(name));
    let names: Vec<Reference> = names.collect::<Result<_, _>>()?;
    for name in &names {
        store.tag(&args.image, name)?;
    }
    Ok(0)
}
