//! `hostrun verify`.

use crate::args::containers::Format;
use crate::args::images::Verify;
use crate::globals::Globals;
use crate::output;
use crate::report::Failure;
use anyhow::Result;
use hostrun_image_store::{Damage, Part, Repaired, Verified};
use serde_json::{Value, json};

/// What is found wrong and not repaired.
const DAMAGED: u8 = 1;

/// Runs the verb.
///
/// # Errors
/// When the store is damaged, and stays so.
pub(crate) fn main(globals: &Globals, args: &Verify) -> Result<u8> {
    let store = globals.open_store()?;
    let found = store.verify(args.deep)?;
    let repaired = if args.repair && !found.damages.is_empty() {
        Some(store.repair(&found)?)
    } else {
        None
    };
    if args.format == Format::Json {
        output::json(&describe(&found, repaired.as_ref()))?;
    } else {
        tell(&found, repaired.as_ref())?;
    }
    let is_whole =
        found.damages.is_empty() || repaired.is_some_and(|repaired| repaired.in_use.is_empty());
    if is_whole {
        return Ok(0);
    }
    let failure = Failure::new(format!(
        "the store is damaged in {} places",
        found.damages.len()
    ));
    let hint = if args.repair {
        "remove the containers of the images that are left, then repair again"
    } else {
        "'hostrun verify --repair' removes what is damaged, to be loaded again"
    };
    Err(failure.hint(hint).code(DAMAGED).into())
}

fn tell(found: &Verified, repaired: Option<&Repaired>) -> Result<()> {
    for damage in &found.damages {
        output::line(&format!("damaged: {}: {}", part(damage), damage.error))?;
    }
    for image in repaired.iter().flat_map(|repaired| &repaired.images) {
        output::line(&format!("deleted: {image}"))?;
    }
    for image in repaired.iter().flat_map(|repaired| &repaired.in_use) {
        output::line(&format!("in use: {image}"))?;
    }
    let (images, layers) = (found.images, found.layers);
    output::line(&format!("looked at {images} images, {layers} layers"))
}

fn part(damage: &Damage) -> String {
    match &damage.part {
        Part::Generation(number) => format!("generation {number}"),
        Part::Image(id) => format!("image {id}"),
        Part::Layer(id) => format!("layer {id}"),
        _ => "store".to_owned(),
    }
}

fn describe(found: &Verified, repaired: Option<&Repaired>) -> Value {
    let names = |ids: &[hostrun_image_store::Digest]| -> Vec<String> {
        ids.iter().map(ToString::to_string).collect()
    };
    let damages = found.damages.iter().map(|damage| {
        json!({
            "part": part(damage),
            "error": damage.error.to_string(),
            "images": names(&damage.images),
        })
    });
    json!({
        "images": found.images,
        "layers": found.layers,
        "damages": damages.collect::<Vec<Value>>(),
        "deleted": repaired.map(|repaired| names(&repaired.images)),
        "inUse": repaired.map(|repaired| names(&repaired.in_use)),
    })
}
