//! Limits, devices and statistics.

use super::*;

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

/// Says so and returns false where one of the controllers is missing.
fn has_all(parent: &Parent, test: &str, controllers: &[&str]) -> bool {
    let offered = parent.root.controllers().unwrap();
    let missing: Vec<_> = controllers.iter().filter(|c| !offered.has(c)).collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED {test}: no controller {missing:?} here");
    }
    missing.is_empty()
}

#[test]
fn every_kind_of_limit_reaches_its_file() {
    let Some(parent) = Parent::new("all limits") else {
        return;
    };
    if !has_all(
        &parent,
        "all limits",
        &["memory", "cpu", "cpuset", "pids", "io"],
    ) {
        return;
    }
    let leaf = parent
        .leaf(
            "a/b",
            r#"{"memory":{"limit":8388608,"swap":12582912,"reservation":4194304},
                "cpu":{"shares":2048,"quota":50000,"period":100000,"burst":20000,"idle":1,"cpus":"0","mems":"0"},
                "pids":{"limit":7},"blockIO":{"weight":500},
                "unified":{"memory.oom.group":"1","pids.max":"8"}}"#,
        )
        .unwrap();
    for (file, value) in [
        ("memory.max", "8388608"),
        ("memory.swap.max", "4194304"),
        ("memory.low", "4194304"),
        ("memory.oom.group", "1"),
        ("cpu.max", "50000 100000"),
        ("cpu.max.burst", "20000"),
        ("cpu.idle", "1"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("pids.max", "8"),
    ] {
        let found = dir::read(leaf.as_fd(), file).unwrap();
        assert_eq!(found.trim(), value, "{file}");
    }
    let weights = ["io.bfq.weight", "io.weight"].map(|file| dir::read(leaf.as_fd(), file));
    let weights: String = weights.into_iter().flatten().collect();
    assert!(
        weights.contains("default 500") || weights.contains("default 4950"),
        "{weights}"
    );
    let error = parent
        .leaf(
            "c",
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":250,"minor":250,"rate":1}]}}"#,
        )
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("blockIO.throttleReadBpsDevice[0].rate"),
        "{text}"
    );
}

#[test]
fn limits_bite_and_statistics_count_it() {
    let Some(parent) = Parent::new("limits bite") else {
        return;
    };
    if !has_all(&parent, "limits bite", &["memory", "pids", "cpu"]) {
        return;
    }
    let cgroup = parent
        .leaf(
            "x",
            r#"{"memory":{"limit":8388608,"swap":8388608},"pids":{"limit":2}}"#,
        )
        .unwrap()
        .commit();
    let (ok, _out) = Shell::inside(&cgroup, "x=0123456789; while :; do x=$x$x; done").finish();
    assert!(!ok);
    let script = "(sleep 1 & sleep 1 & wait; echo forked) || echo refused";
    let (_ok, out) = Shell::inside(&cgroup, script).finish();
    assert_ne!(out, "forked\n");
    let stats = cgroup.stats().unwrap();
    let memory = stats.memory.unwrap();
    assert_eq!((memory.max, memory.swap_max), (Some(8_388_608), Some(0)));
    assert!(memory.events["oom_kill"] >= 1 && memory.detail.contains_key("anon"));
    assert_eq!(stats.pids.unwrap().max, Some(2));

    let slow = parent.leaf("y", r#"{"cpu":{"quota":10000}}"#).unwrap();
    Shell::inside(
        slow.cgroup(),
        "exec timeout 0.5 sh -c 'while :; do :; done'",
    )
    .finish();
    let cpu = slow.cgroup().stats().unwrap().cpu.unwrap();
    assert!(cpu.throttled_periods.unwrap() > 0);
}

/// Device programs of the cgroup itself.
fn programs(cgroup: &Cgroup) -> Vec<u32> {
    crate::sys::bpf::query_device_programs(cgroup.as_fd()).unwrap()
}

fn change(json: &str) -> Resources {
    Resources::for_update(&serde_json::from_str(json).unwrap()).unwrap()
}

#[test]
fn device_rules_of_a_cgroup_that_lives_are_replaced_and_never_piled_up() {
    let Some(parent) = Parent::new("device update") else {
        return;
    };
    let script = "(exec 3</dev/loop-control) 2>/dev/null && echo open || echo shut";
    let cgroup = parent.cgroup("x");
    let first = programs(&cgroup);
    for (allow, wanted) in [(true, "open\n"), (false, "shut\n"), (true, "open\n")] {
        let json = format!(r#"{{"devices":[{{"allow":{allow},"access":"rwm"}}]}}"#);
        cgroup.update(&change(&json)).unwrap();
        assert_eq!(Shell::inside(&cgroup, script).finish().1, wanted);
        assert_eq!(programs(&cgroup).len(), 1);
    }
    assert_ne!(programs(&cgroup), first);
    let others = programs(&cgroup);
    cgroup.update(&change("{}")).unwrap();
    assert_eq!(programs(&cgroup), others, "no rules given, none changed");
    cgroup.remove(SOON).unwrap();
}

#[test]
fn an_update_that_fails_changes_nothing() {
    let Some(parent) = Parent::new("update") else {
        return;
    };
    if !has_all(&parent, "update", &["hugetlb"]) {
        return;
    }
    let cgroup = parent
        .leaf(
            "x",
            r#"{"hugepageLimits":[{"pageSize":"2MB","limit":2097152}]}"#,
        )
        .unwrap()
        .commit();
    let limit = || dir::read(cgroup.as_fd(), "hugetlb.2MB.max").unwrap();
    cgroup
        .update(&change(
            r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
        ))
        .unwrap();
    assert_eq!(limit(), "4194304\n");
    let error = cgroup
        .update(&change(
            r#"{"hugepageLimits":[{"pageSize":"2MB","limit":6291456}],"unified":{"hugetlb.2MB.max":"many"}}"#,
        ))
        .unwrap_err();
    assert!(error.to_string().contains("hugetlb.2MB.max"), "{error}");
    assert_eq!(limit(), "4194304\n");
    cgroup.remove(SOON).unwrap();
}
