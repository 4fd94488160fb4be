//! A container that waits to be started, and the word that lets its program run.

use crate::agent::{Agent, AgentState};
use crate::attend::release;
use crate::container::Container;
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
use std::os::fd::AsFd;
use std::path::PathBuf;

impl Container {
    /// Lets a created container's program run, then its poststart hooks. Where one of these fails,
    /// the container is deleted.
    ///
    /// # Errors
    /// `WrongState` where it is not created; `ExecNotFound` or `ExecDenied` where the program
    /// does not run; `System` where a hook fails.
    pub fn start(&self) -> Result<()> {
        let status = self.state()?.status;
        if status != Status::Created {
            let why = match status {
                Status::Running | Status::Paused => "cannot start an already running container",
                Status::Stopped => "cannot start a container that has stopped",
                _ => "cannot start a container that is being created",
            };
            return Err(self.wrong_state("start container", why));
        }
        let spec = self.spec()?;
        let (record, pidfd) = self.alive("start container")?;
        let agent = self.agent(&spec, &record)?;
        let hooks = hooks::of(&spec)?;
        let socket = match self.knock(SocketFlags::empty()) {
            Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => {
                return Err(self.wrong_state("start container", "it was started already"));
            }
            other => other.at("start container", &self.id)?,
        };
        let root = self.root().ok();
        let names = Names {
            root: root.as_ref().map(AsFd::as_fd),
            ..names(&spec)
        };
        let result = release(&socket, agent, record.pid, |failure| {
            explain(failure, &names)
        });
        if result.is_err() {
            // Its program may run already, behind a filter that nobody answers for.
            send(pidfd.as_fd(), Signal::KILL).unwrap_or_default();
        }
        self.dir.unlink(START_SOCKET)?;
        result?;
        self.started(&hooks, &record)
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
