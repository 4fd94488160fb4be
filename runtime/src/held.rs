//! A created container whose maker still holds the line to it: its start is one message.

use crate::agent::{Agent, AgentState};
use crate::attend::{is_hang_up, release};
use crate::container::Container;
use crate::error::Result;
use crate::failure::{Names, explain};
use crate::plan::filter::Listener;
use crate::plan::hooks::HooksPlan;
use crate::prepare::state_dir::START_SOCKET;
use crate::start::Kept;
use crate::state::{Record, Status};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// The line, and what a start needs besides: nothing of it is read from the disk again.
#[derive(Debug)]
pub(crate) struct Held {
    line: OwnedFd,
    root: OwnedFd,
    program: Program,
    record: Record,
    listener: Option<Listener>,
    hooks: HooksPlan,
}

/// What a failure of a program can be told by.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    name: String,
    candidates: Vec<PathBuf>,
    cwd: String,
}

impl Program {
    pub(crate) fn new(argv: &[CString], candidates: &[CString], cwd: &str) -> Program {
        let path = |text: &CString| PathBuf::from(OsStr::from_bytes(text.to_bytes()));
        let name = argv.first().map(|name| name.to_string_lossy());
        Program {
            name: name.unwrap_or_default().into_owned(),
            candidates: candidates.iter().map(path).collect(),
            cwd: cwd.to_owned(),
        }
    }

    pub(crate) fn names<'a>(&self, root: BorrowedFd<'a>) -> Names<'a> {
        let Program {
            name,
            candidates,
            cwd,
        } = self.clone();
        Names {
            plan: None,
            process: None,
            root: Some(root),
            program: name,
            candidates,
            cwd,
        }
    }
}

impl Held {
    /// Of a container that was just made.
    pub(crate) fn of(kept: Kept, record: Record) -> Held {
        let Kept {
            plan, line, root, ..
        } = kept;
        let process = &plan.process;
        let cwd = format!("/{}", process.cwd.to_string_lossy());
        Held {
            program: Program::new(&process.argv, &process.candidates, &cwd),
            listener: plan.listener,
            hooks: plan.hooks,
            line,
            root,
            record,
        }
    }

    /// Of one that has neither an agent nor hooks.
    pub(crate) fn plain(line: OwnedFd, root: OwnedFd, program: Program, record: Record) -> Held {
        Held {
            line,
            root,
            program,
            record,
            listener: None,
            hooks: HooksPlan::default(),
        }
    }

    /// Lets the program run. `None` where the container has to be looked at first: somebody else has
    /// started it, or it is dead.
    ///
    /// # Errors
    /// What the process reports of the program.
    pub(crate) fn start(self, container: &Container) -> Option<Result<()>> {
        let record = &self.record;
        let state = || {
            let (id, bundle) = (container.id(), &record.bundle);
            AgentState::new(
                id,
                Status::Created,
                record.pid,
                bundle,
                Some(&record.annotations),
            )
        };
        let agent = match self
            .listener
            .as_ref()
            .map(|agent| Agent::connect(Some(agent), state()))
        {
            Some(Err(error)) => return Some(Err(error)),
            Some(Ok(agent)) => agent,
            None => None,
        };
        let explain = |failure| explain(failure, &self.program.names(self.root.as_fd()));
        match release(&self.line, agent, record.pid, explain) {
            Err(error) if is_hang_up(&error) => None,
            Err(error) => Some(Err(error)),
            Ok(()) => {
                let unlinked = container.dir().unlink(START_SOCKET);
                Some(unlinked.and_then(|()| container.started(&self.hooks, record)))
            }
        }
    }
}
