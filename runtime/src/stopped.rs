//! The last stage of a container: its program has ended, and what is left waits to be removed.

use crate::container::Container;
use crate::deletion::Deleted;
use crate::error::Result;
use crate::id::ContainerId;
use crate::remains::Remains;
use crate::running::Exit;
use crate::runtime::Runtime;

/// A container whose program has ended and was reaped by this process. Dropping it removes nothing.
#[derive(Debug)]
#[must_use = "its state and its cgroup are still there"]
pub struct Stopped {
    runtime: Runtime,
    id: ContainerId,
    exit: Exit,
    remains: Option<Remains>,
}

impl Stopped {
    pub(crate) fn new(
        runtime: Runtime,
        id: ContainerId,
        exit: Exit,
        remains: Option<Remains>,
    ) -> Stopped {
        Stopped {
            runtime,
            id,
            exit,
            remains,
        }
    }

    /// How its program ended.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Its id.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The container it is.
    ///
    /// # Errors
    /// `NotFound` where somebody else has deleted it.
    pub fn container(&self) -> Result<Container> {
        self.runtime.container(&self.id)
    }

    /// Removes its cgroup, with whoever outlived its program there, and its state. Then its poststop
    /// hooks run, all of them.
    ///
    /// # Errors
    /// `NotFound` where somebody else has deleted it; what the kernel answers.
    pub fn delete(self) -> Result<Deleted> {
        match self.remains {
            Some(remains) => remains.delete(),
            None => self.container()?.delete(false),
        }
    }
}
