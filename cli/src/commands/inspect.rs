//! `hostrun inspect`: an array with one object a name.

use super::{images, ps};
use crate::args::containers::Inspect;
use crate::entrance;
use crate::globals::Globals;
use crate::output;
use crate::record::{Phase, Record};
use crate::report::Failure;
use crate::spec;
use crate::target::Target;
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Runs the verb.
///
/// # Errors
/// When a name is neither a container nor an image; the others are shown all the same.
pub(crate) fn main(globals: &Globals, args: &Inspect) -> Result<u8> {
    let mut found = Vec::new();
    let result = super::each(&args.names, |name| {
        found.push(describe(globals, name)?);
        Ok(())
    });
    output::json(&found)?;
    result
}

fn describe(globals: &Globals, name: &str) -> Result<Value> {
    if let Ok(target) = Target::find(globals, name) {
        return match &target.record {
            Some(record) => of_record(globals, record),
            None => of_bundle(&target),
        };
    }
    entrance::pass(globals)?;
    if globals.store.exists()
        && let store = globals.open_store()?
        && let Ok(image) = store.resolve(name)
    {
        let mut value = images::describe(&image);
        if let Some(object) = value.as_object_mut() {
            object.insert("kind".to_owned(), json!("image"));
            // As it came: what we make no use of is in it as well, such as a health check.
            let config: Value = serde_json::from_slice(&store.configuration(&image)?)
                .context("cannot read the image's configuration")?;
            object.insert("config".to_owned(), config);
        }
        return Ok(value);
    }
    Err(
        Failure::new(format!("'{name}' is neither a container nor an image"))
            .hint("'hostrun ps -a' and 'hostrun images' list them")
            .into(),
    )
}

fn of_record(globals: &Globals, record: &Record) -> Result<Value> {
    let meta = record.meta()?;
    let (status, state) = ps::truth(globals, record, record.status()?)?;
    let config = spec::to_json(&record.config()?)?;
    Ok(json!({
        "kind": "container",
        "id": record.id(),
        "name": meta.name,
        "image": meta.image,
        "imageId": meta.image_id,
        "command": meta.command,
        "created": meta.created,
        "labels": meta.labels,
        "stopSignal": meta.stop_signal,
        "autoRemove": meta.auto_remove,
        "detached": meta.detached,
        "healthcheck": meta.health,
        "attended": record.is_attended()?,
        "state": {
            "status": status.phase,
            "running": status.phase == Phase::Running,
            "pid": state.map_or(0, |state| state.pid),
            "exitCode": status.exit_code,
            "error": status.error,
            "oomKilled": status.oom_killed,
            "startedAt": status.started,
            "finishedAt": status.finished,
        },
        "logPath": meta.detached.then(|| record.log()),
        "config": config,
    }))
}

fn of_bundle(target: &Target) -> Result<Value> {
    let container = target
        .container()?
        .with_context(|| format!("container {} is gone", target.shown()))?;
    let state = container.state()?;
    Ok(json!({
        "kind": "container",
        "id": target.id(),
        "bundle": state.bundle,
        "created": state.created,
        "state": { "status": state.status, "pid": state.pid },
        "config": spec::to_json(&container.spec()?)?,
    }))
}
