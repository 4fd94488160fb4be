//! A container that waits to be started, and the word that lets its program run.

use crate::agent::{Agent, AgentState};
use crate::attend::release;
use crate::container::{Container, Found};
use crate::error::{At, Error, Result};
use crate::failure::{Names, explain};
use crate::hooks;
use crate::plan::filter;
use crate::plan::hooks::HooksPlan;
use crate::plan::refusal::Refusals;
use crate::prepare::state_dir::START_SOCKET;
use crate::running::send;
use crate::signal::Signal;
use crate::state::{Record, Status};
use oci_spec::runtime::Spec;
use rustix::net::SocketFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Said to whoever wants to start what has ended.
const STOPPED: &str = "cannot start a container that has stopped";

impl Container {
    /// Lets a created container's program run, then its poststart hooks. Where one of these fails,
    /// the container is deleted.
    ///
    /// # Errors
    /// `WrongState` where it is not created; `ExecNotFound` or `ExecDenied` where the program
    /// does not run; `System` where a hook fails.
    pub fn start(&self) -> Result<()> {
        let refuse = |why| self.wrong_state("start container", why);
        let record = match self.find()? {
            Found::Whole(record) => record,
            Found::Unfinished(record) if self.status_of_unfinished(&record) == Status::Stopped => {
                return Err(refuse(STOPPED));
            }
            Found::Unfinished(_) => {
                return Err(refuse("cannot start a container that is being created"));
            }
            Found::Nothing => return Err(self.unrecorded()),
        };
        // The descriptor first, then the proof that it is of the process in the record.
        let pidfd = Pid::from_raw(record.pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        let Some(Ok(pidfd)) = pidfd else {
            return Err(refuse(STOPPED));
        };
        match self.status_of(&record)? {
            Status::Created => {}
            Status::Stopped => return Err(refuse(STOPPED)),
            _ => return Err(refuse("cannot start an already running container")),
        }
        // Read only where it says more than the record does.
        let spec = match record.outline {
            Some(outline) if !outline.listener && !outline.poststart => None,
            _ => Some(self.spec()?),
        };
        let agent = spec
            .as_ref()
            .map_or(Ok(None), |spec| self.agent(spec, &record))?;
        let hooks = spec.as_ref().map(hooks::of).transpose()?;
        let socket = match self.knock(SocketFlags::empty()) {
            Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => {
                return Err(self.wrong_state("start container", "it was started already"));
            }
            other => other.at("start container", &self.id)?,
        };
        // Of what may be gone when it is wanted.
        let root = self.root_of(&record).ok();
        let result = release(&socket, agent, record.pid, |failure| {
            let spec = self.spec().unwrap_or_default();
            let names = Names {
                root: root.as_ref().map(AsFd::as_fd),
                ..names(&spec)
            };
            explain(failure, &names)
        });
        if result.is_err() {
            // Its program may run already, behind a filter that nobody answers for.
            send(pidfd.as_fd(), Signal::KILL).unwrap_or_default();
        }
        self.dir.unlink(START_SOCKET)?;
        result?;
        hooks.map_or(Ok(()), |hooks| self.started(&hooks, &record))
    }

    /// What follows a start: hooks, and where one fails, the end.
    pub(crate) fn started(&self, hooks: &HooksPlan, record: &Record) -> Result<()> {
        hooks::at_poststart(hooks, record).map_err(|error| self.give_up(error))
    }

    fn agent(&self, spec: &Spec, record: &Record) -> Result<Option<Agent>> {
        let linux = spec.linux().as_ref();
        // What it refuses was refused when the container was made.
        let listener = linux.and_then(|linux| filter::listener(linux, &mut Refusals::default()));
        let annotations = Some(&record.annotations);
        let bundle = &record.bundle;
        let state = AgentState::new(&self.id, Status::Created, record.pid, bundle, annotations);
        Agent::connect(listener.as_ref(), state)
    }

    /// Ends a container that a hook did not want to go on.
    fn give_up(&self, error: Error) -> Error {
        let deleted = Container::open(&self.runtime, &self.id).and_then(|this| this.delete(true));
        match deleted {
            Ok(deleted) => error.besides(deleted.warnings()),
            Err(other) => error.besides(&[other]),
        }
    }
}

/// What a failure of the program can be told by; the plan is gone with the creator.
fn names(spec: &Spec) -> Names<'static> {
    let process = spec.process().clone().unwrap_or_default();
    let args = process.args().as_deref().unwrap_or_default();
    let program = args.first().cloned().unwrap_or_default();
    Names {
        plan: None,
        process: None,
        root: None,
        candidates: vec![PathBuf::from(&program)],
        program,
        cwd: process.cwd().display().to_string(),
    }
}
