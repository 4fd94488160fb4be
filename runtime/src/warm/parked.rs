//! One sandbox that waits for its program.

use super::class::{Class, Said};
use super::message;
use crate::attend::{Ready, hear, is_hang_up};
use crate::clone::Child;
use crate::error::Result;
use crate::failure::explain;
use crate::held::{Held, Program};
use crate::id::ContainerId;
use crate::plan::Plan;
use crate::plan::program::ProgramPlan;
use crate::plan::sources::{Links, SourcePlan};
use crate::prepare::state_dir::StateDir;
use crate::prepare::{Place, Prepared, Stop, Streams};
use crate::running::{Created, Running};
use crate::runtime::Runtime;
use crate::start::Stand;
use crate::state::{self, Record};
use crate::timings::Timings;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

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

/// A file or directory of the host that was mounted by its path.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    path: PathBuf,
    links: bool,
    device: (u32, u32),
    inode: u64,
    mount: u64,
}

impl Source {
    fn look(path: &Path, links: bool) -> Option<Source> {
        let flags = if links {
            AtFlags::empty()
        } else {
            AtFlags::SYMLINK_NOFOLLOW
        };
        let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
        let found = statx(CWD, path, flags | AtFlags::STATX_DONT_SYNC, wanted).ok()?;
        Some(Source {
            path: path.to_owned(),
            links,
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            mount: found.stx_mnt_id,
        })
    }

    /// Does its path still lead to it? What was mounted keeps its number from being given to another.
    fn is_current(&self) -> bool {
        Source::look(&self.path, self.links).as_ref() == Some(self)
    }
}

/// Of the root, where it has a path, and of what is bound.
fn sources(plan: &Plan, own_root: bool) -> Vec<Source> {
    let root = (!own_root).then_some((&plan.root.path, true));
    let bound = plan
        .root
        .mounts
        .iter()
        .filter_map(|mount| match &mount.source {
            SourcePlan::Bind { path, links, .. } => Some((path, *links == Links::Follow)),
            _ => None,
        });
    root.into_iter()
        .chain(bound)
        .filter_map(|(path, links)| Source::look(path, links))
        .collect()
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
        let mut request = class.request(id.as_str());
        let own_root = root.is_some();
        request.root = root;
        let stand = runtime.stand(id, request, Some(Stop::Unnamed), &mut Timings::start())?;
        let Stand {
            ready: Ready { child, console },
            prepared,
            record,
        } = stand;
        let sources = sources(&prepared.plan, own_root);
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
    pub(super) fn become_container(
        mut self,
        runtime: &Runtime,
        id: &ContainerId,
        said: &Said,
        streams: &Streams,
    ) -> Result<Option<Created>> {
        let mut timings = Timings::start();
        let program = said.program.with_home(&self.home);
        self.write(id, said)?;
        timings.mark("record");
        if !self.tell(&program, streams)? {
            return Ok(None);
        }
        self.state.publish()?;
        timings.mark("program");
        let Parked {
            child,
            line,
            console,
            root,
            cwd,
            record,
            place,
            mut state,
            ..
        } = self;
        state.keep();
        place.commit();
        let program = Program::new(&program.argv, &program.candidates, &cwd);
        let held = Held::plain(line, root, program, record);
        let running = Running::new(Ready { child, console }, timings);
        let container = runtime.container(id)?;
        Ok(Some(Created::new(container, running, Some(held))))
    }

    /// What others are to find. The record stands before the program is told: from there on its process
    /// would outlive us.
    fn write(&mut self, id: &ContainerId, said: &Said) -> Result<()> {
        self.state.replace_config(&said.config)?;
        id.as_str().clone_into(&mut self.record.id);
        self.record.parked = false;
        self.record.created = state::now();
        self.record.annotations.clone_from(&said.annotations);
        self.state.replace_new(&self.record.to_bytes()?)
    }

    /// Tells it its program, and hears whether that can be executed; false where it is dead.
    fn tell(&self, program: &ProgramPlan, streams: &Streams) -> Result<bool> {
        let streams: Vec<_> = streams.borrowed().into_iter().enumerate().collect();
        // At a terminal they are its own.
        let sent = if self.console.is_some() {
            &[]
        } else {
            &streams[..]
        };
        match message::tell(&self.line, self.page, program, sent) {
            Err(error) if is_hang_up(&error) => return Ok(false),
            told => told?,
        }
        hear(&self.line, |failure| {
            let program = Program::new(&program.argv, &program.candidates, &self.cwd);
            explain(failure, &program.names(self.root.as_fd()))
        })
    }
}
