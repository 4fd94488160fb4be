//! `events`.

use super::{Act, container, statistics, told};
use crate::args::bundles::Events;
use crate::globals::Globals;
use crate::output;
use crate::report::Failure;
use anyhow::{Context, Result};
use hostrun_runtime::{Container, ErrorKind, Event, Status};
use std::time::Instant;

/// Runs the verb: until the container's last process is gone, or once with `--stats`.
///
/// # Errors
/// When there is no such container, or it does not run.
pub(crate) fn main(globals: &Globals, args: &Events) -> Result<u8> {
    told(globals, Act::Other, watched(globals, args))
}

fn watched(globals: &Globals, args: &Events) -> Result<u8> {
    let container = container(globals, &args.id)?;
    if container.state()?.status == Status::Stopped {
        let why = format!("container with id {} is not running", args.id);
        return Err(Failure::new(why).hint("container not running").into());
    }
    if args.stats {
        let (stats, rdt) = (container.stats()?, container.rdt_stats()?);
        return tell(&statistics::event(&args.id, &stats, rdt.as_ref())).map(|()| 0);
    }
    let mut watch = container.watch()?;
    let mut look = Instant::now() + args.interval;
    loop {
        let left = look.saturating_duration_since(Instant::now());
        match watch.next(Some(left))? {
            Some(Event::Ended) => return Ok(0),
            Some(Event::OutOfMemory(_processes)) => tell(&statistics::out_of_memory(&args.id))?,
            _ => {
                look = Instant::now() + args.interval;
                show(&container, &args.id)?;
            }
        }
    }
}

/// One that ends between the two looks has no statistics any more.
fn show(container: &Container, id: &str) -> Result<()> {
    match container.stats() {
        Ok(stats) => tell(&statistics::event(
            id,
            &stats,
            container.rdt_stats()?.as_ref(),
        )),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::WrongState) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn tell(event: &statistics::Event) -> Result<()> {
    output::line(&serde_json::to_string(event).context("cannot write JSON")?)
}
