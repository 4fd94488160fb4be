//! `linux.cgroupsPath` as `slice:prefix:name`, and what else of a config is about the unit. Pure.

use std::collections::HashMap;
use std::path::Path;

use oci_spec::runtime::LinuxResources;

use super::super::devices::{self, AllowList};
use super::super::error::{CgroupError, CgroupErrorKind, Result};
use super::super::path::CgroupPath;
use super::super::resources::Problem;
use super::wire::Value;
use super::{Property, properties, text};

/// Where units are when the config does not say.
const DEFAULT_SLICE: [&str; 2] = ["system.slice", "user.slice"];

const PREFIX: &str = "hostrun";

/// Annotations of this name are properties of the unit.
const ANNOTATION: &str = "org.systemd.property.";

const TASKS: &str = "TasksMax";

/// `UNIT_NAME_MAX` of systemd, with its zero byte.
const MAX_NAME: usize = 255;

/// A transient scope as meant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UnitPlan {
    /// `docker-1234.scope`.
    pub(crate) name: String,
    /// `None` for the manager's own default.
    slice: Option<String>,
    /// For its description.
    container: String,
    /// From annotations, in order of their names.
    properties: Vec<Property>,
    resources: LinuxResources,
    /// `None` where every device is allowed.
    devices: Option<AllowList>,
}

impl UnitPlan {
    /// The unit of a container.
    ///
    /// # Errors
    /// Everything that is wrong, each with its JSON path.
    pub(crate) fn for_container(
        cgroups_path: Option<&Path>,
        annotations: Option<&HashMap<String, String>>,
        resources: Option<&LinuxResources>,
        id: &str,
    ) -> Result<Self, Vec<Problem>> {
        let asked = cgroups_path.map_or_else(|| "".into(), |path| path.to_string_lossy());
        let mut problems = Vec::new();
        let mut refuse = |reason: String| {
            problems.push(Problem {
                path: "linux.cgroupsPath".to_owned(),
                reason,
            });
        };
        let parts: Vec<&str> = asked.split(':').collect();
        let (slice, prefix, name) = match *parts {
            [""] => ("", PREFIX, id),
            [slice, prefix, name] => (slice, prefix, name),
            _ => {
                refuse(format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {asked:?} instead"
                ));
                ("", PREFIX, id)
            }
        };
        let unit = format!("{prefix}-{name}.scope");
        if unit.len() > MAX_NAME || !unit.chars().all(is_of_a_name) || name.is_empty() {
            refuse(format!("{unit:?} is not the name of a unit"));
        } else if name.strip_suffix(".slice").is_some() {
            refuse(format!("{name} is a slice, and a container is in a scope"));
        }
        if !slice.is_empty() && expand(slice).is_none() {
            refuse(format!("invalid slice name: {slice}"));
        }
        let properties = annotated(annotations, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let rules = resources.and_then(|resources| resources.devices().as_deref());
        Ok(Self {
            // What is wrong with them is said by those who write them to the cgroup.
            devices: devices::allow_list(rules.unwrap_or_default()).unwrap_or_default(),
            resources: resources.cloned().unwrap_or_default(),
            name: unit,
            slice: (!slice.is_empty()).then(|| slice.to_owned()),
            container: id.to_owned(),
            properties,
        })
    }

    /// The slice it goes to.
    fn slice(&self, of_the_user: bool) -> &str {
        let [machine, user] = DEFAULT_SLICE;
        let default = if of_the_user { user } else { machine };
        self.slice.as_deref().unwrap_or(default)
    }

    /// Its cgroup, below that of its manager.
    ///
    /// # Errors
    /// `InvalidPath`, if the manager's is odd.
    pub(super) fn cgroup(&self, manager: &str, of_the_user: bool) -> Result<CgroupPath> {
        let slice = self.slice(of_the_user);
        let expanded = expand(slice).ok_or_else(|| {
            let cause = "invalid slice name";
            CgroupError::new("find", slice, CgroupErrorKind::InvalidPath, cause)
        })?;
        let path = [manager, &expanded, &self.name].join("/");
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        CgroupPath::parse(parts.join("/").as_bytes())
    }

