//! `hostrun images`.

use crate::args::containers::Format;
use crate::args::images::Images;
use crate::clock::{self, Instant};
use crate::flags::filter::{Filter, fits};
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
        let store = globals.open_store()?;
        selected(&store, &args.filter, args.name.as_deref())?
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
        let rows: Vec<Vec<String>> = images.iter().flat_map(|image| rows(image, args)).collect();
        let header: &[&str] = if args.digests {
            &["NAME", "DIGEST", "IMAGE ID", "CREATED", "SIZE"]
        } else {
            &["NAME", "IMAGE ID", "CREATED", "SIZE"]
        };
        output::text(&table::columns(header, &rows))?;
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

/// Those that every filter takes.
pub(super) fn selected(
    store: &Store,
    filters: &[Filter],
    name: Option<&str>,
) -> Result<Vec<Image>> {
    let mut images = store.images()?;
    for filter in filters {
        let at = match filter {
            Filter::Before(name) | Filter::Since(name) => Some(store.resolve(name)?),
            _ => None,
        };
        let at = at.as_ref().and_then(built);
        images.retain(|image| match filter {
            Filter::Dangling(yes) => image.names().is_empty() == *yes,
            Filter::Label(key, value) => has_label(image, key, value.as_deref()),
            Filter::NoLabel(key, value) => !has_label(image, key, value.as_deref()),
            // all at once, below
            Filter::Reference(_) => true,
            Filter::Before(_) => built(image) < at,
            Filter::Since(_) => built(image) > at,
            Filter::Until(time) => built(image).is_some_and(|built| built < *time),
        });
    }
    let pattern = |filter: &Filter| match filter {
        Filter::Reference(pattern) => Some(pattern.clone()),
        _ => None,
    };
    let patterns: Vec<String> = filters.iter().filter_map(pattern).collect();
    if !patterns.is_empty() {
        images.retain(|image| patterns.iter().any(|pattern| is_called(image, pattern)));
    }
    if let Some(name) = name {
        images.retain(|image| is_called(image, name));
    }
    Ok(images)
}

fn built(image: &Image) -> Option<Instant> {
    image.created().and_then(Instant::parse)
}

fn has_label(image: &Image, key: &str, value: Option<&str>) -> bool {
    let labels = image.config().labels_of_config();
    let found = labels.and_then(|labels| labels.get(key));
    found.is_some_and(|found| value.is_none_or(|value| value == found))
}

/// By the whole name, the name without its tag, or either in the short form docker's users write.
fn is_called(image: &Image, pattern: &str) -> bool {
    image
        .names()
        .iter()
        .any(|name| fits(pattern, &name.to_string()) || fits(pattern, name.name()))
}

fn rows(image: &Image, args: &Images) -> Vec<Vec<String>> {
    let created = built(image).map_or_else(
        || "-".to_owned(),
        |created| format!("{} ago", clock::roughly(created.until(clock::now()))),
    );
    let size = table::size(image.size());
    let names = match image.names() {
        [] => vec!["<none>".to_owned()],
        names => names.iter().map(ToString::to_string).collect(),
    };
    let digest = image
        .manifest()
        .map_or_else(|| "<none>".to_owned(), ToString::to_string);
    let row = |name| {
        let mut row = vec![name];
        row.extend(args.digests.then(|| digest.clone()));
        row.extend([id(image, args.no_trunc), created.clone(), size.clone()]);
        row
    };
    names.into_iter().map(row).collect()
}

/// An image as JSON.
pub(super) fn describe(image: &Image) -> Value {
    json!({
        "id": image.id().to_string(),
        "names": image.names().iter().map(ToString::to_string).collect::<Vec<String>>(),
        "manifest": image.manifest().map(ToString::to_string),
        "created": image.created(),
        "size": image.size(),
        "system": image.is_shipped(),
        "layers": image.layers().iter().map(ToString::to_string).collect::<Vec<String>>(),
    })
}
