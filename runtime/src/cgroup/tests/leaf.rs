//! Making and undoing leaves.

use super::*;

#[test]
fn a_leaf_is_made_with_its_parents_and_undone_with_those_it_made() {
    let Some(parent) = Parent::new("undo") else {
        return;
    };
    let leaf = parent.leaf("a/b/c", "{}").unwrap();
    assert!(parent.exists("a/b/c"));
    drop(leaf);
    assert!(!parent.exists("a"), "made for the leaf, removed with it");
    let kept = parent.leaf("a/b", "{}").unwrap().commit();
    drop(parent.leaf("a/c/d", "{}").unwrap());
    assert!(
        parent.exists("a/b") && !parent.exists("a/c"),
        "only what was made"
    );
    kept.remove(SOON).unwrap();
    assert!(parent.exists("a") && !parent.exists("a/b"));
}

#[test]
fn undo_kills_what_runs_in_the_leaf_already() {
    let Some(parent) = Parent::new("undo with a process") else {
        return;
    };
    let leaf = parent.leaf("x", "{}").unwrap();
    let shell = Shell::inside(leaf.cgroup(), "sleep 100");
    drop(leaf);
    assert!(!shell.finish().0);
    assert!(!parent.exists("x"));
}

#[test]
fn a_leaf_in_use_is_refused_and_left_alone() {
    let Some(parent) = Parent::new("exclusive") else {
        return;
    };
    let first = parent.cgroup("x");
    let shell = Shell::inside(&first, "read line; echo alive");
    let error = parent.leaf("x", "{}").unwrap_err();
    assert_eq!(error.kind, CgroupErrorKind::InUse);
    let text = error.to_string();
    assert!(text.contains("container's cgroup is not empty"), "{text}");
    assert_eq!(first.pids().unwrap(), [shell.pid()]);
    let (ok, out) = shell.finish();
    assert_eq!((ok, out.as_str()), (true, "alive\n"));
}

#[test]
fn an_empty_leftover_is_replaced_by_a_new_cgroup_without_its_settings() {
    let Some(parent) = Parent::new("leftover") else {
        return;
    };
    let old = parent.cgroup("x");
    dir::write(old.as_fd(), "cgroup.max.depth", "5").unwrap();
    let new = parent.leaf("x", "{}").unwrap();
    assert_eq!(dir::read(new.as_fd(), "cgroup.max.depth").unwrap(), "max\n");
    assert!(
        old.state().is_err(),
        "the old handle does not reach the new cgroup"
    );
    old.remove(SOON).unwrap();
    assert!(
        parent.exists("x"),
        "and removing the old one does not remove the new one"
    );
}

#[test]
fn a_leftover_goes_with_its_empty_sub_cgroups_and_a_frozen_one_is_refused() {
    let Some(parent) = Parent::new("strange leftovers") else {
        return;
    };
    parent.cgroup("x/y");
    drop(parent.leaf("x", "{}").unwrap());
    assert!(!parent.exists("x"));
    let nested = parent.cgroup("x/y");
    let shell = Shell::inside(&nested, "read line");
    let error = parent.leaf("x", "{}").unwrap_err();
    assert_eq!(error.kind, CgroupErrorKind::InUse);
    shell.finish();
    parent.write("x/cgroup.freeze", "1");
    let error = parent.leaf("x", "{}").unwrap_err();
    assert_eq!(error.kind, CgroupErrorKind::Frozen);
    let text = error.to_string();
    assert!(
        text.contains("container's cgroup unexpectedly frozen"),
        "{text}"
    );
    assert!(parent.exists("x"));
}

#[test]
fn a_frozen_ancestor_is_refused_by_name_and_nothing_is_left() {
    let Some(parent) = Parent::new("frozen ancestor") else {
        return;
    };
    parent.write("cgroup.freeze", "1");
    let error = parent.leaf("a/b", "{}").unwrap_err();
    assert_eq!(error.kind, CgroupErrorKind::Frozen);
    assert!(
        error
            .to_string()
            .contains(&format!("/{} is frozen", parent.name)),
        "{error}"
    );
    assert!(!parent.exists("a"));
}

#[test]
fn many_leaves_made_and_removed_at_once_leave_nothing() {
    let Some(parent) = Parent::new("concurrency") else {
        return;
    };
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let parent = &parent;
            scope.spawn(move || {
                for round in 0..20 {
                    drop(
                        parent
                            .leaf(&format!("shared/{thread}-{round}"), "{}")
                            .unwrap(),
                    );
                }
            });
        }
    });
    assert!(
        !parent.exists("shared")
            || dir::children(
                dir::open(parent.root.as_fd(), &format!("{}/shared", parent.name))
                    .unwrap()
                    .as_fd()
            )
            .unwrap()
            .is_empty()
    );
}
