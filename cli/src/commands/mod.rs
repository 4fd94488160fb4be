//! What each verb does: its arguments as typed, then calls of the libraries.

pub(crate) mod bundle;
pub(crate) mod exec;
pub(crate) mod images;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod load;
pub(crate) mod logs;
pub(crate) mod monitor;
pub(crate) mod pages;
pub(crate) mod ps;
pub(crate) mod rm;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod stop;

mod foreground;
mod pidfile;
mod run_bundle;

use crate::report;
use anyhow::Result;

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
