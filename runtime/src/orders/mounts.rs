//! What is mounted, and out of what.

use super::raw;
use crate::plan::mounts::MountPlan;
use crate::plan::options::{Attributes, RDONLY};
use crate::plan::sources::SourcePlan;
use crate::prepare::{Prepared, Tree, clone_propagation};
use hostrun_inside::Fd;
use hostrun_inside::orders::{self, Changes, Make, Mount, Source};
use std::cell::Cell;
use std::ffi::CStr;

/// Options of one mount for `fsconfig(2)`.
type Options<'a> = Vec<(&'a CStr, &'a CStr)>;

/// All of them, in the order of the config.
pub(super) fn mounts<'a>(prepared: &'a Prepared, options: &'a [Options<'a>]) -> Vec<Mount<'a>> {
    let plans = &prepared.plan.root.mounts;
    let propagation = clone_propagation(&prepared.plan);
    // Sysctls are written through the first procfs.
    let procfs = plans.iter().position(is_procfs);
    let parts = plans
        .iter()
        .zip(&prepared.trees.mounts)
        .zip(options)
        .enumerate();
    parts
        .map(|(index, ((plan, tree), options))| Mount {
            keep: procfs == Some(index) && !prepared.plan.sysctls.is_empty(),
            ..mount(plan, tree.as_ref(), options, propagation)
        })
        .collect()
}

fn is_procfs(mount: &MountPlan) -> bool {
    matches!(&mount.source, SourcePlan::New { fstype, .. } if fstype.as_c_str() == c"proc")
}

fn mount<'a>(
    plan: &'a MountPlan,
    tree: Option<&'a Tree>,
    options: &'a [(&'a CStr, &'a CStr)],
    propagation: u64,
) -> Mount<'a> {
    let attributes = |attributes: Attributes| orders::Attributes {
        set: attributes.set,
        clear: attributes.clear,
    };
    let without_cgroup = matches!(plan.source, SourcePlan::CgroupLeaf) && tree.is_none();
    let nothing_to_show = if without_cgroup { RDONLY } else { 0 };
    let remounts = matches!(plan.source, SourcePlan::Remount { .. });
    Mount {
        source: source(plan, tree, options),
        target: &plan.target,
        strict_target: plan.strict_target,
        over_proc: plan.over_proc,
        over_link: plan.over_link,
        make: if tree.is_some_and(|tree| !tree.is_directory()) {
            Make::File
        } else {
            Make::Directory
        },
        attributes: plan.own.of_new() | plan.tree.set | nothing_to_show,
        changes: Changes {
            own: attributes(plan.own.of_bind()),
            own_locked: attributes(plan.own.of_locked_bind()),
            tree: attributes(plan.tree),
            propagation: if remounts { 0 } else { propagation },
            idmap: plan.idmap.is_some(),
        },
        late_readonly: plan.late_readonly,
        keep: false,
        propagation: &plan.propagation,
        held: Cell::new(-1),
    }
}

fn source<'a>(
    plan: &'a MountPlan,
    tree: Option<&'a Tree>,
    options: &'a [(&'a CStr, &'a CStr)],
) -> Source<'a> {
    let recursive = match &plan.source {
        SourcePlan::Bind { recursive, .. } | SourcePlan::Inside { recursive, .. } => *recursive,
        _ => false,
    };
    match (&plan.source, tree) {
        (_, Some(Tree::Detached { fd, .. })) => Source::Tree(raw(fd)),
        (_, Some(Tree::Host { path, .. })) => Source::Host { path, recursive },
        (_, Some(Tree::Link(text))) => Source::Link(text),
        (
            SourcePlan::New {
                fstype,
                device,
                inherit_mode,
                copy_up,
                ..
            },
            None,
        ) => Source::Filesystem {
            fstype,
            source: device,
            options,
            inherit_mode: *inherit_mode,
            copy_up: *copy_up,
        },
        (SourcePlan::Inside { path, .. }, None) => Source::Inside { path, recursive },
        (SourcePlan::Remount { options: new }, None) => {
            Source::Remount(new.as_ref().map(|_| options))
        }
        // Without a cgroup of its own there is nothing to show (CVE-2023-25809 showed the user's).
        (SourcePlan::CgroupLeaf, None) => Source::Filesystem {
            fstype: c"tmpfs",
            source: c"tmpfs",
            options: &[],
            inherit_mode: true,
            copy_up: false,
        },
        // Every other source has a tree; one without would be refused by the kernel.
        (SourcePlan::Bind { .. }, None) => Source::Tree(Fd(-1)),
    }
}