    /// What it is started with: a scope that is ours to divide, around `pid`, with every resource counted.
    pub(super) fn properties(&self, pid: u32, of_the_user: bool, version: u32) -> Vec<Property> {
        let property = |name: &str, value| (name.to_owned(), value);
        let description = format!("hostrun container {}", self.container);
        let mut all = vec![
            property("Description", Value::Text(description)),
            property("Slice", Value::text(self.slice(of_the_user))),
            property("Delegate", Value::Bool(true)),
            property("PIDs", Value::Array("u".to_owned(), vec![Value::U32(pid)])),
            property("DefaultDependencies", Value::Bool(false)),
        ];
        for resource in ["Memory", "CPU", "IO", "Tasks"] {
            all.push((format!("{resource}Accounting"), Value::Bool(true)));
        }
        all.extend(properties::devices(self.devices.as_ref()));
        let mut limits = properties::limits(&self.resources, version);
        if self.is_for_one_task() {
            // The process that holds the place for the first one is a task, too.
            limits.retain(|(name, _value)| name != TASKS);
            limits.push(property(TASKS, Value::U64(2)));
        }
        all.extend(limits);
        // Last, so that they win.
        all.extend(self.properties.iter().cloned());
        all
    }

    /// Whether not even two tasks are allowed; see [`UnitPlan::one_task`].
    pub(crate) fn is_for_one_task(&self) -> bool {
        let limits = properties::limits(&self.resources, 0);
        limits.contains(&(TASKS.to_owned(), Value::U64(1)))
    }

    /// What is set once the place holder is gone.
    pub(crate) fn one_task() -> Property {
        (TASKS.to_owned(), Value::U64(1))
    }
}

/// What systemd takes in names without escaping; no slash, so that a name stays one component.
fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@')
}

/// `a-b.slice` is in `a.slice`: `/a.slice/a-b.slice`. `None` for what is no slice.
fn expand(slice: &str) -> Option<String> {
    let name = slice.strip_suffix(".slice")?;
    if name == "-" {
        return Some(String::new());
    }
    if slice.len() > MAX_NAME || !name.chars().all(is_of_a_name) {
        return None;
    }
    let (mut path, mut prefix) = (String::new(), String::new());
    for part in name.split('-') {
        if part.is_empty() {
            return None;
        }
        prefix.push_str(part);
        path = format!("{path}/{prefix}.slice");
        prefix.push('-');
    }
    Some(path)
}

fn annotated(
    annotations: Option<&HashMap<String, String>>,
    problems: &mut Vec<Problem>,
) -> Vec<Property> {
    let mut entries: Vec<_> = annotations.into_iter().flatten().collect();
    entries.sort_unstable();
    let mut properties = Vec::new();
    for (key, written) in entries {
        let Some(name) = key.strip_prefix(ANNOTATION) else {
            continue;
        };
        match property(name, written) {
            Ok(property) => properties.push(property),
            Err(reason) => problems.push(Problem {
                path: format!("annotations[{key:?}]"),
                reason,
            }),
        }
    }
    properties
}

/// Names end with USec over the bus where unit files say Sec.
fn property(name: &str, written: &str) -> Result<Property, String> {
    if name.len() < 3 || !name.chars().all(|c| c.is_ascii_alphabetic()) {
        return Err("is not the name of a property".to_owned());
    }
    let value = text::parse(written)?;
    let seconds = name
        .strip_suffix("Sec")
        .filter(|stem| stem.ends_with(|c: char| c.is_ascii_lowercase()));
    match seconds {
        Some(stem) => Ok((format!("{stem}USec"), microseconds(&value)?)),
        None => Ok((name.to_owned(), value)),
    }
}

