//! One sandbox that waits for its program.

use super::class::{Class, Said};
use super::message;
use super::source::Source;
use crate::attend::{Ready, hear, heed, is_hang_up};
use crate::clone::Child;
use crate::error::{Error, Result};
use crate::failure::explain;
use crate::held::{Held, Program};
use crate::id::ContainerId;
use crate::plan::program::ProgramPlan;
use crate::prepare::state_dir::{START_SOCKET, StateDir};
use crate::prepare::{Place, Prepared, Stop, Streams};
use crate::running::{Created, Running};
use crate::runtime::Runtime;
use crate::start::Stand;
use crate::state::{self, Record};
use crate::timings::Timings;
use hostrun_inside::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

/// It ends, and all that was made for it, when this is dropped. Fields are dropped in this order: the
/// process before what is around it.
#[derive(Debug)]
pub(super) struct Parked {
    child: Child,
    /// The only way to tell it anything. When this is closed, by whatever end of ours, it dies.
    line: OwnedFd,
    console: Option<OwnedFd>,
    /// Where it reads its program to.
    page: usize,
    /// To see what is wrong with a program that does not run.
    root: OwnedFd,
    cwd: String,
    /// For programs whose environment has none.
    home: CString,
    record: Record,
    sources: Vec<Source>,
    place: Place,
    state: StateDir,
}

/// What a sandbox is to become.
pub(super) struct Wanted<'a> {
    pub(super) id: &'a ContainerId,
    pub(super) said: &'a Said,
    pub(super) streams: &'a Streams,
}

impl Parked {
    /// Makes one.
    ///
    /// # Errors
    /// As [`Runtime::create`]; nothing is left behind.
    pub(super) fn make(
        runtime: &Runtime,
        class: &Class,
        id: &ContainerId,
        root: Option<OwnedFd>,
    ) -> Result<Parked> {
        // Before: if one is replaced meanwhile, this is thrown away later, and not kept for ever.
        let sources = class.sources()?;
        let mut request = class.request(id.as_str());
        request.root = root;
        let stand = runtime.stand(id, request, Some(Stop::Unnamed), &mut Timings::start())?;
        let Stand {
            ready: Ready { child, console },
            prepared,
            record,
        } = stand;
        let uid = prepared.plan.process.uid;
        let home = crate::users::home_of(prepared.trees.root.as_fd(), uid);
        let page = prepared.park.as_ref().and_then(|park| park.page.as_ref());
        let page = page.map_or(0, super::Page::address);
        let Prepared {
            plan,
            state,
            place,
            trees,
            line,
            ..
        } = prepared;
        Ok(Parked {
            child,
            line: line.parent,
            console,
            page,
            root: trees.root,
            cwd: format!("/{}", plan.process.cwd.to_string_lossy()),
            home: CString::new(format!("HOME={home}")).unwrap_or_default(),
            record,
            sources,
            place,
            state,
        })
    }

    /// Is it alive, and made of what its paths still lead to?
    pub(super) fn is_fresh(&self) -> bool {
        let now = Timespec::default();
        let ended = self.child.pidfd().is_none_or(|pidfd| {
            let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
            poll(&mut fds, Some(&now)) != Ok(0)
        });
        !ended && self.sources.iter().all(Source::is_current)
    }

    /// Makes the id its own.
    ///
    /// # Errors
    /// `AlreadyExists`; it is what it was then.
    pub(super) fn rename(&mut self, id: &ContainerId) -> Result<()> {
        self.state.rename(id)
    }

    /// Becomes the container that is wanted, waiting for its start; `None` where its process has died
    /// meanwhile. What is not returned leaves nothing behind.
    ///
    /// # Errors
    /// What its process reports of the program, or the kernel.
    pub(super) fn create(
        mut self,
        runtime: &Runtime,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Created>> {
        let mut timings = Timings::start();
        let program = wanted.said.program.with_home(&self.home);
        self.write(wanted)?;
        timings.mark("record");
        if !self.tell(&program, wanted.streams, false)? || !self.is_ready(&program)? {
            return Ok(None);
        }
        self.state.publish()?;
        timings.mark("program");
        let program = self.program(&program);
        let Parked {
            child,
            line,
            console,
            root,
            record,
            place,
            mut state,
            ..
        } = self;
        state.keep();
        place.commit();
        let held = Held::plain(line, root, program, record);
        let running = Running::new(Ready { child, console }, timings);
        let container = runtime.container(wanted.id)?;
        Ok(Some(Created::new(container, running, Some(held))))
    }

    /// Becomes the container that is wanted and runs: one message. `None` and errors as for
    /// [`Parked::create`].
    pub(super) fn run(mut self, runtime: &Runtime, wanted: &Wanted<'_>) -> Result<Option<Running>> {
        let mut timings = Timings::start();
        let program = wanted.said.program.with_home(&self.home);
        if !self.tell(&program, wanted.streams, true)? {
            return Ok(None);
        }
        timings.mark("program");
        // On this processor, while the kernel executes the program on another. Who is killed in between
        // leaves a container of this id that runs, with the config and the annotations of its class.
        self.write(wanted)?;
        timings.mark("record");
        if !self.runs(&program)? {
            return Ok(None);
        }
        timings.mark("exec");
        // Now: others that looked have seen by its process that it stands.
        self.state.publish()?;
        self.state.unlink(START_SOCKET)?;
        let Parked {
            child,
            console,
            place,
            mut state,
            ..
        } = self;
        state.keep();
        place.commit();
        let running = Running::new(Ready { child, console }, timings);
        Ok(Some(running.of(runtime, wanted.id)))
    }

    /// What others are to find. The record stands before the program is told: from there on its process
    /// would outlive us.
    fn write(&mut self, wanted: &Wanted<'_>) -> Result<()> {
        let Wanted { id, said, .. } = wanted;
        self.state.replace_config(&said.config)?;
        id.as_str().clone_into(&mut self.record.id);
        self.record.parked = false;
        self.record.created = state::now();
        self.record.annotations.clone_from(&said.annotations);
        self.state.replace_new(&self.record.to_bytes()?)
    }

    /// Tells it its program; false where it is dead.
    fn tell(&self, program: &ProgramPlan, streams: &Streams, goes: bool) -> Result<bool> {
        let streams: Vec<_> = streams.borrowed().into_iter().enumerate().collect();
        // At a terminal they are its own.
        let sent = if self.console.is_some() {
            &[]
        } else {
            &streams[..]
        };
        lives(message::tell(&self.line, self.page, program, sent, goes))
    }

    /// Hears whether its program can be executed; false where it is dead.
    fn is_ready(&self, program: &ProgramPlan) -> Result<bool> {
        hear(&self.line, |failure| self.explain(program, failure))
    }

    /// Hears whether its program is executed; false where it was dead before it was told.
    fn runs(&self, program: &ProgramPlan) -> Result<bool> {
        let explain = |failure| self.explain(program, failure);
        lives(heed(&self.line, None, self.record.pid, explain))
    }

    fn explain(&self, program: &ProgramPlan, failure: Failure) -> Error {
        explain(failure, &self.program(program).names(self.root.as_fd()))
    }

    fn program(&self, program: &ProgramPlan) -> Program {
        Program::new(&program.argv, &program.candidates, &self.cwd)
    }
}

/// A line that was hung up is no failure of a start: there are other sandboxes.
fn lives(said: Result<()>) -> Result<bool> {
    match said {
        Err(error) if is_hang_up(&error) => Ok(false),
        said => said.map(|()| true),
    }
}
