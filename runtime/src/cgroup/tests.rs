//! Tests on the real cgroup2 mount, below one own parent each. Without root or cgroup2 they say so and pass.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// A cgroup of this test alone; whatever is left in it is killed and removed at the end.
struct Parent {
    root: CgroupRoot,
    name: String,
}

impl Parent {
    fn new(test: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED {test}: needs root");
            return None;
        }
        let root = match CgroupRoot::find() {
            Ok(root) => root,
            Err(error) => {
                eprintln!("SKIPPED {test}: {error}");
                return None;
            }
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hostrun-test-{}-{number}", std::process::id());
        if let Err(errno) = dir::make(root.as_fd(), &name) {
            eprintln!("SKIPPED {test}: cannot make /{name}: {errno}");
            return None;
        }
        Some(Self { root, name })
    }

    fn path(&self, below: &str) -> CgroupPath {
        CgroupPath::parse(format!("{}/{below}", self.name).as_bytes()).unwrap()
    }

    fn leaf(&self, below: &str, resources: &str) -> Result<Leaf> {
        let spec = serde_json::from_str(resources).unwrap();
        let resources = Resources::from_spec(Some(&spec)).unwrap();
        Leaf::create(&self.root, &self.path(below), &resources)
    }

    /// A committed leaf.
    fn cgroup(&self, below: &str) -> Cgroup {
        self.leaf(below, "{}").unwrap().commit()
    }

    fn exists(&self, below: &str) -> bool {
        dir::open(self.root.as_fd(), &format!("{}/{below}", self.name)).is_ok()
    }

    fn write(&self, file: &str, value: &str) {
        dir::write(self.root.as_fd(), &format!("{}/{file}", self.name), value).unwrap();
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let path = CgroupPath::parse(self.name.as_bytes()).unwrap();
        if let Some(cgroup) = Cgroup::open(&self.root, &path).unwrap() {
            dir::write(cgroup.as_fd(), "cgroup.freeze", "0").unwrap();
            cgroup.kill().unwrap();
            cgroup.remove(SOON).unwrap();
        }
    }
}

/// A shell that waits for a line, so that it can be moved before it runs its script.
struct Shell(Child, Option<ChildStdin>);

