use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn file(version: &str, devices: &Value, edits: &Value) -> Value {
    json!({"cdiVersion": version, "kind": "vendor.com/dev", "devices": devices, "containerEdits": edits})
}

fn one(edits: &Value) -> Value {
    file(
        "1.1.0",
        &json!([{"name": "a", "containerEdits": edits}]),
        &json!({}),
    )
}

fn wrong(document: &Value) -> String {
    check(document.to_string().as_bytes()).unwrap_err()
}

struct Dirs(tempfile::TempDir);

impl Dirs {
    fn new() -> Dirs {
        let dirs = Dirs(tempfile::tempdir().unwrap());
        for name in ["first", "second"] {
            fs::create_dir(dirs.0.path().join(name)).unwrap();
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(dirs.0.path().join(name), mode).unwrap();
        }
        dirs
    }

    fn put(&self, path: &str, document: &Value) -> PathBuf {
        let path = self.0.path().join(path);
        fs::write(&path, document.to_string()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    fn load(&self) -> Devices {
        Devices::load(["first", "second", "absent"].map(|name| self.0.path().join(name))).unwrap()
    }
}

fn injected(devices: &Devices, names: &[&str]) -> Result<Value> {
    let names: Vec<DeviceName> = names
        .iter()
        .map(|name| DeviceName::parse(name).unwrap())
        .collect();
    let mut spec = Spec::default();
    let mut process = oci_spec::runtime::Process::default();
    process.set_env(Some(vec!["PATH=/bin".into(), "A=old".into()]));
    let mut linux = oci_spec::runtime::Linux::default();
    linux.set_resources(None);
    spec.set_process(Some(process))
        .set_mounts(Some(Vec::new()))
        .set_linux(Some(linux));
    devices.inject(&names, &mut spec)?;
    Ok(serde_json::to_value(&spec).unwrap())
}

/// One of each.
fn everything() -> Value {
    json!({
        "env": ["A=new", "B=1"],
        "deviceNodes": [
            {"path": "/dev/x", "hostPath": "/dev/null", "permissions": "rw", "uid": 5, "fileMode": 438},
            {"path": "/dev/numbered", "type": "c", "major": 10, "minor": 3},
            {"path": "/dev/pipe", "type": "p"},
        ],
        "mounts": [
            {"hostPath": "/usr/lib", "containerPath": "/opt/x/lib", "options": ["ro", "bind"]},
            {"hostPath": "tmpfs", "containerPath": "/opt", "type": "tmpfs"},
        ],
        "hooks": [
            {"hookName": "createRuntime", "path": "/bin/hook", "args": ["hook", "x"], "env": ["H=1"], "timeout": 5},
            {"hookName": "prestart", "path": "/bin/old"},
        ],
        "additionalGids": [0, 44, 44],
        "intelRdt": {"closID": "gold", "enableMonitoring": true},
        "netDevices": [{"hostInterfaceName": "eth7", "name": "net0"}],
    })
}

#[test]
fn every_edit_has_its_place_in_the_config() {
    let dirs = Dirs::new();
    dirs.put("first/a.json", &one(&everything()));
    let spec = injected(&dirs.load(), &["vendor.com/dev=a"]).unwrap();
    for (pointer, value) in [
        ("/process/env", json!(["PATH=/bin", "A=new", "B=1"])),
        ("/process/user/additionalGids", json!([44])),
        (
            "/linux/devices",
            json!([
                {"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 5},
                {"path": "/dev/numbered", "type": "c", "major": 10, "minor": 3},
                {"path": "/dev/pipe", "type": "p", "major": 0, "minor": 0},
            ]),
        ),
        (
            "/linux/resources/devices",
            json!([
                {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"},
                {"allow": true, "type": "c", "major": 10, "minor": 3, "access": "rwm"},
            ]),
        ),
        (
            "/mounts",
            json!([
                {"destination": "/opt", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/opt/x/lib", "source": "/usr/lib", "options": ["ro", "bind"]},
            ]),
        ),
        (
            "/hooks",
            json!({
                "prestart": [{"path": "/bin/old"}],
                "createRuntime": [{"path": "/bin/hook", "args": ["hook", "x"], "env": ["H=1"], "timeout": 5}],
            }),
        ),
        (
            "/linux/intelRdt",
            json!({"closID": "gold", "enableMonitoring": true}),
        ),
        ("/linux/netDevices", json!({"eth7": {"name": "net0"}})),
    ] {
        assert_eq!(spec.pointer(pointer), Some(&value), "{pointer}");
    }
}

#[test]
fn what_holds_for_all_devices_of_a_file_comes_once_and_first() {
    let dirs = Dirs::new();
    let devices = json!([
        {"name": "a", "containerEdits": {"env": ["DEV=a"]}},
        {"name": "b", "containerEdits": {"env": ["DEV=b"], "mounts": [{"hostPath": "/b", "containerPath": "/b"}]}},
    ]);
    let all = json!({"env": ["DEV=all"], "hooks": [{"hookName": "poststop", "path": "/bin/x"}]});
    dirs.put("first/a.json", &file("0.3.0", &devices, &all));
    let spec = injected(&dirs.load(), &["vendor.com/dev=b", "vendor.com/dev=a"]).unwrap();
    assert_eq!(spec["process"]["env"][2], "DEV=a");
    assert_eq!(spec["hooks"]["poststop"].as_array().unwrap().len(), 1);
}

#[test]
fn a_later_directory_goes_first_and_equals_conflict() {
    let dirs = Dirs::new();
    dirs.put("first/a.json", &one(&json!({"env": ["FROM=first"]})));
    dirs.put("first/b.json", &one(&json!({"env": ["FROM=b"]})));
    let error = injected(&dirs.load(), &["vendor.com/dev=a"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
    let text = error.to_string();
    assert!(text.contains("a.json") && text.contains("b.json"), "{text}");
    dirs.put("second/c.json", &one(&json!({"env": ["FROM=second"]})));
    let spec = injected(&dirs.load(), &["vendor.com/dev=a"]).unwrap();
    assert_eq!(spec["process"]["env"][2], "FROM=second");
}

#[test]
fn devices_nobody_knows_are_named_together_and_nothing_changes() {
    let dirs = Dirs::new();
    dirs.put("first/a.json", &one(&json!({"env": ["X=1"]})));
    dirs.put("first/broken.json", &json!({"cdiVersion": "1.0.0"}));
    dirs.put("first/notes.txt", &json!("no file of ours"));
    let devices = dirs.load();
    assert_eq!(devices.passed_over().count(), 1);
    let names = ["vendor.com/dev=a", "vendor.com/dev=b", "other.com/dev=c"];
    let error = injected(&devices, &names).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let text = error.to_string();
    assert!(text.contains("vendor.com/dev=b, other.com/dev=c"), "{text}");
    assert!(error.hint().unwrap().contains("broken.json"));
}

#[test]
fn a_device_of_another_kind_is_refused() {
    let dirs = Dirs::new();
    for (node, said) in [
        (
            json!({"path": "/dev/null", "type": "b"}),
            "host type mismatch (b, c)",
        ),
        (json!({"path": "/etc/hostname"}), "not a device node"),
        (json!({"path": "/dev/no-such-node"}), "no such file"),
    ] {
        dirs.put("first/a.json", &one(&json!({"deviceNodes": [node]})));
        let error = injected(&dirs.load(), &["vendor.com/dev=a"]).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn a_file_that_others_may_write_to_is_passed_over() {
    let dirs = Dirs::new();
    let path = dirs.put("first/a.json", &one(&json!({"env": ["X=1"]})));
    for (mode, said) in [(0o664, "0664"), (0o646, "0646")] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let devices = dirs.load();
        let (_, why) = devices.passed_over().next().unwrap();
        assert!(why.contains(said), "{why}");
    }
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
    let devices = dirs.load();
    assert!(
        devices
            .passed_over()
            .next()
            .unwrap()
            .1
            .contains("symbolic link")
    );
    let mode = fs::Permissions::from_mode(0o777);
    fs::set_permissions(dirs.0.path().join("first"), mode).unwrap();
    let error = Devices::load([dirs.0.path().join("first")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[test]
fn a_file_must_claim_the_version_that_has_what_it_uses() {
    for (version, edits) in [
        (
            "0.3.0",
            json!({"mounts": [{"hostPath": "/a", "containerPath": "/a", "type": "tmpfs"}]}),
        ),
        (
            "0.4.0",
            json!({"deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/null"}]}),
        ),
        ("0.6.0", json!({"additionalGids": [4]})),
        ("0.6.0", json!({"intelRdt": {"closID": "x"}})),
        (
            "1.0.0",
            json!({"netDevices": [{"hostInterfaceName": "a", "name": "b"}]}),
        ),
        ("1.0.0", json!({"intelRdt": {"enableMonitoring": true}})),
    ] {
        let document = file(
            version,
            &json!([{"name": "a", "containerEdits": edits}]),
            &json!({}),
        );
        assert!(wrong(&document).contains("needs cdiVersion"), "{document}");
    }
    for version in ["1.2.0", "2.0.0", "0.1.0", "1", "", "1.0.x", "1.0.0.0"] {
        let document = file(
            version,
            &json!([{"name": "a", "containerEdits": {"env": ["A=1"]}}]),
            &json!({}),
        );
        assert!(wrong(&document).contains("cdiVersion"), "{version}");
    }
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    for (edits, path) in [
        (json!({"env": ["NOVALUE"]}), "env[0]"),
        (json!({"env": ["=x"]}), "env[0]"),
        (
            json!({"deviceNodes": [{"path": "dev/x"}]}),
            "deviceNodes[0].path",
        ),
        (
            json!({"deviceNodes": [{"path": "/dev/../x"}]}),
            "deviceNodes[0].path",
        ),
        (
            json!({"deviceNodes": [{"path": "/dev/x", "type": "d"}]}),
            "deviceNodes[0].type",
        ),
        (
            json!({"deviceNodes": [{"path": "/dev/x", "permissions": "rx"}]}),
            "permissions",
        ),
        (
            json!({"mounts": [{"hostPath": "", "containerPath": "/x"}]}),
            "mounts[0].hostPath",
        ),
        (
            json!({"mounts": [{"hostPath": "/x", "containerPath": "x"}]}),
            "mounts[0].containerPath",
        ),
        (
            json!({"hooks": [{"hookName": "later", "path": "/x"}]}),
            "hooks[0].hookName",
        ),
        (
            json!({"hooks": [{"hookName": "poststop", "path": "x"}]}),
            "hooks[0].path",
        ),
        (
            json!({"hooks": [{"hookName": "poststop", "path": "/x", "timeout": 0}]}),
            "hooks[0].timeout",
        ),
        (
            json!({"netDevices": [{"hostInterfaceName": "", "name": "b"}]}),
            "netDevices[0]",
        ),
        (json!({"surprise": 1}), "surprise"),
        (json!({}), "containerEdits: are empty"),
    ] {
        let why = wrong(&one(&edits));
        assert!(why.contains(path), "{path}: {why}");
    }
    let twice = json!([{"name": "a", "containerEdits": {"env": ["A=1"]}}, {"name": "a", "containerEdits": {"env": ["A=1"]}}]);
    assert!(wrong(&file("1.0.0", &twice, &json!({}))).contains("twice"));
    assert!(wrong(&file("1.0.0", &json!([]), &json!({}))).contains("devices"));
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes).unwrap_or_default();
    }

    #[test]
    fn any_words_in_the_right_places_are_read_without_panic(
        version in "[v0-9.]{0,6}", kind in "[a-z./]{0,8}", name in ".{0,4}", path in ".{0,8}",
    ) {
        let node = json!([{"path": path, "hostPath": path, "type": name}]);
        let document = json!({"cdiVersion": version, "kind": kind,
            "devices": [{"name": name, "containerEdits": {"deviceNodes": node, "env": [path]}}]});
        check(document.to_string().as_bytes()).unwrap_or_default();
    }
}
