//! A start that stays: the same for a foreground container and for the monitor of a detached one.

use super::shortage;
use crate::args::run::Run;
use crate::assembly::{self, Assembly};
use crate::attend::{self, Attention, Connection, LineEnds, Preparation, Relay};
use crate::clock;
use crate::globals::Globals;
use crate::handover::activation;
use crate::handover::notify::{self, Notify};
use crate::record::{Phase, Record, Status};
use crate::report;
use crate::stopwatch::Stopwatch;
use anyhow::{Context, Result};
use hostrun_image_store::Store;
use hostrun_runtime::{
    ContainerId, Created, Exit, Request, Running, Runtime, Stdio, Stopped, Stream,
};
use std::mem::take;

/// Starts a container and stays until its end.
///
/// # Errors
/// When it cannot be started, or its end cannot be recorded.
pub(super) fn main(
    globals: &Globals,
    store: &Store,
    args: &Run,
    mut assembly: Assembly,
    attention: &Attention,
    watch: &mut Stopwatch,
) -> Result<u8> {
    let stdio = Stdio {
        stdin: if args.interactive {
            Stream::Inherit
        } else {
            Stream::Null
        },
        ..Stdio::default()
    };
    let root = assembly
        .root
        .try_clone()
        .context("cannot duplicate the root's descriptor")?;
    // Sockets on which a supervisor listened until there was somebody to serve.
    let activated = activation::count();
    let mut request = Request::new(take(&mut assembly.spec), assembly.record.dir())
        .with_config(take(&mut assembly.written))
        .with_root_mount(root)
        .with_stdio(stdio)
        .with_preserved_fds(args.preserve_fds.saturating_add(activated));
    if activated > 0 {
        notify::add_environment(request.spec_mut(), activation::named(activated));
    }
    let (request, notify) = with_notify(globals, &assembly.record, request)?;
    let relay_notify = notify.map(|notify| {
        move |created: &Created| {
            notify::relay_beside(notify.clone(), created.pid(), false);
            Ok(())
        }
    });
    let prepared = relay_notify
        .as_ref()
        .map(|prepared| prepared as Preparation<'_>);
    let attendance = assembly.record.attend()?;
    let connection = Connection {
        interactive: args.interactive,
        ends: LineEnds::Terminal,
    };
    let (running, relay) = start(
        globals,
        &assembly.record,
        request,
        args.tty.then_some(connection),
        prepared,
    )?;
    let (record, held) = assembly.keep();
    watch.start(running.timings());
    let exit = attended(args, attention, &running, relay);
    let status = finish(globals, &record, running, exit, args.rm);
    attendance.end();
    if args.rm {
        assembly::remove_held(globals, store, &record, &held)?;
    }
    if args.timings {
        watch.print();
    }
    status
}

/// Whoever supervises us hears what the container says of itself.
fn with_notify(
    globals: &Globals,
    record: &Record,
    request: Request,
) -> Result<(Request, Option<Notify>)> {
    let Some(notify) = Notify::wanted(&globals.root, &ContainerId::new(record.id())?) else {
        return Ok((request, None));
    };
    let mut request = notify.add_to(request)?;
    // how often the service must show that it is alive
    let watchdog = std::env::var("WATCHDOG_USEC").ok();
    let watchdog = watchdog.map(|span| format!("WATCHDOG_USEC={span}"));
    notify::add_environment(request.spec_mut(), watchdog.into_iter().collect());
    Ok((request, Some(notify)))
}

fn attended(
    args: &Run,
    attention: &Attention,
    running: &Running,
    relay: Option<Relay>,
) -> Result<Exit> {
    if let Some(path) = &args.pidfile {
        super::pidfile::write(path, running.pid())?;
    }
    attention.stay(running, relay)
}

/// Starts it and writes down that it runs.
///
/// # Errors
/// When it cannot be started.
pub(super) fn start(
    globals: &Globals,
    record: &Record,
    request: Request,
    terminal: Option<Connection>,
    prepared: Option<Preparation<'_>>,
) -> Result<(Running, Option<Relay>)> {
    let runtime = globals.runtime()?;
    let (running, relay) = attend::start(
        &runtime,
        &ContainerId::new(record.id())?,
        request,
        terminal,
        prepared,
    )?;
    let status = Status {
        phase: Phase::Running,
        pid: Some(running.pid()),
        started: Some(clock::now().to_rfc3339()),
        ..Status::default()
    };
    if let Err(error) = record.write_status(&status) {
        // Nobody could find it again.
        delete(globals, record)?;
        return Err(error);
    }
    Ok((running, relay))
}

/// Takes down what is left of it, and writes down how it ended unless its record goes as well.
///
/// # Errors
/// The error of waiting, of taking down, or of writing, whichever came first.
pub(super) fn finish(
    globals: &Globals,
    record: &Record,
    running: Running,
    exit: Result<Exit>,
    goes: bool,
) -> Result<u8> {
    let exited = exit.as_ref().ok();
    let shortage = exited.and_then(|exit| shortage::of(globals, record.id(), *exit));
    if let Some(told) = &shortage {
        told.say();
    }
    let deleted = match exit {
        Ok(_) => take_down(running),
        Err(_) => delete(globals, record),
    };
    let emptied = assembly::remove_etc(globals, record);
    let written = if goes {
        Ok(())
    } else {
        let mut status = record.status().unwrap_or_default();
        status.phase = Phase::Exited;
        status.finished = Some(clock::now().to_rfc3339());
        status.exit_code = exit.as_ref().ok().map(|exit| exit.status());
        status.error = exit.as_ref().err().map(|error| format!("{error:#}"));
        status.oom_killed = shortage.is_some();
        status.error = status.error.or(shortage.map(|told| told.message));
        record.write_status(&status)
    };
    let exit = exit?;
    deleted.and(emptied).and(written)?;
    Ok(exit.status())
}

/// With what this process holds of it.
fn take_down(running: Running) -> Result<()> {
    let deleted = running
        .into_stopped()
        .and_then(Stopped::delete)
        .context("cannot clean up after the container")?;
    report::deleted(&deleted);
    Ok(())
}

/// Forced: nobody knows how far it came.
fn delete(globals: &Globals, record: &Record) -> Result<()> {
    let runtime = Runtime::open(&globals.root)?;
    let container = runtime.container(&ContainerId::new(record.id())?)?;
    let deleted = container
        .delete(true)
        .context("cannot clean up after the container")?;
    report::deleted(&deleted);
    Ok(())
}
