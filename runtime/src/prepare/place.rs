//! Where a container's processes are: a cgroup of their own, a scope of systemd's, or, for an ordinary
//! user who may not make a cgroup and asked for no limit, wherever the caller is.

use super::scope::Scope;
use crate::cgroup::systemd::{UnitPlan, Whose};
use crate::cgroup::{
    Cgroup, CgroupError, CgroupErrorKind, CgroupPath, CgroupRoot, Leaf, Resources,
};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::plan::{PlacePlan, Plan};
use crate::state::Unit;
use std::os::fd::{AsFd, BorrowedFd};

/// A place that was made; undone when dropped before [`Place::commit`].
#[derive(Debug)]
pub(crate) enum Place {
    /// A cgroup of the container's own.
    Own(Leaf),
    /// A transient unit, made by the service manager.
    Scope(Box<Scope>),
    /// The caller's cgroup, which nobody may limit, freeze or kill as the container's.
    Callers,
}

impl Place {
    /// Makes it, with its limits and its owner.
    ///
    /// # Errors
    /// What the kernel answers; for an ordinary user without a delegated cgroup, which limits could
    /// not be applied.
    pub(crate) fn make(plan: &Plan, host: &Host, rootless: Option<bool>) -> Result<Place> {
        let path = match &plan.place {
            Some(PlacePlan::Unit(unit)) => return scope(unit, plan, host)?.given(plan),
            Some(PlacePlan::Path(path)) => path,
            None => {
                return Err(Error::new(ErrorKind::InvalidSpec, "create cgroup", "")
                    .because("it has no path"));
            }
        };
        let leaf = match leaf(path, &plan.resources, host) {
            Ok(leaf) => leaf,
            Err(error) if may_do_without(&error, host, rootless) => {
                return without(path, &plan.resources, error);
            }
            Err(error) => return Err(error),
        };
        Place::Own(leaf).given(plan)
    }

    /// Gives the cgroup to whom the plan says.
    fn given(self, plan: &Plan) -> Result<Place> {
        if let Some((owner, cgroup)) = plan.cgroup_owner().zip(self.cgroup()) {
            cgroup.delegate(owner)?;
        }
        Ok(self)
    }

    /// The container's first process is there.
    ///
    /// # Errors
    /// What the service manager or the kernel answers.
    pub(crate) fn settle(&mut self) -> Result<()> {
        match self {
            Place::Scope(scope) => scope.settle(),
            Place::Own(_) | Place::Callers => Ok(()),
        }
    }

    /// The unit it is.
    pub(crate) fn unit(&self) -> Option<Unit> {
        match self {
            Place::Scope(scope) => Some(scope.unit()),
            Place::Own(_) | Place::Callers => None,
        }
    }

    /// For `CLONE_INTO_CGROUP`.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.cgroup().map(AsFd::as_fd)
    }

    /// The container's own cgroup.
    pub(crate) fn cgroup(&self) -> Option<&Cgroup> {
        match self {
            Place::Own(leaf) => Some(leaf.cgroup()),
            Place::Scope(scope) => Some(scope.cgroup()),
            Place::Callers => None,
        }
    }

    /// Keeps it.
    pub(crate) fn commit(self) {
        match self {
            Place::Own(leaf) => drop(leaf.commit()),
            Place::Scope(scope) => scope.commit(),
            Place::Callers => {}
        }
    }
}

/// Of the machine's manager, or of that of the user's session, where programs cannot be loaded.
fn scope(unit: &UnitPlan, plan: &Plan, host: &Host) -> Result<Place> {
    let ordinary = is_ordinary(host);
    let scope = if ordinary {
        Scope::start(unit, &plan.resources.without_devices(), Whose::Users)?
    } else {
        Scope::start(unit, &plan.resources, Whose::Machines)?
    };
    Ok(Place::Scope(Box::new(scope)))
}

fn leaf(path: &CgroupPath, resources: &Resources, host: &Host) -> Result<Leaf> {
    let root = CgroupRoot::find()?;
    if host.caller().uid == 0 {
        let refused = |made: &std::result::Result<Leaf, CgroupError>| {
            made.as_ref()
                .is_err_and(|error| error.kind == CgroupErrorKind::Permission)
        };
        let made = Leaf::create(&root, path, resources);
        if !refused(&made) || !host.is_in_user_namespace() {
            return Ok(made?);
        }
        let made = Leaf::create(&root, path, &resources.without_devices());
        if !refused(&made) || path.was_asked_for() {
            return Ok(made?);
        }
    }
    // Nothing at the root of the hierarchy belongs to an ordinary user, but what is beside its own
    // cgroup may.
    let own = host.read("self/cgroup")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"));
    let path = path.beside(own.unwrap_or("/").trim_end())?;
    Ok(Leaf::create(&root, &path, &resources.without_devices())?)
}

/// Was it refused, and is the caller an ordinary user, be it one who is root of a user namespace, or
/// said to be taken for one?
fn may_do_without(error: &Error, host: &Host, rootless: Option<bool>) -> bool {
    let refused = [CgroupErrorKind::Permission, CgroupErrorKind::NoCgroup2].map(ErrorKind::from);
    refused.contains(&error.kind()) && rootless.unwrap_or_else(|| is_ordinary(host))
}

fn is_ordinary(host: &Host) -> bool {
    host.caller().uid != 0 || host.is_in_user_namespace()
}

fn without(path: &CgroupPath, resources: &Resources, error: Error) -> Result<Place> {
    if path.was_asked_for() {
        return Err(error);
    }
    if !resources.has_limits() {
        return Ok(Place::Callers);
    }
    Err(Error::new(
        ErrorKind::Denied,
        "apply",
        resources.settings().join(", "),
    )
    .because(format!(
        "rootless needs no limits + no cgrouppath when no permission is granted for cgroups: {error}"
    ))
    .with_hint("have a cgroup delegated to this user (systemd: Delegate=yes), or drop the limits"))
}
