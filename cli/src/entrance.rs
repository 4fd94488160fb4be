//! How an ordinary user's images and containers are reached: we are executed anew in the user's own namespace, as its
//! root, and are told there in words where things are. No variable has a say: root never comes here, and
//! who is root in there is a plain root to all that follows.

use crate::globals::{Globals, HOMELESS};
use crate::record::{Record, Records};
use crate::report::Failure;
use anyhow::{Context, Result};
use hostrun_runtime::{ContainerId, rootless};
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;

/// For verbs about images and the containers made from them; returns to root only.
///
/// # Errors
/// When this user has no ids for them, or the machine does not let it in.
pub(crate) fn pass(globals: &Globals) -> Result<()> {
    if rootless::is_root() {
        return Ok(());
    }
    let stateless = !globals.root_given && globals.root.starts_with("/run/hostrun");
    if stateless || globals.store.starts_with(HOMELESS) {
        let failure = Failure::new("there is no place for images of this user and what they run");
        return Err(failure
            .hint(
                "set HOME, and XDG_RUNTIME_DIR to a directory of the user's that a reboot empties",
            )
            .into());
    }
    let words: Vec<OsString> = std::env::args_os().collect();
    let records = Records::of(&globals.store);
    let id = |record: Record| ContainerId::new(record.id()).ok();
    // The container that a word means is to be reached, whatever becomes of the others.
    let named = words.iter().skip(1).filter_map(|word| word.to_str());
    let named = named.filter_map(|word| records.find(word).ok()?);
    let named = { named }.find_map(id);
    let others: Vec<ContainerId> = records.all()?.into_iter().filter_map(id).collect();
    let argv = arguments(globals, words)?;
    let never = rootless::enter(&globals.root, named.as_ref(), &others, &argv)?;
    match never {}
}

/// The same words, after those that say where things are: what the caller said stands behind them and holds.
fn arguments(globals: &Globals, words: Vec<OsString>) -> Result<Vec<CString>> {
    let mut words = words.into_iter();
    let own = [
        words.next().unwrap_or_else(|| "hostrun".into()),
        "--root".into(),
        globals.root.clone().into_os_string(),
        "--store".into(),
        globals.store.clone().into_os_string(),
    ];
    own.into_iter()
        .chain(words)
        .map(|word| CString::new(word.into_vec()).context("a word has a zero byte in it"))
        .collect()
}