fn microseconds(value: &Value) -> Result<Value, String> {
    const PER_SECOND: u64 = 1_000_000;
    let wrong = || "is no number of seconds".to_owned();
    let whole = match value {
        Value::I32(n) => u64::try_from(*n).ok(),
        Value::I64(n) => u64::try_from(*n).ok(),
        Value::U32(n) => Some(u64::from(*n)),
        Value::U64(n) => Some(*n),
        Value::Double(seconds) if (0.0..1e12).contains(seconds) => {
            let duration = std::time::Duration::try_from_secs_f64(*seconds);
            let microseconds = duration
                .ok()
                .and_then(|d| u64::try_from(d.as_micros()).ok());
            return microseconds.map(Value::U64).ok_or_else(wrong);
        }
        _ => None,
    };
    let microseconds = whole.and_then(|seconds| seconds.checked_mul(PER_SECOND));
    microseconds.map(Value::U64).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(path: &str) -> Result<UnitPlan, Vec<Problem>> {
        UnitPlan::for_container(Some(Path::new(path)), None, None, "web")
    }

    #[test]
    fn a_path_is_a_slice_a_prefix_and_a_name() {
        let unit = plan("machine-a.slice:docker:1234").unwrap();
        assert_eq!(unit.name, "docker-1234.scope");
        let cgroup = unit.cgroup("/", false).unwrap();
        assert_eq!(
            cgroup.as_str(),
            "machine.slice/machine-a.slice/docker-1234.scope"
        );
        let default = plan("").unwrap();
        assert_eq!(default.name, "hostrun-web.scope");
        let machine = default.cgroup("/", false).unwrap();
        assert_eq!(machine.as_str(), "system.slice/hostrun-web.scope");
        let user = default.cgroup("/user.slice/user@7.service", true).unwrap();
        assert_eq!(
            user.as_str(),
            "user.slice/user@7.service/user.slice/hostrun-web.scope"
        );
        let root = plan("-.slice:a:b").unwrap();
        assert_eq!(root.cgroup("", false).unwrap().as_str(), "a-b.scope");
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        for path in [
            "/docker/1234",
            "a:b",
            "a:b:c:d",
            "nothing:a:b",
            ".slice:a:b",
            "a--b.slice:a:b",
            "-a.slice:a:b",
            "a/b.slice:a:b",
            "system.slice:a:../b",
            "system.slice:a:",
            "system.slice:a:b.slice",
        ] {
            let problems = plan(path).unwrap_err();
            assert_eq!(problems[0].path, "linux.cgroupsPath", "{path}");
        }
        let text = &plan("/docker/1234").unwrap_err()[0].reason;
        assert!(text.contains("of format \"slice:prefix:name\""), "{text}");
    }

    #[test]
    fn annotations_are_properties() {
        let annotations = HashMap::from(
            [
                ("org.systemd.property.TimeoutStopSec", "1.5"),
                ("org.systemd.property.CollectMode", "'inactive-or-failed'"),
                ("org.example.other", "no value"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        let unit = UnitPlan::for_container(None, Some(&annotations), None, "web").unwrap();
        assert_eq!(
            unit.properties,
            [
                ("CollectMode".to_owned(), Value::text("inactive-or-failed")),
                ("TimeoutStopUSec".to_owned(), Value::U64(1_500_000)),
            ]
        );
        let wrong = HashMap::from([("org.systemd.property.A b".to_owned(), "true".to_owned())]);
        let problems = UnitPlan::for_container(None, Some(&wrong), None, "web").unwrap_err();
        assert_eq!(
            problems[0].path,
            "annotations[\"org.systemd.property.A b\"]"
        );
    }

    proptest! {
        #[test]
        fn any_path_is_a_unit_below_its_slice_or_refused(path in "[a-z:./-]{0,20}|\\PC{0,20}") {
            if let Ok(unit) = plan(&path) {
                let cgroup = unit.cgroup("/m", false).unwrap();
                prop_assert!(cgroup.as_str().starts_with("m/"));
                let outside = cgroup.as_str().split('/').any(|part| part == "..");
                prop_assert!(!outside, "{}", cgroup);
                prop_assert!(cgroup.as_str().strip_suffix(".scope").is_some());
            }
        }
    }
}
