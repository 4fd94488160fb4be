//! `hostrun stop`.

use crate::args::containers::Stop;
use crate::globals::Globals;
use crate::output;
use crate::target::{self, Target};
use anyhow::Result;
use hostrun_runtime::{ErrorKind, Signal};
use std::time::Duration;

/// Runs the verb.
///
/// # Errors
/// When a container is not there; the others are stopped all the same.
pub(crate) fn main(globals: &Globals, args: &Stop) -> Result<u8> {
    super::enter_for(globals, &args.containers)?;
    // Negative waits for ever.
    let limit = u64::try_from(args.seconds).ok().map(Duration::from_secs);
    super::each(&args.containers, |name| {
        let target = Target::find(globals, name)?;
        let meta = target
            .record
            .as_ref()
            .map(crate::record::Record::meta)
            .transpose()?;
        let signal = match meta {
            Some(meta) => Signal::parse(&meta.stop_signal)?,
            None => Signal::TERM,
        };
        stop(&target, signal, limit)?;
        output::line(name)
    })
}

/// Asks a container to end and ends it when the time is over. Returns once its end is recorded.
fn stop(target: &Target, signal: Signal, limit: Option<Duration>) -> Result<()> {
    if let Some(pidfd) = target.pidfd()? {
        send(target, signal, false)?;
        if !target::wait(&pidfd, limit)? {
            send(target, Signal::KILL, true)?;
            target::wait(&pidfd, None)?;
        }
    }
    target.settle().map(drop)
}

/// Sends a signal. A container that ended meanwhile is what was wanted.
fn send(target: &Target, signal: Signal, all: bool) -> Result<()> {
    let Some(container) = target.container()? else {
        return Ok(());
    };
    match container.kill(signal, all) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::WrongState) => {
            Err(error.into())
        }
        _ => Ok(()),
    }
}

/// Ends a container at once, if it runs.
///
/// # Errors
/// When the runtime refuses.
pub(super) fn kill_now(target: &Target) -> Result<()> {
    if let Some(pidfd) = target.pidfd()? {
        send(target, Signal::KILL, true)?;
        target::wait(&pidfd, None)?;
    }
    Ok(())
}
