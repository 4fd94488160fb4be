//! Who a process may be in a user namespace: better said now than as EINVAL by the kernel.

use super::namespaces::Namespaces;
use super::process::ProcessPlan;
use super::refusal::Refusals;
use oci_spec::runtime::Spec;

/// What crun calls it and podman sets for `--group-add keep-groups`: files of the caller's groups
/// stay in reach of an ordinary user's container, which could not name those groups.
pub(crate) const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// With that annotation the caller's groups stay, and those of the config count for nothing.
pub(super) fn keep_groups(spec: &Spec, process: &mut ProcessPlan) {
    let annotations = spec.annotations().as_ref();
    let value = annotations.and_then(|annotations| annotations.get(KEEP_GROUPS));
    process.keep_groups = value.is_some_and(|value| value == "1");
    if process.keep_groups {
        process.groups.clear();
    }
}

/// Refuses ids outside the maps, and groups where the namespace takes none.
pub(super) fn refuse_unmapped(
    namespaces: &Namespaces,
    process: &ProcessPlan,
    refusals: &mut Refusals,
) {
    let Some(maps) = &namespaces.maps else { return };
    if !maps.uids.covers(process.uid) {
        refusals.refuse("process.user.uid", "is not in linux.uidMappings");
    }
    if !maps.gids.covers(process.gid) {
        refusals.refuse("process.user.gid", "is not in linux.gidMappings");
    }
    for (index, _) in process
        .groups
        .iter()
        .enumerate()
        .filter(|(_, group)| !maps.gids.covers(**group))
    {
        refusals.refuse(format!("{GROUPS}[{index}]"), "is not in linux.gidMappings");
    }
    if maps.deny_setgroups {
        refuse_groups(process, refusals);
    }
}

const GROUPS: &str = "process.user.additionalGids";

/// Where `setgroups(2)` is denied.
pub(super) fn refuse_groups(process: &ProcessPlan, refusals: &mut Refusals) {
    if !process.groups.is_empty() {
        let why = "cannot set any additional groups in a rootless container";
        refusals.refuse(GROUPS, why);
    }
}
