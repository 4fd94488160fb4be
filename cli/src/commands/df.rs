//! `hostrun df`.

use crate::args::containers::Format;
use crate::args::images::Df;
use crate::globals::Globals;
use crate::{output, table};
use anyhow::Result;
use serde_json::json;

/// Runs the verb.
///
/// # Errors
/// When the store cannot be read.
pub(crate) fn main(globals: &Globals, args: &Df) -> Result<u8> {
    let used = globals.open_store()?.usage()?;
    if args.format == Format::Json {
        output::json(&json!({
            "images": used.images,
            "imagesInUse": used.images_in_use,
            "layers": used.layers,
            "size": used.image_bytes,
            "reclaimable": used.reclaimable_bytes,
            "containers": used.containers,
            "inWork": used.in_work,
            "inTrash": used.in_trash,
        }))?;
        return Ok(0);
    }
    let share = (used.reclaimable_bytes * 100)
        .checked_div(used.image_bytes)
        .unwrap_or(0);
    let row = vec![
        "Images".to_owned(),
        used.images.to_string(),
        used.images_in_use.to_string(),
        table::size(used.image_bytes),
        format!("{} ({share}%)", table::size(used.reclaimable_bytes)),
    ];
    let header = ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"];
    output::text(&table::columns(&header, &[row]))?;
    Ok(0)
}
