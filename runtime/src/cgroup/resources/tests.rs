//! Configuration in, decisions out; no system call.

use proptest::prelude::*;

use super::*;

fn parse(json: &str) -> Result<Resources, Vec<Problem>> {
    let spec: LinuxResources = serde_json::from_str(json).unwrap();
    Resources::from_spec(Some(&spec))
}

fn refused(json: &str) -> Vec<String> {
    let problems = parse(json).unwrap_err();
    problems.into_iter().map(|problem| problem.path).collect()
}

fn writes(resources: &Resources) -> Vec<String> {
    let of = |list: &[Written]| {
        list.iter()
            .map(|w| format!("{}={}", w.file, w.value))
            .collect::<Vec<_>>()
    };
    [
        of(&resources.first),
        of(&resources.lib_files),
        of(&resources.writes),
    ]
    .concat()
}

fn needs(resources: &Resources) -> Vec<&str> {
    resources
        .needs
        .iter()
        .map(|need| need.controller.as_str())
        .collect()
}

#[test]
fn what_asks_for_nothing_is_nothing() {
    for json in [
        "{}",
        r#"{"memory":{},"cpu":{},"blockIO":{},"network":{},"rdma":{},"unified":{},"hugepageLimits":[]}"#,
        r#"{"memory":{"limit":0,"swap":0,"reservation":0,"kernel":0,"swappiness":60,"disableOOMKiller":false}}"#,
        r#"{"memory":{"limit":-1,"swap":-1,"kernel":-1,"useHierarchy":true,"checkBeforeUpdate":true}}"#,
        r#"{"cpu":{"shares":0,"quota":0,"period":100000,"burst":0,"idle":0,"cpus":"","mems":"","realtimeRuntime":0,"realtimePeriod":0}}"#,
        r#"{"cpu":{"quota":-1,"period":0}}"#,
        r#"{"pids":{"limit":-1}}"#,
        r#"{"blockIO":{"weight":0,"leafWeight":0,"weightDevice":[{"major":8,"minor":0,"weight":0}],
            "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":0}]}}"#,
        r#"{"network":{"classID":0,"priorities":[]}}"#,
    ] {
        let resources = parse(json).unwrap();
        assert!(
            !resources.has_limits() && resources.needs.is_empty(),
            "{json}: {resources:?}"
        );
        assert_eq!(resources.lib, LinuxResources::default(), "{json}");
        assert!(
            resources.devices.is_some(),
            "the default devices are always enforced"
        );
    }
    assert!(Resources::from_spec(None).unwrap().devices.is_some());
}

#[test]
fn limits_become_files_in_order_with_their_controllers() {
    let resources = parse(
        r#"{"memory":{"limit":1000,"swap":1500,"reservation":500},
            "cpu":{"shares":2048,"quota":50000,"period":100000,"burst":1000,"idle":1,"cpus":"0-1","mems":"0"},
            "pids":{"limit":7},"hugepageLimits":[{"pageSize":"2MB","limit":0}],
            "blockIO":{"throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":9}]},
            "unified":{"memory.high":"900","io.max":"8:0 rbps=1\n8:16 rbps=2\n","cgroup.max.depth":"3"}}"#,
    )
    .unwrap();
    assert_eq!(
        writes(&resources),
        [
            "memory.swap.max=500",
            "memory.max=1000",
            "memory.low=500",
            "cpu.weight=2048",
            "cpu.max=50000 100000",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "io.max=8:16 wiops=9",
            "pids.max=7",
            "hugetlb.2MB.max=0",
            "cpu.max.burst=1000",
            "cpu.idle=1",
            "cgroup.max.depth=3",
            "io.max=8:0 rbps=1",
            "io.max=8:16 rbps=2",
            "memory.high=900",
        ]
    );
    assert_eq!(
        needs(&resources),
        ["memory", "cpu", "cpuset", "io", "pids", "hugetlb"]
    );
    assert!(
        resources.lib.memory().unwrap().swap().is_none(),
        "swap is ours"
    );
}

