//! `hostrun images`.

use crate::args::containers::Format;
use crate::args::images::Images;
use crate::clock::{self, Instant};
use crate::globals::Globals;
use crate::{output, table};
use anyhow::Result;
use hostrun_image_store::{Image, Store};
use serde_json::{Value, json};

/// Runs the verb.
///
/// # Errors
/// When the store cannot be read.
pub(crate) fn main(globals: &Globals, args: &Images) -> Result<u8> {
    // Looking must not create.
    let images = if globals.store.exists() {
        Store::open(&globals.store)?.images()?
    } else {
        Vec::new()
    };
    if args.quiet {
        images
            .iter()
            .try_for_each(|image| output::line(&id(image, args.no_trunc)))?;
    } else if args.format == Format::Json {
        output::json(&images.iter().map(describe).collect::<Vec<Value>>())?;
    } else {
        let rows: Vec<Vec<String>> = images
            .iter()
            .flat_map(|image| rows(image, args.no_trunc))
            .collect();
        output::text(&table::columns(
            &["NAME", "IMAGE ID", "CREATED", "SIZE"],
            &rows,
        ))?;
    }
    Ok(0)
}

fn id(image: &Image, whole: bool) -> String {
    if whole {
        image.id().to_string()
    } else {
        image.id().short().to_owned()
    }
}

fn rows(image: &Image, whole: bool) -> Vec<Vec<String>> {
    let created = image.created().and_then(Instant::parse).map_or_else(
        || "-".to_owned(),
        |created| format!("{} ago", clock::roughly(created.until(clock::now()))),
    );
    let size = table::size(image.size());
    let names = match image.names() {
        [] => vec!["<none>".to_owned()],
        names => names.iter().map(ToString::to_string).collect(),
    };
    names
        .into_iter()
        .map(|name| vec![name, id(image, whole), created.clone(), size.clone()])
        .collect()
}

/// An image as JSON.
pub(super) fn describe(image: &Image) -> Value {
    json!({
        "id": image.id().to_string(),
        "names": image.names().iter().map(ToString::to_string).collect::<Vec<String>>(),
        "manifest": image.manifest().map(ToString::to_string),
        "created": image.created(),
        "size": image.size(),
        "layers": image.layers().iter().map(ToString::to_string).collect::<Vec<String>>(),
    })
}
