//! A container, as containerd's word for it is.

use crate::calls::Ticket;
use crate::process::{Ended, Process};
use hostrun_runtime::{ContainerId, Runtime, Watch};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A container.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) container: ContainerId,
    /// As containerd wrote it.
    pub(crate) bundle: String,
    pub(crate) init: Process,
    pub(crate) execs: BTreeMap<String, Process>,
    /// Where its state is; absent while it is being made.
    pub(crate) runtime: Option<Runtime>,
    /// Where its root is mounted, if we have mounted it.
    pub(crate) rootfs: Option<PathBuf>,
    /// Who has it made, and whether he has given up.
    pub(crate) creator: Creator,
    /// Its processes are in the pid namespace of others, and do not end with the first.
    pub(crate) shares_pids: bool,
    pub(crate) paused: bool,
    /// Kills for want of memory, and the token they are told under.
    pub(crate) memory: Option<(Watch, u64)>,
    /// Its first process has ended, and others have not yet.
    pub(crate) held: Option<Ended>,
    pub(crate) criu: Criu,
}

/// Who has a container made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creator {
    /// This call.
    Waits(Ticket),
    /// One that was told that its time is over: there is to be no container then.
    HasGivenUp,
}

/// Where criu keeps what it writes, if the options say so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Criu {
    pub(crate) images: Option<PathBuf>,
    pub(crate) work: Option<PathBuf>,
}

impl Task {
    /// One that is being made.
    pub(crate) fn new(
        container: ContainerId,
        bundle: &str,
        init: Process,
        creator: Creator,
    ) -> Task {
        Task {
            container,
            bundle: bundle.to_owned(),
            init,
            execs: BTreeMap::new(),
            runtime: None,
            rootfs: None,
            creator,
            shares_pids: false,
            paused: false,
            memory: None,
            held: None,
            criu: Criu::default(),
        }
    }

    /// One of its processes; the first where `exec` is empty.
    pub(crate) fn process(&self, exec: &str) -> Option<&Process> {
        if exec.is_empty() {
            return Some(&self.init);
        }
        self.execs.get(exec)
    }

    /// The same, to be changed.
    pub(crate) fn process_mut(&mut self, exec: &str) -> Option<&mut Process> {
        if exec.is_empty() {
            return Some(&mut self.init);
        }
        self.execs.get_mut(exec)
    }

    /// All of them.
    pub(crate) fn processes_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        std::iter::once(&mut self.init).chain(self.execs.values_mut())
    }
}