#[test]
fn swap_equal_to_the_limit_means_no_swap() {
    let resources = parse(r#"{"memory":{"limit":1000,"swap":1000}}"#).unwrap();
    assert_eq!(writes(&resources), ["memory.swap.max=0", "memory.max=1000"]);
    let unlimited = parse(r#"{"memory":{"limit":1000,"swap":-1}}"#).unwrap();
    assert_eq!(
        writes(&unlimited),
        ["memory.max=1000"],
        "a new cgroup has unlimited swap"
    );
}

#[test]
fn block_weights_keep_the_scale_of_the_spec_until_the_host_is_known() {
    let resources =
        parse(r#"{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":1000}]}}"#)
            .unwrap();
    let weights: Vec<_> = resources
        .io_weights
        .iter()
        .map(|w| (w.device, w.weight))
        .collect();
    assert_eq!(weights, [(None, 500), (Some((8, 0)), 1000)]);
    assert_eq!(needs(&resources), ["io"]);
    assert!(resources.has_limits());
}

#[test]
fn everything_wrong_is_named_at_once() {
    let paths = refused(
        r#"{"memory":{"limit":-2,"swap":5,"reservation":-9,"kernel":1,"kernelTCP":1,"swappiness":0,"disableOOMKiller":true},
            "cpu":{"idle":2,"cpus":"0;1","mems":"x","realtimeRuntime":1,"realtimePeriod":1},
            "blockIO":{"weight":5,"leafWeight":10,"weightDevice":[{"major":-1,"minor":0,"weight":9}],
                "throttleReadIOPSDevice":[{"major":8,"minor":-1,"rate":1}]},
            "hugepageLimits":[{"pageSize":"2MB/../x","limit":1},{"pageSize":"2MB","limit":-1},{"pageSize":"3MB","limit":1}],
            "network":{"classID":1,"priorities":[{"name":"lo","priority":1}]},
            "rdma":{"mlx5 0":{"hcaHandles":1}},
            "unified":{"../memory.max":"1"},
            "devices":[{"allow":true,"access":"z"}]}"#,
    );
    let expected = [
        "memory.limit",
        "memory.reservation",
        "memory.swap",
        "memory.kernel",
        "memory.kernelTCP",
        "memory.swappiness",
        "memory.disableOOMKiller",
        "cpu.cpus",
        "cpu.mems",
        "cpu.idle",
        "cpu.realtimeRuntime",
        "cpu.realtimePeriod",
        "blockIO.weight",
        "blockIO.leafWeight",
        "blockIO.weightDevice[0]",
        "blockIO.throttleReadIOPSDevice[0]",
        "hugepageLimits[0].pageSize",
        "hugepageLimits[1].limit",
        "hugepageLimits[2].pageSize",
        "network.classID",
        "network.priorities",
        "rdma[\"mlx5 0\"]",
        "unified[\"../memory.max\"]",
        "devices[0].access",
    ];
    let expected: Vec<String> = expected
        .iter()
        .map(|path| format!("linux.resources.{path}"))
        .collect();
    assert_eq!(paths, expected);
}

fn change(json: &str) -> Vec<String> {
    writes(&Resources::for_update(&serde_json::from_str(json).unwrap()).unwrap())
}

#[test]
fn in_a_cgroup_that_lives_unlimited_is_written_and_nothing_else_is() {
    for (json, wanted) in [
        ("{}", vec![]),
        (
            r#"{"memory":{"limit":0},"cpu":{"quota":0},"blockIO":{"weight":0},"devices":[]}"#,
            vec![],
        ),
        (
            r#"{"memory":{"limit":-1}}"#,
            vec!["memory.swap.max=max", "memory.max=max"],
        ),
        (
            r#"{"memory":{"limit":9,"swap":-1}}"#,
            vec!["memory.swap.max=max", "memory.max=9"],
        ),
        (r#"{"memory":{"reservation":-1}}"#, vec!["memory.low=0"]),
        (r#"{"cpu":{"quota":-1}}"#, vec!["cpu.max=max"]),
        (r#"{"cpu":{"period":50000}}"#, vec!["cpu.max=max 50000"]),
        (
            r#"{"cpu":{"burst":0,"idle":0}}"#,
            vec!["cpu.max.burst=0", "cpu.idle=0", "cpu.max.burst=0"],
        ),
        (r#"{"pids":{"limit":-1}}"#, vec!["pids.max=max"]),
        (
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":0}]}}"#,
            vec!["io.max=8:0 rbps=max"],
        ),
    ] {
        assert_eq!(change(json), wanted, "{json}");
    }
    let no_rules = Resources::for_update(&LinuxResources::default()).unwrap();
    assert!(no_rules.devices.is_none());
}

#[test]
fn a_limit_of_no_tasks_is_one_task_where_there_is_a_controller() {
    let none = parse(r#"{"pids":{"limit":0}}"#).unwrap();
    assert_eq!(writes(&none), ["pids.max=1"]);
    assert!(none.needs.is_empty(), "and nothing where there is none");
}

#[test]
fn a_period_alone_is_set() {
    assert_eq!(
        writes(&parse(r#"{"cpu":{"period":50000}}"#).unwrap()),
        ["cpu.max=max 50000"]
    );
}

#[test]
fn rdma_devices_are_lines_in_the_order_of_their_names() {
    let rdma = parse(
        r#"{"rdma":{"mlx5_1":{"hcaObjects":7},"mlx5_0":{"hcaHandles":3,"hcaObjects":10000},"idle":{}}}"#,
    )
    .unwrap();
    assert_eq!(
        writes(&rdma),
        [
            "rdma.max=mlx5_0 hca_handle=3 hca_object=10000",
            "rdma.max=mlx5_1 hca_object=7"
        ]
    );
    assert_eq!(needs(&rdma), ["rdma"]);
}

#[test]
fn swap_below_the_limit_is_refused() {
    assert_eq!(
        refused(r#"{"memory":{"limit":10,"swap":9}}"#),
        ["linux.resources.memory.swap"]
    );
    assert_eq!(
        refused(r#"{"memory":{"limit":-1,"swap":9}}"#),
        ["linux.resources.memory.swap"]
    );
}

#[test]
fn unified_keys_that_act_on_processes_or_leave_the_cgroup_are_refused() {
    for key in [
        "cgroup.procs",
        "cgroup.kill",
        "cgroup.freeze",
        "cgroup.subtree_control",
        "cgroup.type",
        "..",
        ".",
        "",
        "memory",
        "memory.",
        ".max",
        "a/b.c",
        "memory.max\u{0}",
        "../memory.max",
        "x y.z",
    ] {
        let unified = serde_json::json!({ "unified": { key: "1" } });
        assert_eq!(refused(&unified.to_string()).len(), 1, "{key:?}");
    }
    let long = serde_json::json!({ "unified": { "io.max": "x".repeat(5000) } });
    assert_eq!(refused(&long.to_string()).len(), 1);
}

proptest! {
    #[test]
    fn any_unified_entry_names_a_file_of_the_cgroup_or_is_refused(
        key in "[a-z./_]{0,12}|\\PC{0,12}", value in "\\PC{0,20}",
    ) {
        let unified = serde_json::json!({ "unified": { key: value } });
        if let Ok(resources) = parse(&unified.to_string()) {
            for write in &resources.writes {
                prop_assert!(!write.file.contains('/') && write.file.contains('.'));
                prop_assert!(!write.file.starts_with('.'));
            }
        }
    }

    #[test]
    fn numbers_never_overflow(limit: i64, swap: i64, reservation: i64, quota: i64, period: u64, shares: u64, pids: i64) {
        let json = serde_json::json!({
            "memory": { "limit": limit, "swap": swap, "reservation": reservation },
            "cpu": { "quota": quota, "period": period, "shares": shares },
            "pids": { "limit": pids },
        });
        if let Ok(resources) = parse(&json.to_string()) {
            prop_assert!(resources.writes.iter().all(|write| !write.value.starts_with('-')));
        }
    }
}
