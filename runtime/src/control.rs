//! Pausing a container and letting it go on.

use crate::container::Container;
use crate::error::Result;
use crate::state::Status;
use std::time::Duration;

/// How long the freezer may take; a process in an uninterruptible sleep stops only after it.
const FREEZE: Duration = Duration::from_secs(10);

impl Container {
    /// Stops all its processes where they are, until [`Container::resume`].
    ///
    /// # Errors
    /// `WrongState` where it neither runs nor waits to be started.
    pub fn pause(&self) -> Result<()> {
        const OPERATION: &str = "pause container";
        let record = self.record()?;
        match (self.state()?.status, self.cgroup(record.as_ref())?) {
            (Status::Created | Status::Running, Some(cgroup)) => Ok(cgroup.freeze(FREEZE)?),
            (Status::Created | Status::Running, None) => {
                Err(self.wrong_state(OPERATION, "it has no cgroup of its own"))
            }
            (Status::Paused, _) => {
                Err(self.wrong_state(OPERATION, "container not running: it is paused already"))
            }
            _ => Err(self.wrong_state(OPERATION, "container not running")),
        }
    }

    /// Lets the processes of a paused container go on.
    ///
    /// # Errors
    /// `WrongState` where it is not paused.
    pub fn resume(&self) -> Result<()> {
        let record = self.record()?;
        let cgroup = self.cgroup(record.as_ref())?;
        match (self.state()?.status, cgroup) {
            (Status::Paused, Some(cgroup)) => Ok(cgroup.thaw(FREEZE)?),
            // One that was paused before its start still waits for it, and does not say so.
            (Status::Created, Some(cgroup)) if cgroup.is_frozen()? => Ok(cgroup.thaw(FREEZE)?),
            _ => Err(self.wrong_state("resume container", "container not paused")),
        }
    }
}
