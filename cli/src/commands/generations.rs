//! `hostrun generations`.

use crate::args::containers::Format;
use crate::args::images::{Generations, GenerationsVerb};
use crate::clock;
use crate::globals::Globals;
use crate::{output, table};
use anyhow::Result;
use hostrun_image_store::{GenerationInfo, Store};
use serde_json::{Map, Value, json};

/// Runs the verb.
///
/// # Errors
/// When there is no such generation, or the store cannot be changed.
pub(crate) fn main(globals: &Globals, args: &Generations) -> Result<u8> {
    let store = globals.open_store()?;
    match args.verb {
        GenerationsVerb::List { format } => list(&store, format)?,
        GenerationsVerb::Switch { number } => store.switch(number)?,
        GenerationsVerb::Rollback => output::line(&store.roll_back()?.to_string())?,
    }
    Ok(0)
}

fn list(store: &Store, format: Format) -> Result<()> {
    let all = store.generations()?;
    if format == Format::Json {
        return output::json(&all.iter().map(describe).collect::<Vec<Value>>());
    }
    let row = |one: &GenerationInfo| {
        let age = clock::since_epoch(one.made).until(clock::now());
        vec![
            one.number.to_string(),
            if one.current { "*" } else { "" }.to_owned(),
            format!("{} ago", clock::roughly(age)),
            one.change.name().to_owned(),
            one.names.len().to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let header = ["NUMBER", "CURRENT", "MADE", "BY", "NAMES"];
    output::text(&table::columns(&header, &rows))
}

fn describe(one: &GenerationInfo) -> Value {
    let names = one.names.iter();
    let names = names.map(|(name, id)| (name.to_string(), json!(id.to_string())));
    json!({
        "number": one.number,
        "current": one.current,
        "made": clock::since_epoch(one.made).to_rfc3339_seconds(),
        "by": one.change.name(),
        "names": names.collect::<Map<String, Value>>(),
    })
}
