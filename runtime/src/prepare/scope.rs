//! A transient scope. systemd makes one around a process that exists, and ours is to be born inside it:
//! so a process that does nothing holds the place until the container's own has been cloned into it.

use crate::cgroup::systemd::{Manager, UnitPlan, Whose};
use crate::cgroup::{Cgroup, CgroupRoot, Leaf, Resources};
use crate::clone::Child;
use crate::error::{At, Error, ErrorKind, Result};
use crate::state::Unit;
use crate::sys;
use std::time::Duration;

/// How long undoing waits for killed processes.
const UNDO: Duration = Duration::from_secs(10);

/// A scope that was started; stopped with all in it when dropped before [`Scope::commit`].
#[derive(Debug)]
pub(crate) struct Scope {
    manager: Manager,
    unit: String,
    whose: Whose,
    cgroup: Cgroup,
    /// Killed when it is dropped.
    holder: Option<Child>,
    /// Not even two tasks are allowed, once the holder is gone.
    one_task: bool,
    kept: bool,
}

impl Scope {
    /// Starts it, with its limits and its devices.
    ///
    /// # Errors
    /// What systemd or the kernel answers; `TimedOut` where systemd does not.
    pub(crate) fn start(unit: &UnitPlan, resources: &Resources, whose: Whose) -> Result<Scope> {
        let root = CgroupRoot::find()?;
        let mut manager = Manager::connect(whose)?;
        let path = manager.cgroup(unit)?;
        refuse_used(&root, &path)?;
        let (pid, pidfd) = sys::clone_holder(0).at("clone", "a place holder")?;
        let holder = Child::new(pid, pidfd);
        manager.start(unit, pid.unsigned_abs())?;
        let cgroup = Cgroup::open(&root, &path)?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "find cgroup of", unit.name.clone())
                .because(format!("systemd made none at {path}"))
        });
        let cgroup = match cgroup {
            Ok(cgroup) => cgroup,
            Err(error) => {
                manager.stop(&unit.name).unwrap_or_default();
                return Err(error);
            }
        };
        // From here on dropping it undoes it.
        let scope = Scope {
            manager,
            unit: unit.name.clone(),
            whose,
            cgroup,
            holder: Some(holder),
            one_task: unit.is_for_one_task(),
            kept: false,
        };
        Leaf::adopt(&root, &path, resources)?;
        if scope.one_task {
            scope.cgroup.limit_tasks(2)?;
        }
        Ok(scope)
    }

    pub(crate) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    pub(crate) fn unit(&self) -> Unit {
        Unit {
            name: self.unit.clone(),
            user: self.whose == Whose::Users,
        }
    }

    /// The container's own process is in it: nobody has to hold the place.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.holder = None;
        if self.one_task {
            self.manager.set(&self.unit, vec![UnitPlan::one_task()])?;
            self.cgroup.limit_tasks(1)?;
        }
        Ok(())
    }

    pub(crate) fn commit(mut self) {
        self.kept = true;
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // The error that led here is the one that is reported.
        self.holder = None;
        self.cgroup.kill().unwrap_or_default();
        self.cgroup.wait_empty(UNDO).unwrap_or_default();
        self.manager.stop(&self.unit).unwrap_or_default();
        self.cgroup.remove(UNDO).unwrap_or_default();
    }
}

/// systemd would put us beside whoever is there.
fn refuse_used(root: &CgroupRoot, path: &crate::cgroup::CgroupPath) -> Result<()> {
    let Some(cgroup) = Cgroup::open(root, path)? else {
        return Ok(());
    };
    let state = cgroup.state()?;
    let why = match (state.populated, state.frozen) {
        (true, _) => "container's cgroup is not empty",
        (_, true) => "container's cgroup unexpectedly frozen",
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::AlreadyExists, "create", format!("cgroup {path}")).because(why))
}
