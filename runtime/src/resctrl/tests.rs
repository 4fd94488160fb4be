//! On directories that look as the kernel's do. Nothing here says what hardware does.

use super::*;
use crate::plan::rdt::{Class, RdtPlan};
use std::fs;
use std::path::PathBuf;

/// A root as the kernel mounts it.
struct Fake(tempfile::TempDir);

impl Fake {
    fn new() -> Fake {
        let fake = Fake(tempfile::tempdir().unwrap());
        for (path, text) in [
            ("info/L3/cbm_mask", "fff\n"),
            ("info/L3/min_cbm_bits", "2\n"),
            ("info/L3/num_closids", "16\n"),
            ("info/MB/min_bandwidth", "10\n"),
            ("info/last_cmd_status", "ok\n"),
        ] {
            fake.put(path, text);
        }
        fake.populate("");
        fake
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// What the kernel does at a `mkdir(2)`.
    fn populate(&self, class: &str) {
        let base = PathBuf::from(class);
        self.put(base.join("tasks").to_str().unwrap(), "");
        self.put(
            base.join("schemata").to_str().unwrap(),
            "    MB:0=100\n    L3:0=fff\n",
        );
        fs::create_dir_all(self.path(class).join("mon_groups")).unwrap();
    }

    /// What it does at an `rmdir(2)`: the files go by themselves.
    fn empty(&self, dir: &str) {
        for file in ["tasks", "schemata"] {
            fs::remove_file(self.path(dir).join(file)).unwrap_or_default();
        }
        fs::remove_dir(self.path(dir).join("mon_groups")).unwrap_or_default();
    }

    fn root(&self) -> Root {
        Root::on(self.0.path())
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }
}

fn plan(class: Class, lines: &[&str]) -> RdtPlan {
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    RdtPlan {
        class,
        schemata: Schemata::new("", "", &lines),
        monitor: None,
    }
}

#[test]
fn a_directory_that_is_not_resctrl_is_not_taken_for_it() {
    let fake = Fake::new();
    assert!(Root::at(fake.0.path()).is_none());
    assert!(Root::at(Path::new("/no/such/dir")).is_none());
}

#[test]
fn the_machine_is_asked_what_it_has() {
    let fake = Fake::new();
    let facts = fake.root().facts();
    assert!(facts.mounted && facts.cache && facts.bandwidth && !facts.monitoring);
}

#[test]
fn a_class_that_is_named_alone_must_be_there() {
    let fake = Fake::new();
    let named = plan(Class::Shared("gold".into()), &[]);
    let error = Group::make(fake.root(), &named).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.to_string().contains("clos dir not accessible"),
        "{error}"
    );
    assert!(!fake.path("gold").exists());
    fake.populate("gold");
    let group = Group::make(fake.root(), &named).unwrap();
    group.join(4711).unwrap();
    assert_eq!(fake.read("gold/tasks"), "4711");
    drop(group);
    assert!(fake.path("gold").exists(), "a class of others was removed");
}

#[test]
fn a_class_with_schemata_is_made_and_stays() {
    let fake = Fake::new();
    let named = plan(Class::Shared("gold".into()), &["L3:0=f"]);
    let group = Group::enter(fake.root(), &named).unwrap();
    fake.populate("gold");
    group.configure(&named.schemata).unwrap();
    assert!(fake.read("gold/schemata").starts_with("L3:0=f\n"));
    let made = group.made().clone();
    group.commit();
    fake.empty("gold");
    Group::remove(&fake.root(), &made).unwrap();
    assert!(fake.path("gold").exists(), "others may be in it");
}

