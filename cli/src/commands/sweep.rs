//! `hostrun sweep`, hidden: deletes what was removed, when everybody else has had their turn.

use crate::args::images::Sweep;
use crate::globals::Globals;
use anyhow::{Context, Result};
use hostrun_image_store::Store;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// So many files are deleted sooner than a process is started.
const AT_ONCE: u64 = 1000;

/// The least of all priorities; the disk's schedulers go by it, too.
const NICEST: i32 = 19;

/// Gives back the room of what was removed: at once if that is little, else in a process of its own
/// that nobody waits for. One that is killed leaves the rest to the next.
///
/// # Errors
/// When what is little cannot be deleted.
pub(super) fn later(globals: &Globals, store: &Store, entries: u64) -> Result<()> {
    if entries <= AT_ONCE {
        return Ok(store.empty_trash()?);
    }
    let spawned = Command::new("/proc/self/exe")
        .arg0("hostrun")
        .arg("--store")
        .arg(&globals.store)
        .arg("sweep")
        .current_dir("/")
        .env_clear()
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match spawned {
        Ok(_child) => Ok(()),
        Err(_none) => Ok(store.empty_trash()?),
    }
}

/// Runs the verb.
///
/// # Errors
/// When something cannot be deleted.
pub(crate) fn main(globals: &Globals, _args: &Sweep) -> Result<u8> {
    rustix::process::nice(NICEST).context("cannot lower the priority")?;
    Store::open(&globals.store)?.empty_trash()?;
    Ok(0)
}
