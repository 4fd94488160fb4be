//! Where a container's processes will be, and whose their cgroup is.

use super::mounts::MountPlan;
use super::namespaces::Kind;
use super::options;
use super::refusal::Refusals;
use super::sources::SourcePlan;
use super::{Facts, Plan};
use crate::cgroup::CgroupPath;
use crate::cgroup::systemd::UnitPlan;
use crate::id::ContainerId;
use oci_spec::runtime::{Linux, Spec};

/// `linux.cgroupsPath` as meant.
#[derive(Debug)]
pub(crate) enum PlacePlan {
    /// A cgroup of its own.
    Path(CgroupPath),
    /// A transient unit.
    Unit(Box<UnitPlan>),
}

pub(super) fn plan(
    id: &ContainerId,
    spec: &Spec,
    linux: &Linux,
    facts: Facts,
    refusals: &mut Refusals,
) -> Option<PlacePlan> {
    let asked = linux.cgroups_path().as_deref();
    if !facts.systemd {
        return CgroupPath::for_container(asked, id.as_str())
            .map(PlacePlan::Path)
            .map_err(|error| refusals.refuse("linux.cgroupsPath", error))
            .ok();
    }
    let (annotations, resources) = (spec.annotations().as_ref(), linux.resources().as_ref());
    let unit = UnitPlan::for_container(asked, annotations, resources, id.as_str());
    let problems = match unit {
        Ok(unit) => return Some(PlacePlan::Unit(Box::new(unit))),
        Err(problems) => problems,
    };
    for problem in problems {
        refusals.refuse(problem.path, problem.reason);
    }
    None
}

impl Plan {
    /// The host's user who gets the container's cgroup, "Cgroup ownership" of the spec: whoever the
    /// process is, where it has a cgroup namespace and a cgroup file system that it may write to.
    pub(crate) fn cgroup_owner(&self) -> Option<u32> {
        let writable = |mount: &MountPlan| {
            matches!(&mount.source, SourcePlan::New { fstype, .. } if fstype.as_c_str() == c"cgroup2")
                && mount.own.of_new() & options::RDONLY == 0
        };
        let given = self.namespaces.creates(Kind::Cgroup) && self.root.mounts.iter().any(writable);
        let owner = match &self.namespaces.maps {
            Some(maps) => maps.uids.outside(self.process.uid)?,
            None => self.process.uid,
        };
        (given && owner != 0).then_some(owner)
    }
}
