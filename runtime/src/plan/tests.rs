//! Golden plans: config in, printed plan out. `HOSTRUN_BLESS=1` rewrites the expectations.

use super::rdt::RdtFacts;
use super::{Facts, Plan};
use crate::document;
use crate::host::Caller;
use crate::id::ContainerId;
use proptest::prelude::*;
use std::path::{Path, PathBuf};

pub(super) const FACTS: Facts = Facts {
    last_capability: 40,
    kcore: true,
    apparmor: true,
    selinux: true,
    landlock: 7,
    rdt: RdtFacts {
        mounted: true,
        cache: true,
        bandwidth: true,
        monitoring: true,
    },
    caller: Caller {
        uid: 0,
        gid: 0,
        capabilities: u64::MAX,
    },
    systemd: false,
};

fn plan_of(json: &[u8]) -> crate::error::Result<Plan> {
    let (spec, _) = document::spec(json).unwrap();
    Plan::from_spec(
        &ContainerId::new("golden").unwrap(),
        &spec,
        Path::new("/bundle"),
        FACTS,
        None,
    )
}

fn printed(json: &[u8]) -> String {
    match plan_of(json) {
        Ok(mut plan) => {
            // Hundreds of instructions say nothing to a reader; the profiles' own tests hold them.
            let filter = plan.seccomp.take().map(|filter| filter.program().len());
            format!("{plan:#?}\nseccomp instructions: {filter:?}\n")
        }
        // One refusal a line.
        Err(error) => format!(
            "{:?}\n{}\n",
            error.kind(),
            error.to_string().replace("; ", "\n")
        ),
    }
}

#[test]
fn configs_mean_what_the_golden_plans_say() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut seen = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let config = entry.unwrap().path();
        if config
            .extension()
            .is_none_or(|extension| extension != "json")
        {
            continue;
        }
        seen += 1;
        let actual = printed(&std::fs::read(&config).unwrap());
        let golden = config.with_extension("txt");
        if std::env::var_os("HOSTRUN_BLESS").is_some() {
            std::fs::write(&golden, &actual).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(actual, expected, "{}", config.display());
    }
    assert!(seen >= 3, "no configs in {}", dir.display());
}

#[test]
fn a_version_that_is_not_1_x_y_is_refused() {
    for version in ["", "abc", "9.9.9", "0.9.0", "1", "1.2", "1.2.3.4", "1.x.0"] {
        let json = format!(r#"{{"ociVersion":"{version}"}}"#);
        let error = plan_of(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("ociVersion"), "{version}: {error}");
    }
}

/// Values a key may have, sensible and not.
fn value() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
        Just(serde_json::json!([])),
        Just(serde_json::json!({})),
        Just(serde_json::json!(["ro", "bind", "mode=9", "rprivate"])),
        Just(serde_json::json!("/../../etc")),
        Just(serde_json::Value::Null),
    ]
}

proptest! {
    #[test]
    fn no_config_makes_the_planner_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), value()), 1..4)) {
        let mut json: serde_json::Value = serde_json::from_slice(include_bytes!("../../tests/plans/everything.json")).unwrap();
        for (index, value) in changes {
            let paths = paths(&json, "");
            let path = index.get(&paths).clone();
            if let Some(place) = json.pointer_mut(&path) {
                *place = value;
            }
        }
        // Most are refused by the types already; what they let through the planner must survive.
        if let Ok((spec, _)) = document::spec(json.to_string().as_bytes()) {
            drop(Plan::from_spec(&ContainerId::new("golden").unwrap(), &spec, Path::new("/bundle"), FACTS, None));
        }
    }

    #[test]
    fn no_mount_target_leaves_the_root(destination in "(/|[.][.]|[.]|a|b|//){0,12}") {
        let json = serde_json::json!({
            "ociVersion": "1.2.0", "root": {"path": "r"}, "process": {"cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}},
            "mounts": [{"destination": destination, "type": "tmpfs", "source": "tmpfs"}],
            "linux": {"namespaces": [{"type": "mount"}]},
        });
        if let Ok(plan) = plan_of(json.to_string().as_bytes()) {
            let target = plan.root.mounts[0].target.to_str().unwrap().to_owned();
            prop_assert!(target.is_empty() || target.split('/').all(|name| !name.is_empty() && name != ".." && name != "."), "{}", target);
        }
    }
}

/// JSON pointers of everything in a value.
fn paths(value: &serde_json::Value, prefix: &str) -> Vec<String> {
    let mut found = vec![prefix.to_owned()];
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                found.extend(paths(
                    value,
                    &format!("{prefix}/{}", key.replace('~', "~0").replace('/', "~1")),
                ));
            }
        }
        serde_json::Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                found.extend(paths(value, &format!("{prefix}/{index}")));
            }
        }
        _ => {}
    }
    found
}
