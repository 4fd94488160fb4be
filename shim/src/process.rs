//! A process of a container: its first one, or one that was executed in it.

use crate::calls::Ticket;
use crate::messages::Timestamp;
use crate::messages::task::{DeleteResponse, StateResponse, Status, WaitResponse};
use crate::stdio::{Paths, Plumbing, Streams};
use crate::timers::Handle;
use hostrun_runtime::{Created, Exit, Request};
use oci_spec::runtime;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::SystemTime;

/// Which process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    /// The container's id.
    pub(crate) id: String,
    /// Empty for its first process.
    pub(crate) exec: String,
}

impl Name {
    pub(crate) fn init(id: &str) -> Name {
        Name {
            id: id.to_owned(),
            exec: String::new(),
        }
    }

    pub(crate) fn is_init(&self) -> bool {
        self.exec.is_empty()
    }
}

/// Where it is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its container is being made.
    Creating,
    /// It waits for its start.
    Created,
    Starting,
    Running,
    Stopped,
    /// Being removed.
    Deleting,
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) status: u32,
    pub(crate) at: SystemTime,
}

impl Ended {
    /// Now.
    pub(crate) fn with(exit: Option<Exit>) -> Ended {
        /// What Go's shim says of a process whose end nobody could see.
        const UNKNOWN: u32 = 255;
        Ended {
            status: exit.map_or(UNKNOWN, |exit| u32::from(exit.status())),
            at: SystemTime::now(),
        }
    }
}

/// What there is of it before its start.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// A container that stands.
    Created(Box<Created>),
    /// Images that become one.
    Restore(Box<Restore>),
    /// A process that is not there yet.
    Exec(Box<runtime::Process>),
}

/// A container that is to be made of a checkpoint.
#[derive(Debug)]
pub(crate) struct Restore {
    pub(crate) request: Request,
    pub(crate) images: PathBuf,
    pub(crate) work: Option<PathBuf>,
    /// What its terminal is to be connected with.
    pub(crate) plumbing: Plumbing,
}

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) stage: Stage,
    /// 0 before there is one.
    pub(crate) pid: u32,
    pub(crate) pidfd: Option<OwnedFd>,
    /// Of its pidfd among what is polled.
    pub(crate) token: Option<u64>,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) paths: Paths,
    pub(crate) streams: Streams,
    /// Nothing more is written to its input; said before it was there to be closed, perhaps.
    pub(crate) input_ended: bool,
    /// Who wants to hear of its end.
    pub(crate) waiters: Vec<Ticket>,
    pub(crate) ended: Option<Ended>,
    /// It ended before its start was told; that goes first.
    pub(crate) early: Option<Ended>,
    /// Whoever deletes it, while its output is still being taken.
    pub(crate) leaving: Option<(Ticket, Handle)>,
}

impl Process {
    pub(crate) fn new(stage: Stage, paths: Paths) -> Process {
        Process {
            stage,
            pid: 0,
            pidfd: None,
            token: None,
            waiting: None,
            paths,
            streams: Streams::default(),
            input_ended: false,
            waiters: Vec::new(),
            ended: None,
            early: None,
            leaving: None,
        }
    }

    /// Has it begun and not ended?
    pub(crate) fn lives(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::Running) && self.early.is_none()
    }

    /// What is held of its streams from now on.
    pub(crate) fn hold(&mut self, streams: Streams) {
        self.streams = streams;
        if self.input_ended {
            self.streams.stdin = None;
        }
    }

    pub(crate) fn state(&self, name: &Name, bundle: &str, paused: bool) -> StateResponse {
        let status = match self.stage {
            Stage::Creating | Stage::Created | Stage::Starting => Status::Created,
            Stage::Running if paused => Status::Paused,
            Stage::Running => Status::Running,
            Stage::Stopped | Stage::Deleting => Status::Stopped,
        };
        StateResponse {
            id: name.id.clone(),
            bundle: bundle.to_owned(),
            pid: self.pid,
            status: status as i32,
            stdin: self.paths.stdin.clone(),
            stdout: self.paths.stdout.clone(),
            stderr: self.paths.stderr.clone(),
            terminal: self.paths.terminal,
            exit_status: self.ended.map_or(0, |ended| ended.status),
            exited_at: self.ended.map(|ended| Timestamp::from(ended.at)),
            exec_id: name.exec.clone(),
        }
    }

    pub(crate) fn wait(&self) -> Option<WaitResponse> {
        let ended = self.ended?;
        Some(WaitResponse {
            exit_status: ended.status,
            exited_at: Some(ended.at.into()),
        })
    }

    pub(crate) fn deleted(&self) -> DeleteResponse {
        DeleteResponse {
            pid: self.pid,
            exit_status: self.ended.map_or(0, |ended| ended.status),
            exited_at: self.ended.map(|ended| Timestamp::from(ended.at)),
        }
    }
}
