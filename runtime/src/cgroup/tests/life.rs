//! Freezing, killing and removing.

use super::*;

#[test]
fn freeze_stops_and_thaw_resumes() {
    let Some(parent) = Parent::new("freezer") else {
        return;
    };
    let cgroup = parent.cgroup("x");
    let mut shell = Shell::inside(&cgroup, "read line; echo on");
    cgroup.freeze(SOON).unwrap();
    assert!(cgroup.is_frozen().unwrap());
    let input = shell.1.as_mut().unwrap();
    input.write_all(b"line\n").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let ended = shell.0.try_wait().unwrap();
    assert!(ended.is_none(), "a frozen process does not go on");
    cgroup.thaw(SOON).unwrap();
    assert!(!cgroup.is_frozen().unwrap());
    assert_eq!(shell.finish(), (true, "on\n".to_owned()));
}

#[test]
fn a_thaw_below_a_frozen_ancestor_says_so_at_once() {
    let Some(parent) = Parent::new("thaw below") else {
        return;
    };
    let cgroup = parent.cgroup("x");
    parent.write("cgroup.freeze", "1");
    let start = Instant::now();
    let error = cgroup.thaw(SOON).unwrap_err();
    assert_eq!(error.kind, CgroupErrorKind::Frozen);
    assert!(error.hint.unwrap().contains(&parent.name) && start.elapsed() < SOON / 2);
}

#[test]
fn kill_reaches_every_process_below_frozen_or_not() {
    let Some(parent) = Parent::new("kill") else {
        return;
    };
    let cgroup = parent.cgroup("x");
    let below = parent.cgroup("x/y/z");
    let shells = [
        Shell::inside(&cgroup, "sleep 100"),
        Shell::inside(&below, "sleep 100"),
    ];
    cgroup.freeze(SOON).unwrap();
    let pids = cgroup.pids().unwrap();
    assert!(shells.iter().all(|shell| pids.contains(&shell.pid())));
    cgroup.kill().unwrap();
    cgroup.wait_empty(SOON).unwrap();
    assert!(shells.into_iter().all(|shell| !shell.finish().0));
    assert_eq!(cgroup.pids().unwrap(), [0_i32; 0]);
    cgroup.remove(SOON).unwrap();
    assert!(!parent.exists("x"));
    cgroup.kill().unwrap();
    cgroup.wait_empty(SOON).unwrap();
    cgroup.remove(SOON).unwrap();
    assert!(
        Cgroup::open(&parent.root, &parent.path("x"))
            .unwrap()
            .is_none()
    );
}

#[test]
fn kill_without_cgroup_kill_ends_forking_processes_too() {
    let Some(parent) = Parent::new("kill before Linux 5.14") else {
        return;
    };
    let cgroup = parent.cgroup("x");
    let shell = Shell::inside(&cgroup, "while :; do sleep 0.001 & done");
    cgroup.kill_each().unwrap();
    cgroup.wait_empty(SOON).unwrap();
    assert!(!shell.finish().0);
    assert!(!cgroup.is_frozen().unwrap());
}

#[test]
fn remove_waits_for_processes_and_takes_sub_cgroups_along() {
    let Some(parent) = Parent::new("remove") else {
        return;
    };
    let cgroup = parent.cgroup("x");
    for below in ["x/a/b/c", "x/a/d", "x/e"] {
        parent.cgroup(below);
    }
    let shell = Shell::inside(&cgroup, "exec sleep 0.2");
    let error = cgroup.remove(Duration::from_millis(20)).unwrap_err();
    assert_eq!(error.kind, CgroupErrorKind::InUse);
    assert!(error.hint.unwrap().contains(&shell.pid().to_string()));
    let start = Instant::now();
    let waiter = std::thread::spawn(move || shell.finish());
    cgroup.remove(SOON).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5) && !parent.exists("x"));
    assert!(waiter.join().unwrap().0);
}

#[test]
fn a_tree_deeper_than_a_path_can_name_is_listed_and_removed() {
    let Some(parent) = Parent::new("deep tree") else {
        return;
    };
    let cgroup = parent.cgroup("x");
    let mut here = dir::open(cgroup.as_fd(), ".").unwrap();
    let name = "d".repeat(250);
    for _level in 0..20 {
        dir::make(here.as_fd(), &name).unwrap();
        here = dir::open(here.as_fd(), &name).unwrap();
    }
    drop(here);
    assert_eq!(cgroup.pids().unwrap(), [0_i32; 0]);
    cgroup.remove(SOON).unwrap();
    assert!(!parent.exists("x"));
}

#[test]
fn the_end_of_the_last_process_is_heard_of() {
    let Some(parent) = Parent::new("watch") else {
        return;
    };
    let cgroup = parent.cgroup("x");
    let shell = Shell::inside(&cgroup, "read more");
    let mut watcher = cgroup.watch().unwrap();
    let soon = Some(Duration::from_millis(20));
    assert_eq!(watcher.next(soon), Ok(None), "nothing happened");
    cgroup.kill().unwrap();
    assert_eq!(watcher.next(Some(SOON)), Ok(Some(crate::Event::Ended)));
    shell.finish();
    cgroup.remove(SOON).unwrap();
    assert_eq!(watcher.next(None), Ok(Some(crate::Event::Ended)), "removed");
}

#[test]
fn a_cgroup_is_given_to_another_user_without_its_limits() {
    use std::os::unix::fs::MetadataExt;
    let Some(parent) = Parent::new("delegation") else {
        return;
    };
    let leaf = parent.leaf("x", "{}").unwrap();
    leaf.cgroup().delegate(4711).unwrap();
    let dir = parent.root.path().join(&parent.name).join("x");
    let owner = |file: &str| std::fs::metadata(dir.join(file)).unwrap().uid();
    for (file, wanted) in [
        (".", 4711),
        ("cgroup.procs", 4711),
        ("cgroup.subtree_control", 4711),
        ("cgroup.threads", 4711),
        ("cgroup.max.depth", 0),
        ("cgroup.freeze", 0),
        ("cgroup.kill", 0),
    ] {
        assert_eq!(owner(file), wanted, "{file}");
    }
}