impl Shell {
    fn inside(cgroup: &Cgroup, script: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read line; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id().to_string();
        dir::write(cgroup.as_fd(), "cgroup.procs", &pid).unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"go\n").unwrap();
        Self(child, Some(input))
    }

    fn finish(mut self) -> (bool, String) {
        drop(self.1.take());
        let mut out = String::new();
        self.0
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        (self.0.wait().unwrap().success(), out)
    }

    fn pid(&self) -> i32 {
        self.0.id().try_into().unwrap()
    }
}

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
    assert!(
        error
            .to_string()
            .contains("already exists and is not empty"),
        "{error}"
    );
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
fn a_leftover_with_sub_cgroups_or_a_frozen_one_is_refused() {
    let Some(parent) = Parent::new("strange leftovers") else {
        return;
    };
    let nested = parent.cgroup("x/y");
    assert_eq!(
        parent.leaf("x", "{}").unwrap_err().kind,
        CgroupErrorKind::InUse
    );
    nested.remove(SOON).unwrap();
    parent.write("x/cgroup.freeze", "1");
    assert_eq!(
        parent.leaf("x", "{}").unwrap_err().kind,
        CgroupErrorKind::Frozen
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
fn the_device_filter_bites() {
    let Some(parent) = Parent::new("device filter") else {
        return;
    };
    let script = "for d in zero null; do head -c1 /dev/$d >/dev/null 2>&1 && echo $d; done; true";
    let run = |resources: &str| {
        let leaf = parent.leaf("x", resources).unwrap();
        Shell::inside(leaf.cgroup(), script).finish().1
    };
    let everything = r#"{"devices":[{"allow":true,"access":"rwm"}]}"#;
    assert_eq!(run(everything), "zero\nnull\n");
    assert_eq!(run("{}"), "zero\nnull\n");
    // The default devices come last, so what is denied here has to be attached by hand.
    let program = devices::program_without_defaults(
        r#"[{"allow":true,"access":"rwm"},
        {"allow":false,"type":"c","major":1,"minor":5,"access":"r"}]"#,
    );
    let leaf = parent.leaf("x", everything).unwrap();
    devices::attach(leaf.cgroup(), &program).unwrap();
    assert_eq!(Shell::inside(leaf.cgroup(), script).finish().1, "null\n");
}

#[test]
fn a_device_that_no_rule_names_cannot_be_opened() {
    let Some(parent) = Parent::new("device default") else {
        return;
    };
    let node = format!("/tmp/hostrun-test-kmsg-{}", std::process::id());
    let script =
        format!("rm -f {node}; mknod {node} c 1 11 && echo made; exec 3<{node} && echo open; true");
    let leaf = parent.leaf("x", "{}").unwrap();
    let (_ok, out) = Shell::inside(leaf.cgroup(), &script).finish();
    std::fs::remove_file(&node).unwrap();
    assert_eq!(out, "made\n");
    let ids = crate::sys::bpf::query_device_programs(leaf.as_fd()).unwrap();
    assert_eq!(ids.len(), 1);
    assert!(crate::sys::bpf::device_program_by_id(ids[0]).is_ok());
}

#[test]
fn the_largest_list_of_device_rules_is_accepted_by_the_verifier() {
    let Some(parent) = Parent::new("large device program") else {
        return;
    };
    let rules: Vec<_> = (0..2048)
        .map(|n| {
            let access = ["r", "w", "m", "rw", "rwm"][n % 5];
            serde_json::json!({ "allow": n % 3 != 0, "type": if n % 2 == 0 { "c" } else { "b" },
                "major": n % 60, "minor": n, "access": access })
        })
        .collect();
    let resources = serde_json::json!({ "devices": rules }).to_string();
    parent.leaf("x", &resources).unwrap();
}

#[test]
fn a_limit_is_set_where_the_controller_is_and_an_error_where_it_is_not() {
    let Some(parent) = Parent::new("limits") else {
        return;
    };
    let offered = parent.root.controllers().unwrap();
    for (controller, json, file, value) in [
        (
            "hugetlb",
            r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
            "hugetlb.2MB.max",
            "4194304",
        ),
        (
            "memory",
            r#"{"memory":{"limit":8388608}}"#,
            "memory.max",
            "8388608",
        ),
        (
            "cpu",
            r#"{"cpu":{"quota":50000,"period":100000}}"#,
            "cpu.max",
            "50000 100000",
        ),
        ("cpu", r#"{"cpu":{"shares":1024}}"#, "cpu.weight", "100"),
        ("pids", r#"{"pids":{"limit":7}}"#, "pids.max", "7"),
        (
            "memory",
            r#"{"unified":{"memory.high":"8388608"}}"#,
            "memory.high",
            "8388608",
        ),
    ] {
        match parent.leaf("a/b", json) {
            Ok(leaf) => {
                assert!(offered.has(controller));
                assert_eq!(dir::read(leaf.as_fd(), file).unwrap().trim(), value);
                let stats = leaf.cgroup().stats().unwrap();
                assert!(stats.cpu.is_some() && stats.memory.is_some() == (controller == "memory"));
            }
            Err(error) => {
                assert!(!offered.has(controller), "{error}");
                eprintln!(
                    "no {controller} here: {error}; {}",
                    error.hint.as_deref().unwrap()
                );
                assert_eq!(error.kind, CgroupErrorKind::ControllerMissing);
                assert!(error.to_string().contains("(linux.resources."), "{error}");
                assert!(error.to_string().contains(controller), "{error}");
            }
        }
        assert!(!parent.exists("a"), "nothing is left of {json}");
    }
}

#[test]
fn a_value_that_the_kernel_refuses_names_setting_file_and_errno() {
    let Some(parent) = Parent::new("refused values") else {
        return;
    };
    if !parent.root.controllers().unwrap().has("hugetlb") {
        eprintln!("SKIPPED refused values: no hugetlb controller");
        return;
    }
    let error = parent
        .leaf(
            "x",
            r#"{"hugepageLimits":[{"pageSize":"2MB","limit":0},{"pageSize":"4KB","limit":1}]}"#,
        )
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("(linux.resources.hugepageLimits[1].limit): ENOENT"),
        "{text}"
    );
    assert!(
        text.starts_with("set hugetlb.4KB.max of cgroup /hostrun-test-"),
        "{text}"
    );
    let error = parent
        .leaf("x", r#"{"unified":{"cgroup.max.depth":"deep"}}"#)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("(linux.resources.unified[\"cgroup.max.depth\"]): EINVAL"),
        "{error}"
    );
    assert!(!parent.exists("x"));
}

#[test]
fn statistics_of_a_leaf_without_controllers_have_processor_time() {
    let Some(parent) = Parent::new("statistics") else {
        return;
    };
    let cgroup = parent.cgroup("x");
    let shell = Shell::inside(&cgroup, "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done");
    assert!(shell.finish().0);
    let stats = cgroup.stats().unwrap();
    assert!(stats.cpu.as_ref().unwrap().usage_usec > 0, "{stats:?}");
    let json = serde_json::to_value(&stats).unwrap();
    assert!(json.get("memory").is_some());
    cgroup.remove(SOON).unwrap();
    assert_eq!(cgroup.stats().unwrap_err().kind, CgroupErrorKind::NotFound);
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