#[test]
fn a_class_that_exists_is_compared_and_not_written() {
    let fake = Fake::new();
    fake.populate("gold");
    let equal = plan(Class::Shared("gold".into()), &["L3:0=0fff"]);
    let before = fake.read("gold/schemata");
    Group::make(fake.root(), &equal).unwrap();
    let other = plan(Class::Shared("gold".into()), &["L3:0=f"]);
    let error = Group::make(fake.root(), &other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
    assert!(error.to_string().contains("do not match"), "{error}");
    let machine = plan(Class::Default, &["L3:0=f"]);
    Group::make(fake.root(), &machine).unwrap_err();
    assert_eq!(fake.read("gold/schemata"), before);
    assert_eq!(fake.read("schemata"), before);
}

#[test]
fn a_class_of_the_containers_own_ends_with_it() {
    let fake = Fake::new();
    let own = plan(Class::Own("web".into()), &["L3:0=f"]);
    let group = Group::enter(fake.root(), &own).unwrap();
    fake.populate("web");
    group.configure(&own.schemata).unwrap();
    let made = group.made().clone();
    group.commit();
    fake.empty("web");
    Group::remove(&fake.root(), &made).unwrap();
    assert!(!fake.path("web").exists());
    Group::remove(&fake.root(), &made).unwrap();
}

#[test]
fn a_start_that_fails_leaves_no_class() {
    let fake = Fake::new();
    let own = plan(Class::Own("web".into()), &[]);
    drop(Group::enter(fake.root(), &own).unwrap());
    assert!(!fake.path("web").exists());
}

#[test]
fn a_monitoring_group_is_made_joined_and_removed() {
    let fake = Fake::new();
    let watched = RdtPlan {
        monitor: Some("web".into()),
        ..plan(Class::Default, &[])
    };
    let group = Group::make(fake.root(), &watched).unwrap();
    fake.put("mon_groups/web/tasks", "");
    for (file, text) in [
        ("mbm_total_bytes", "7"),
        ("mbm_local_bytes", "Unavailable"),
        ("llc_occupancy", "9"),
    ] {
        fake.put(&format!("mon_groups/web/mon_data/mon_L3_00/{file}"), text);
    }
    group.join(42).unwrap();
    assert_eq!(fake.read("mon_groups/web/tasks"), "42");
    let stats = group.stats(Measured {
        cache: true,
        bandwidth: true,
    });
    assert_eq!(
        serde_json::to_value(stats).unwrap(),
        serde_json::json!({
            "l3_cache_info": {"cbm_mask": "fff", "min_cbm_bits": 2, "num_closids": 16},
            "l3_cache_schema_root": "L3:0=fff", "l3_cache_schema": "L3:0=fff",
            "mem_bw_info": {"bandwidth_gran": 0, "delay_linear": 0, "min_bandwidth": 10, "num_closids": 0},
            "mem_bw_schema_root": "MB:0=100", "mem_bw_schema": "MB:0=100",
            "mbm_stats": [{"mbm_total_bytes": 7, "mbm_local_bytes": 0}],
            "cmt_stats": [{"llc_occupancy": 9}],
        })
    );
    let made = group.made().clone();
    group.commit();
    fs::remove_dir_all(fake.path("mon_groups/web")).unwrap();
    fs::create_dir(fake.path("mon_groups/web")).unwrap();
    let found = Group::find(fake.root(), &made).unwrap();
    drop(found);
    Group::remove(&fake.root(), &made).unwrap();
    assert!(!fake.path("mon_groups/web").exists());
    assert!(fake.path("tasks").exists());
}

#[test]
fn cve_class_a_link_in_place_of_a_class_is_not_followed() {
    let fake = Fake::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("tasks"), "").unwrap();
    std::os::unix::fs::symlink(outside.path(), fake.path("gold")).unwrap();
    let named = plan(Class::Shared("gold".into()), &[]);
    Group::make(fake.root(), &named).unwrap_err();
    let text = fs::read_to_string(outside.path().join("tasks")).unwrap();
    assert_eq!(text, "");
}

#[test]
fn the_kernels_own_note_is_told() {
    let fake = Fake::new();
    fake.put("info/last_cmd_status", "Mask out of range\n");
    let error = fake
        .root()
        .failed(Errno::INVAL, "write schemata of", "gold");
    assert!(error.hint().unwrap().contains("Mask out of range"));
}
