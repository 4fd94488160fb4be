//! `hostrun history`.

use crate::args::containers::Format;
use crate::args::images::History;
use crate::clock::{self, Instant};
use crate::globals::Globals;
use crate::{output, table};
use anyhow::Result;
use serde_json::{Value, json};

/// A step, and the layer it made.
struct Step {
    layer: Option<String>,
    created: Option<String>,
    by: String,
    comment: String,
    bytes: u64,
}

/// Runs the verb.
///
/// # Errors
/// When the image is not there.
pub(crate) fn main(globals: &Globals, args: &History) -> Result<u8> {
    let store = globals.open_store()?;
    let image = store.resolve(&args.image)?;
    let bytes = store.layer_bytes(&image)?;
    let mut layers = image.layers().iter().zip(bytes);
    let mut steps: Vec<Step> = Vec::new();
    for entry in image.config().history().iter().flatten() {
        let is_empty = entry.empty_layer().unwrap_or(false);
        let layer = if is_empty { None } else { layers.next() };
        steps.push(Step {
            layer: layer.map(|(id, _)| id.to_string()),
            created: entry.created().clone(),
            by: entry.created_by().clone().unwrap_or_default(),
            comment: entry.comment().clone().unwrap_or_default(),
            bytes: layer.map_or(0, |(_, bytes)| bytes),
        });
    }
    // An image need not tell all of its history.
    steps.extend(layers.map(|(id, bytes)| Step {
        layer: Some(id.to_string()),
        created: None,
        by: String::new(),
        comment: String::new(),
        bytes,
    }));
    steps.reverse();
    if args.quiet {
        let ids = steps.iter().filter_map(|step| step.layer.as_deref());
        ids.map(|id| short(id, args.no_trunc))
            .try_for_each(|id| output::line(&id))?;
    } else if args.format == Format::Json {
        output::json(&steps.iter().map(describe).collect::<Vec<Value>>())?;
    } else {
        let rows: Vec<Vec<String>> = steps.iter().map(|step| row(step, args.no_trunc)).collect();
        let header = ["LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT"];
        output::text(&table::columns(&header, &rows))?;
    }
    Ok(0)
}

fn short(id: &str, whole: bool) -> String {
    let digits = id.rsplit(':').next().unwrap_or(id);
    if whole {
        id.to_owned()
    } else {
        digits.chars().take(12).collect()
    }
}

fn row(step: &Step, whole: bool) -> Vec<String> {
    let created = step.created.as_deref().and_then(Instant::parse);
    let ago = |at: Instant| format!("{} ago", clock::roughly(at.until(clock::now())));
    // The words of a stranger, on one line.
    let by: String = step
        .by
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let comment: String = step
        .comment
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    vec![
        step.layer
            .as_deref()
            .map_or_else(|| "-".to_owned(), |id| short(id, whole)),
        created.map_or_else(|| "-".to_owned(), ago),
        if whole { by } else { table::short(&by, 45) },
        table::size(step.bytes),
        comment,
    ]
}

fn describe(step: &Step) -> Value {
    json!({
        "layer": step.layer,
        "created": step.created,
        "createdBy": step.by,
        "comment": step.comment,
        "size": step.bytes,
    })
}
