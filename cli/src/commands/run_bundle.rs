//! `hostrun run --bundle DIR ID`: the meaning an OCI runtime gives it.

use crate::args::run::Run;
use crate::attend::{self, Attention, Connection, LineEnds};
use crate::globals::Globals;
use crate::report::{self, Failure};
use crate::stopwatch::Stopwatch;
use anyhow::{Context, Result};
use hostrun_runtime::{Bundle, ContainerId, Request, Running, Runtime, seal};
use oci_spec::runtime::Process;
use std::path::Path;

/// Runs a bundle. With -d the container is left running, to be deleted by `hostrun delete`.
///
/// # Errors
/// When the bundle is none, or the container cannot be started.
pub(super) fn main(globals: &Globals, args: &Run, dir: &Path) -> Result<u8> {
    let [id] = args.words.as_slice() else {
        return Err(report::usage(
            "run --bundle takes one word after the options: the container's id",
        ));
    };
    let mut watch = Stopwatch::begin();
    let id = ContainerId::new(id)?;
    seal::ensure_for(dir)?;
    let bundle = load(dir)?;
    let terminal = wants_terminal(&bundle);
    if args.detach && terminal {
        return Err(no_console().into());
    }
    let runtime = Runtime::open(&globals.root)?;
    watch.mark("bundle");
    let request = Request::from_bundle(bundle).with_preserved_fds(args.preserve_fds);
    if args.detach {
        let running = runtime.create(&id, request)?.start()?;
        return started(args, &running).map(|()| 0);
    }
    let attention = Attention::begin()?;
    let connection = Connection {
        interactive: true,
        ends: LineEnds::Plain,
    };
    let (running, relay) = attend::start(&runtime, &id, request, terminal.then_some(connection))?;
    watch.start(running.timings());
    let exit = started(args, &running).and_then(|()| attention.stay(&running, relay));
    let deleted = runtime
        .container(&id)
        .and_then(|container| container.delete(true));
    let exit = exit?;
    deleted.context("cannot clean up after the container")?;
    if args.timings {
        watch.print();
    }
    Ok(exit.status())
}

fn started(args: &Run, running: &Running) -> Result<()> {
    args.pidfile
        .as_deref()
        .map_or(Ok(()), |path| super::pidfile::write(path, running.pid()))
}

/// Reads a bundle and names the keys of it that nobody reads.
///
/// # Errors
/// When there is no config.json, or it is none.
pub(super) fn load(dir: &Path) -> Result<Bundle> {
    let bundle = Bundle::load(dir)?;
    for key in bundle.unknown_keys() {
        report::warn(&format!("config.json: nobody reads the key '{key}'"));
    }
    Ok(bundle)
}

/// Whether the bundle's process wants a terminal.
pub(super) fn wants_terminal(bundle: &Bundle) -> bool {
    bundle
        .spec()
        .process()
        .as_ref()
        .and_then(Process::terminal)
        .unwrap_or(false)
}

/// What is said when a terminal would have nobody at its other end.
pub(super) fn no_console() -> Failure {
    Failure::new("a container that wants a terminal cannot be started in the background")
        .hint("set process.terminal to false; console sockets are not built in yet")
}
