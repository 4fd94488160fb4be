//! What each verb does: its arguments as typed, then calls of the libraries.

pub(crate) mod df;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod generations;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod monitor;
pub(crate) mod oci;
#[cfg(feature = "pages")]
pub(crate) mod pages;
pub(crate) mod prune;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rm;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod save;
pub(crate) mod stop;
pub(crate) mod sweep;
pub(crate) mod tag;
pub(crate) mod unit;
pub(crate) mod verify;

mod foreground;
mod pidfile;
mod registry;
mod shortage;

use crate::entrance;
use crate::globals::Globals;
use crate::record::Records;
use crate::report;
use crate::target::Target;
use anyhow::Result;
use hostrun_runtime::rootless;

/// The container of our own records that a name means. `None` where names cannot mean one of those, or none fits: then
/// the name is the id of a container made from a bundle, and the verb has the meaning that OCI runtimes give it.
fn recorded(globals: &Globals, name: &str) -> Result<Option<Target>> {
    if !globals.has_records() {
        return Ok(None);
    }
    let record = Records::of(&globals.store).find(name)?;
    record
        .map(|record| Target::of_record(globals, record))
        .transpose()
}

/// Goes where an ordinary user's own containers are, if one of these is meant: those made from bundles are not
/// in there.
///
/// # Errors
/// As [`entrance::pass`].
fn enter_for(globals: &Globals, names: &[String]) -> Result<()> {
    let is_recorded = |name: &String| matches!(recorded(globals, name), Ok(Some(_)));
    if !rootless::is_root() && names.iter().any(is_recorded) {
        entrance::pass(globals)?;
    }
    Ok(())
}

/// Does the same to each name: a failure of one is told and the others still have their turn.
fn each(names: &[String], mut act: impl FnMut(&str) -> Result<()>) -> Result<u8> {
    let mut failures = Vec::new();
    for name in names {
        failures.extend(act(name).err());
    }
    let last = failures.pop();
    for error in failures {
        report::Told::of(&error).say();
    }
    last.map_or(Ok(0), Err)
}
