//! The verbs of an OCI runtime, as runc has them: same flags, files, JSON, exit codes and the words that callers look
//! for. `run`, `exec`, `kill` and `ps` also mean something for containers of our own records; which of the two is
//! meant is decided in `super` by [`Globals::has_records`].

pub(crate) mod checkpoint;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod features;
pub(crate) mod kill;
pub(crate) mod lists;
pub(crate) mod make;
pub(crate) mod pause;
pub(crate) mod processes;
pub(crate) mod spec;
pub(crate) mod update;

mod psi;
mod statistics;
mod words;

use crate::globals::Globals;
use crate::report::Failure;
use anyhow::Result;
use hostrun_runtime::{Container, ContainerId, ErrorKind, Runtime};
pub(super) use words::{Act, told};

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
///
/// # Errors
/// When there is none, or the runtime cannot tell.
pub(super) fn container(globals: &Globals, id: &str) -> Result<Container> {
    // The words are what callers of OCI runtimes look for.
    let missing = || Failure::new(format!("container does not exist: '{id}'"));
    if id.is_empty() {
        return Err(Failure::new("container id cannot be empty").into());
    }
    let checked = ContainerId::new(id)?;
    if !globals.root.exists() {
        return Err(missing().into());
    }
    match Runtime::open(&globals.root)?.container(&checked) {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(missing().into()),
        other => Ok(other?),
    }
}

/// Systemd makes cgroups only where it runs.
///
/// # Errors
/// When it was asked to and does not run.
fn check_cgroup_driver(globals: &Globals) -> Result<()> {
    if globals.systemd_cgroup && !std::path::Path::new("/run/systemd/system").exists() {
        return Err(Failure::new(
            "systemd cgroup flag passed, but systemd support for managing cgroups is not available",
        )
        .into());
    }
    Ok(())
}
