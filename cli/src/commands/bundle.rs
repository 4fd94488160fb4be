//! The verbs of an OCI runtime: create, start, state, delete, list, spec.

use super::run_bundle;
use crate::args::bundles::{Create, Delete, List, Spec, Start, State};
use crate::args::containers::Format;
use crate::globals::Globals;
use crate::report::Failure;
use crate::{output, spec as generator, table};
use anyhow::{Context, Result};
use hostrun_runtime::{Container, ContainerId, ErrorKind, Request, Runtime, seal};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::Write;

/// `hostrun create`.
///
/// # Errors
/// When the container cannot be made.
pub(crate) fn create(globals: &Globals, args: &Create) -> Result<u8> {
    let id = ContainerId::new(&args.id)?;
    seal::ensure_for(&args.bundle)?;
    let bundle = run_bundle::load(&args.bundle)?;
    if run_bundle::wants_terminal(&bundle) {
        return Err(run_bundle::no_console().into());
    }
    let runtime = Runtime::open(&globals.root)?;
    let request = Request::from_bundle(bundle).with_preserved_fds(args.preserve_fds);
    let created = runtime.create(&id, request)?;
    if let Some(path) = &args.pid_file
        && let Err(error) = super::pidfile::write(path, created.pid())
    {
        // A caller that gets no pid has no container.
        container(globals, &args.id)?.delete(true)?;
        return Err(error);
    }
    Ok(0)
}

/// `hostrun start`.
///
/// # Errors
/// When there is no such container, or its program does not run.
pub(crate) fn start(globals: &Globals, args: &Start) -> Result<u8> {
    container(globals, &args.id)?.start()?;
    Ok(0)
}

/// `hostrun state`.
///
/// # Errors
/// When there is no such container.
pub(crate) fn state(globals: &Globals, args: &State) -> Result<u8> {
    output::json(&container(globals, &args.id)?.state()?)?;
    Ok(0)
}

/// `hostrun delete`. Forced, a container that is not there is no error: callers delete twice to be sure.
///
/// # Errors
/// When there is no such container, or it runs and force was not asked for.
pub(crate) fn delete(globals: &Globals, args: &Delete) -> Result<u8> {
    let found = container(globals, &args.id);
    if args.force
        && let Err(error) = &found
        && error.downcast_ref::<Failure>().is_some()
    {
        return Ok(0);
    }
    found?.delete(args.force)?;
    Ok(0)
}

/// `hostrun list`.
///
/// # Errors
/// When the state directory cannot be read.
pub(crate) fn list(globals: &Globals, args: &List) -> Result<u8> {
    let mut states = Vec::new();
    for container in all(globals)? {
        match container.state() {
            Ok(state) => states.push(state),
            // Deleted between the two looks.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    if args.quiet {
        states
            .iter()
            .try_for_each(|state| output::line(&state.id))?;
    } else if args.format == Format::Json {
        output::json(&states)?;
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

/// `hostrun spec`.
///
/// # Errors
/// When there is a config.json already, or it cannot be written.
pub(crate) fn spec(_globals: &Globals, args: &Spec) -> Result<u8> {
    let path = args.bundle.join("config.json");
    let mut text =
        serde_json::to_string_pretty(&generator::template()).context("cannot write JSON")?;
    text.push('\n');
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let file = rustix::fs::open(&path, flags, mode);
    let file = file.with_context(|| format!("cannot create '{}'", path.display()))?;
    File::from(file)
        .write_all(text.as_bytes())
        .with_context(|| format!("cannot write '{}'", path.display()))?;
    Ok(0)
}

/// Every container of the runtime; none if its directory is not there.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn all(globals: &Globals) -> Result<Vec<Container>> {
    if !globals.root.exists() {
        return Ok(Vec::new());
    }
    Ok(Runtime::open(&globals.root)?.containers()?)
}

/// The runtime's container of this id; a [`Failure`] when there is none.
fn container(globals: &Globals, id: &str) -> Result<Container> {
    // The words are what callers of OCI runtimes look for.
    let missing = || Failure::new(format!("container '{id}' does not exist"));
    let checked = ContainerId::new(id)?;
    if !globals.root.exists() {
        return Err(missing().into());
    }
    match Runtime::open(&globals.root)?.container(&checked) {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(missing().into()),
        other => Ok(other?),
    }
}
