//! The container a person means: one of ours with a record, or one made from a bundle.

use crate::globals::Globals;
use crate::record::{Phase, Record, Records, Status};
use crate::report::Failure;
use anyhow::{Context, Result};
use hostrun_runtime::{Container, ContainerId, ErrorKind, Runtime, State, Status as Life};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// A container that was named on the command line.
#[derive(Debug)]
pub(crate) struct Target {
    globals: Globals,
    id: ContainerId,
    pub(crate) record: Option<Record>,
}

impl Target {
    /// Finds a container by name, id, or the beginning of an id.
    ///
    /// # Errors
    /// When there is none, or several.
    pub(crate) fn find(globals: &Globals, reference: &str) -> Result<Self> {
        Self::look(globals, reference)?.ok_or_else(|| {
            let failure = Failure::new(format!("no container '{reference}'"));
            failure.hint("'hostrun ps -a' lists them").into()
        })
    }

    /// The same, `None` where there is none of that name.
    ///
    /// # Errors
    /// When the beginning of an id fits several.
    pub(crate) fn look(globals: &Globals, reference: &str) -> Result<Option<Self>> {
        if let Some(record) = Records::of(&globals.store).find(reference)? {
            return Self::of_record(globals, record).map(Some);
        }
        let Ok(id) = ContainerId::new(reference) else {
            return Ok(None);
        };
        let target = Self {
            globals: globals.clone(),
            id,
            record: None,
        };
        Ok(target.container()?.is_some().then_some(target))
    }

    /// The container of a record.
    ///
    /// # Errors
    /// When the record's id is none, which cannot be.
    pub(crate) fn of_record(globals: &Globals, record: Record) -> Result<Self> {
        let id = ContainerId::new(record.id())?;
        Ok(Self {
            globals: globals.clone(),
            id,
            record: Some(record),
        })
    }

    /// The whole id.
    pub(crate) fn id(&self) -> &str {
        self.id.as_str()
    }

    /// What the runtime has of it; nothing once it has ended and was cleaned up.
    ///
    /// # Errors
    /// When the runtime cannot tell.
    pub(crate) fn container(&self) -> Result<Option<Container>> {
        // Looking must not create: a state directory that is not there holds no container.
        if !self.globals.root.exists() {
            return Ok(None);
        }
        match Runtime::open(&self.globals.root)?.container(&self.id) {
            Ok(container) => Ok(Some(container)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The runtime's state, if it has one.
    ///
    /// # Errors
    /// When the runtime cannot tell.
    pub(crate) fn state(&self) -> Result<Option<State>> {
        let Some(container) = self.container()? else {
            return Ok(None);
        };
        match container.state() {
            Ok(state) => Ok(Some(state)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The runtime's container, which must be there.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn running(&self) -> Result<Container> {
        let gone = || Failure::new(format!("container {} is not running", self.shown()));
        let container = self.container()?.ok_or_else(gone)?;
        match container.state()?.status {
            Life::Stopped => Err(gone().into()),
            _ => Ok(container),
        }
    }

    /// The process id of process 1, which must be running.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn running_pid(&self) -> Result<i32> {
        Ok(self.running()?.state()?.pid)
    }

    /// A descriptor of process 1, if it lives. Asking twice makes sure that the descriptor is of the process the state
    /// named, and not of a later one with its number.
    ///
    /// # Errors
    /// When the runtime cannot tell.
    pub(crate) fn pidfd(&self) -> Result<Option<OwnedFd>> {
        let alive = |state: Option<State>| {
            state
                .filter(|state| state.status != Life::Stopped)
                .map(|state| state.pid)
        };
        let Some(pid) = alive(self.state()?) else {
            return Ok(None);
        };
        let Some(raw) = Pid::from_raw(pid) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error).context("cannot open the container's process"),
        };
        Ok((alive(self.state()?) == Some(pid)).then_some(pidfd))
    }

    /// How it is named in messages.
    pub(crate) fn shown(&self) -> String {
        let name = self
            .record
            .as_ref()
            .and_then(|record| record.meta().ok())
            .and_then(|meta| meta.name);
        let id = self.id.as_str();
        name.unwrap_or_else(|| match &self.record {
            Some(record) => record.short().to_owned(),
            None => id.to_owned(),
        })
    }

    /// Tidies up after a container that has ended: waits for whoever attends to it, and does that one's work if it was
    /// killed. Returns the final status.
    ///
    /// # Errors
    /// When the runtime or the record cannot be brought up to date.
    pub(crate) fn settle(&self) -> Result<Option<Status>> {
        let Some(record) = &self.record else {
            return Ok(None);
        };
        let attendance = match record.attend() {
            Ok(attendance) => attendance,
            // Run with --rm: the record went with the container.
            Err(_) if !record.dir().exists() => return Ok(None),
            Err(error) => return Err(error),
        };
        if !record.dir().join("meta.json").exists() {
            return Ok(None);
        }
        let mut status = record.status()?;
        if status.phase != Phase::Exited {
            if let Some(container) = self.container()? {
                crate::report::deleted(&container.delete(true)?);
            }
            status.phase = Phase::Exited;
            status.finished = Some(crate::clock::now().to_rfc3339());
            // On a full disk it goes untold, and is found out anew by whoever asks next: it must not keep anybody from
            // removing what takes the room.
            match record.write_status(&status) {
                Err(error) if !is_full(&error) => return Err(error),
                _ => {}
            }
        }
        attendance.end();
        Ok(Some(status))
    }
}

fn is_full(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::StorageFull)
}

/// Waits until a process has ended; `false` when the time is over first. `None` waits for ever.
///
/// # Errors
/// When poll fails.
pub(crate) fn wait(pidfd: &OwnedFd, limit: Option<Duration>) -> Result<bool> {
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], left.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot poll"),
        }
    }
}
