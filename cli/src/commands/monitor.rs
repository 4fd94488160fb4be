//! `hostrun monitor`, hidden: the start and the end of one detached container, and its log between them.

use super::foreground;
use crate::args::bundles::Monitor;
use crate::assembly;
use crate::attend::Attention;
use crate::globals::Globals;
use crate::monitor::cri::Stream as Name;
use crate::monitor::{Outcome, Watch, adopt};
use crate::record::{Attendance, Meta, Record, Records};
use crate::report::{Failure, Told};
use anyhow::{Context, Result};
use hostrun_runtime::{Request, Running, Stdio, Stream};
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::OwnedFd;

/// Runs the verb.
///
/// # Errors
/// When the container cannot be started or its end cannot be recorded. Nobody reads what we say by then but the log.
pub(crate) fn main(globals: &Globals, args: &Monitor) -> Result<u8> {
    let (root, reporter) = adopt()?;
    let attention = match Attention::begin(false) {
        Ok(attention) => attention,
        Err(error) => {
            reporter.report(&Outcome::Failed(Told::of(&error)));
            return Err(error);
        }
    };
    match start(globals, &args.id, root) {
        Ok(started) => {
            reporter.report(&Outcome::Started {
                pid: started.running.pid(),
            });
            stay(globals, started, &attention)
        }
        Err(error) => {
            reporter.report(&Outcome::Failed(Told::of(&error)));
            Err(error)
        }
    }
}

/// A container that runs, with all that must live as long as it does.
struct Started {
    record: Record,
    meta: Meta,
    attendance: Attendance,
    running: Running,
    watch: Watch,
    /// The other end of the container's standard input: held open and silent.
    input: Option<OwnedFd>,
}

fn start(globals: &Globals, id: &str, root: OwnedFd) -> Result<Started> {
    let missing = || Failure::new(format!("no record of container '{id}'"));
    let record = Records::of(&globals.store).find(id)?.ok_or_else(missing)?;
    let meta = record.meta()?;
    let spec = record.config()?;
    let attendance = record.attend()?;
    let mut watch = Watch::open(&record.log())?;
    let mut input = None;
    let mut stdio = Stdio {
        stdin: Stream::Null,
        stdout: Stream::Null,
        stderr: Stream::Null,
    };
    if !meta.terminal {
        let pipe = || pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe");
        let ((out, their_out), (err, their_err)) = (pipe()?, pipe()?);
        watch.add(out, Name::Stdout)?;
        watch.add(err, Name::Stderr)?;
        stdio.stdout = Stream::Fd(their_out);
        stdio.stderr = Stream::Fd(their_err);
        if meta.interactive {
            let (their_in, ours) = pipe()?;
            stdio.stdin = Stream::Fd(their_in);
            input = Some(ours);
        }
    }
    let request = Request::new(spec, record.dir())
        .with_root_mount(root)
        .with_stdio(stdio);
    let (mut running, _relay) = foreground::start(globals, &record, request, None, None)?;
    if let Some(master) = running.take_console() {
        watch.add(master, Name::Stdout)?;
    }
    Ok(Started {
        record,
        meta,
        attendance,
        running,
        watch,
        input,
    })
}

fn stay(globals: &Globals, started: Started, attention: &Attention) -> Result<u8> {
    let Started {
        record,
        meta,
        attendance,
        running,
        mut watch,
        input,
    } = started;
    let exit = watch.stay(&running, attention);
    drop(input);
    let status = foreground::finish(globals, &record, running, exit, meta.auto_remove);
    attendance.end();
    if meta.auto_remove {
        assembly::remove(globals, &record)?;
    }
    status
}
