//! `kill ID [SIGNAL]`.

use super::{Act, container, told};
use crate::args::containers::Kill;
use crate::globals::Globals;
use crate::report::usage;
use anyhow::Result;
use hostrun_runtime::{ErrorKind, Signal};

/// Runs the verb.
///
/// # Errors
/// When there is no such container, or it does not run; with `--all` the latter is none.
pub(in crate::commands) fn main(globals: &Globals, args: &Kill) -> Result<u8> {
    told(globals, Act::Other, killed(globals, args))
}

fn killed(globals: &Globals, args: &Kill) -> Result<u8> {
    let (id, word) = match (args.words.as_slice(), &args.signal) {
        ([id], signal) => (id, signal.as_deref()),
        ([id, word], None) => (id, Some(word.as_str())),
        _ => return Err(usage("kill takes the container's id and a signal")),
    };
    let container = container(globals, id)?;
    let signal = word.map_or(Ok(Signal::TERM), Signal::parse)?;
    match container.kill(signal, args.all) {
        Err(error) if args.all && error.kind() == ErrorKind::WrongState => Ok(0),
        other => Ok(other.map(|()| 0)?),
    }
}
