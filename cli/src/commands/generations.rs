//! `hostrun generations`.

use crate::args::containers::Format;
use crate::args::images::{Generations, GenerationsVerb};
use crate::clock;
use crate::globals::Globals;
use crate::{output, report, table};
use anyhow::Result;
use hostrun_image_store::{GenerationInfo, Store};
use serde_json::{Map, Value, json};

/// Runs the verb.
///
/// # Errors
/// When there is no such generation, or the store cannot be changed.
pub(crate) fn main(globals: &Globals, args: &Generations) -> Result<u8> {
    let store = globals.open_store()?;
    match &args.verb {
        GenerationsVerb::List { format } => list(&store, *format)?,
        GenerationsVerb::Switch { number } => store.switch(*number)?,
        GenerationsVerb::Rollback => output::line(&store.roll_back()?.to_string())?,
        GenerationsVerb::Follow { version } if version.is_empty() => {}
        GenerationsVerb::Follow { version } => return follow(&store, version),
    }
    Ok(0)
}

/// What changes is said: at boot it is in the journal.
fn follow(store: &Store, version: &str) -> Result<u8> {
    let Some(followed) = store.follow(version)? else {
        return Ok(0);
    };
    for error in &followed.damage {
        report::warn(&error.to_string());
    }
    let number = followed.number;
    let before = followed.left.map_or_else(String::new, |(before, kept)| {
        format!(" after version {before}, for which generation {kept} is kept")
    });
    let what = match (followed.back, followed.damage.is_empty()) {
        (true, _) => "names mean again what they did",
        (false, true) => "names stay as they are",
        (false, false) => "names are not what they were",
    };
    output::line(&format!(
        "version {version}{before}: {what}: generation {number}"
    ))?;
    Ok(u8::from(!followed.damage.is_empty()))
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
            one.systems.join(" "),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let header = ["NUMBER", "CURRENT", "MADE", "BY", "NAMES", "SYSTEMS"];
    output::text(&table::columns(&header, &rows))
}

fn describe(one: &GenerationInfo) -> Value {
    let names = one.names.iter();
    let names = names.map(|(name, id)| (name.to_string(), json!(id.to_string())));
    json!({
        "number": one.number,
        "current": one.current,
        "systems": one.systems,
        "made": clock::since_epoch(one.made).to_rfc3339_seconds(),
        "by": one.change.name(),
        "names": names.collect::<Map<String, Value>>(),
    })
}
