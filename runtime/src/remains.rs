//! What a container leaves whose program this process has started and seen the end of. All of it is
//! held open: nothing has to be looked up again, and another container of the same name, made since
//! by somebody else, is not touched.

use crate::cgroup::Cgroup;
use crate::deletion::{Deleted, GONE, stop_unit};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks;
use crate::plan::hooks::HooksPlan;
use crate::prepare::state_dir::{STATE, StateDir};
use crate::start::Kept;
use crate::state::Record;

/// Of one container.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) dir: StateDir,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) hooks: HooksPlan,
    pub(crate) record: Record,
}

impl Remains {
    /// Of a container whose program runs.
    pub(crate) fn of(kept: Kept, record: Record) -> Remains {
        Remains {
            dir: kept.dir,
            cgroup: kept.cgroup,
            hooks: kept.plan.hooks,
            record,
        }
    }

    /// Removes the cgroup with whoever outlived the program in it, then the state; then the poststop
    /// hooks run.
    ///
    /// # Errors
    /// `NotFound` where somebody else has deleted it.
    pub(crate) fn delete(mut self) -> Result<Deleted> {
        let id = &self.record.id;
        let Some(bytes) = self.dir.read(STATE)? else {
            return Err(Error::new(ErrorKind::NotFound, "delete container", id)
                .because("container does not exist"));
        };
        // Others may have written it anew: an update can give a container a class of service.
        let record = &Record::from_bytes(id, &bytes)?;
        if let Some(cgroup) = self.cgroup
            && !cgroup.remove_if_empty()?
        {
            cgroup.kill()?;
            cgroup.wait_empty(GONE)?;
            cgroup.remove(GONE)?;
        }
        if let Some(class) = &record.rdt {
            class.remove()?;
        }
        stop_unit(Some(record));
        self.dir.remove()?;
        Ok(Deleted::with(hooks::at_poststop(&self.hooks, record)))
    }
}
