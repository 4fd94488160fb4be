//! `start`, `state`, `delete` and `list`: containers that exist.

use super::{Act, container, told};
use crate::args::bundles::{Delete, List, Start, State};
use crate::args::containers::Format;
use crate::globals::{Globals, Name};
use crate::handover::notify::Notify;
use crate::report::{self, Failure};
use crate::{output, table};
use anyhow::{Context, Result};
use hostrun_runtime::ErrorKind;

/// `start`.
///
/// # Errors
/// When there is no such container, or its program does not run.
pub(crate) fn start(globals: &Globals, args: &Start) -> Result<u8> {
    told(globals, Act::Start, start_told(globals, args))
}

fn start_told(globals: &Globals, args: &Start) -> Result<u8> {
    let container = container(globals, &args.id)?;
    let notify = Notify::wanted(&globals.root, container.id());
    let listening = notify.as_ref().map(Notify::listen).transpose()?.flatten();
    container.start()?;
    if let Some(listening) = listening {
        listening.relay(container.state()?.pid)?;
    }
    Ok(0)
}

/// `state`.
///
/// # Errors
/// When there is no such container.
pub(crate) fn state(globals: &Globals, args: &State) -> Result<u8> {
    let shown = || {
        output::json(&container(globals, &args.id)?.state()?)?;
        Ok(0)
    };
    told(globals, Act::Other, shown())
}

/// `delete`. Forced, a container that is not there is no error: callers delete twice to be sure.
///
/// # Errors
/// When there is no such container, or it runs and force was not asked for.
pub(crate) fn delete(globals: &Globals, args: &Delete) -> Result<u8> {
    let deleted = || {
        let found = container(globals, &args.id);
        if args.force
            && let Err(error) = &found
            && error.downcast_ref::<Failure>().is_some()
        {
            return Ok(0);
        }
        report::deleted(&found?.delete(args.force)?);
        Ok(0)
    };
    told(globals, Act::Other, deleted())
}

/// `list`.
///
/// # Errors
/// When the state directory cannot be read, or is named and not there.
pub(crate) fn list(globals: &Globals, args: &List) -> Result<u8> {
    told(globals, Act::Other, listed(globals, args))
}

fn listed(globals: &Globals, args: &List) -> Result<u8> {
    if globals.root_given {
        // The usual place is made with the first container; one that was named ought to be there.
        std::fs::metadata(&globals.root)
            .with_context(|| format!("cannot list '{}'", globals.root.display()))?;
    }
    let mut states = Vec::new();
    for container in super::all(globals)? {
        match container.state() {
            Ok(state) => states.push(state),
            // Deleted between the two looks.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // One that cannot be read hides no other.
            Err(error) => report::warn(&error.to_string()),
        }
    }
    if args.quiet {
        states
            .iter()
            .try_for_each(|state| output::line(&state.id))?;
    } else if args.format == Format::Json {
        // An empty list of Go is null.
        if states.is_empty() && globals.name == Name::Runc {
            output::line("null")?;
        } else {
            output::line(&serde_json::to_string(&states).context("cannot write JSON")?)?;
        }
    } else {
        let rows: Vec<Vec<String>> = states
            .iter()
            .map(|state| {
                vec![
                    state.id.clone(),
                    state.pid.to_string(),
                    state.status.to_string(),
                    state.bundle.display().to_string(),
                    state.created.clone(),
                    state.owner.clone(),
                ]
            })
            .collect();
        output::text(&table::columns(
            &["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"],
            &rows,
        ))?;
    }
    Ok(0)
}
