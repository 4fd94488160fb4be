//! What all sandboxes of a pool have in common, and what each may still be told.

use super::difference::{self, DIFFERS};
use super::source::Source;
use crate::bundle;
use crate::error::{At, Result};
use crate::id::ContainerId;
use crate::plan::identities::KEEP_GROUPS;
use crate::plan::program::{self, ProgramPlan};
use crate::plan::refusal::Refusals;
use crate::plan::sources::{Links, SourcePlan};
use crate::plan::{Plan, landlock};
use crate::request::{Request, Stdio, Stream};
use crate::runtime::Runtime;
use oci_spec::runtime::{Hooks, LinuxNamespaceType, Spec};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Everything of a request but what may differ from start to start.
#[derive(Debug)]
pub(super) struct Class {
    /// With the program of the request it was made of, and without its annotations.
    pub(super) spec: Spec,
    pub(super) bundle: PathBuf,
    pub(super) new_keyring: bool,
    /// Without the program.
    rest: Spec,
    /// What is mounted by its path on the host, and whether links on the way are followed.
    paths: Vec<(PathBuf, bool)>,
}

/// What one start is told, and all it is told.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) program: ProgramPlan,
    pub(super) annotations: HashMap<String, String>,
    /// All of it as it was written, for later verbs.
    pub(super) config: Vec<u8>,
    pub(super) stdio: Stdio,
    /// What was compared. It has hundreds of parts, so that it is dropped when there is time.
    _rest: Spec,
}

impl Class {
    /// Reads the request that stands for all.
    ///
    /// # Errors
    /// What planning a container refuses; `Unsupported` with the JSON path of each thing that is known only when a container is made, or
    /// that one container would leave to another.
    pub(super) fn new(runtime: &Runtime, request: Request, own_roots: bool) -> Result<Class> {
        let mut refusals = Refusals::default();
        if runtime.systemd {
            refusals.unsupported("linux.cgroupsPath", "a unit is named when it is made");
        }
        refuse_request(&request, &mut refusals);
        refuse_spec(&request.spec, own_roots, &mut refusals);
        refusals.finish()?;
        let paths = paths(
            &runtime.plan(&ContainerId::new("class")?, &request)?,
            own_roots,
        );
        let Request {
            mut spec,
            bundle,
            new_keyring,
            ..
        } = request;
        take_annotations(&mut spec);
        let mut rest = spec.clone();
        take_program(&mut rest);
        place(&mut rest, None);
        Ok(Class {
            spec,
            bundle,
            new_keyring,
            rest,
            paths,
        })
    }

    /// What is at the paths now.
    pub(super) fn sources(&self) -> Result<Vec<Source>> {
        let look = |(path, links): &(PathBuf, bool)| {
            let found = Source::look(path, *links);
            found.at("find", path.display())
        };
        self.paths.iter().map(look).collect()
    }

    /// What a request says besides what the class has said already.
    ///
    /// # Errors
    /// `InvalidSpec` with the JSON path of each thing that differs and may not.
    pub(super) fn hear(&self, mut request: Request) -> Result<Said> {
        let config = match request.config.take() {
            Some(written) => written,
            None => bundle::to_bytes(&request.spec)?,
        };
        let mut refusals = Refusals::default();
        refuse_request(&request, &mut refusals);
        if request.bundle != self.bundle {
            refusals.refuse("bundle", DIFFERS);
        }
        if request.new_keyring != self.new_keyring {
            refusals.refuse("session keyring", DIFFERS);
        }
        let mut rest = request.spec;
        let annotations = take_annotations(&mut rest);
        let (args, env) = take_program(&mut rest);
        place(&mut rest, None);
        if rest != self.rest {
            difference::refuse(&rest, &self.rest, &mut refusals);
        }
        let program = program::plan(&args, &env, &mut refusals);
        refusals.finish()?;
        Ok(Said {
            program,
            annotations,
            config,
            stdio: request.stdio,
            _rest: rest,
        })
    }

    /// The request of one more.
    pub(super) fn request(&self, name: &str) -> Request {
        let mut spec = self.spec.clone();
        place(&mut spec, Some(name));
        let request = Request::new(spec, &self.bundle).with_stdio(Stdio {
            stdin: Stream::Null,
            stdout: Stream::Null,
            stderr: Stream::Null,
        });
        if self.new_keyring {
            request
        } else {
            request.without_new_keyring()
        }
    }
}

/// Of the root, where it has a path, and of what is bound.
fn paths(plan: &Plan, own_root: bool) -> Vec<(PathBuf, bool)> {
    let root = (!own_root).then(|| (plan.root.path.clone(), true));
    let mounts = plan.root.mounts.iter();
    let bound = mounts.filter_map(|mount| match &mount.source {
        SourcePlan::Bind { path, links, .. } => Some((path.clone(), *links == Links::Follow)),
        _ => None,
    });
    root.into_iter().chain(bound).collect()
}

/// Cgroups are made before and cannot be renamed: sandboxes have theirs beside the one that is asked
/// for, so only what that one is in counts.
fn place(spec: &mut Spec, name: Option<&str>) {
    let Some(linux) = spec.linux_mut() else {
        return;
    };
    let asked = linux.cgroups_path().as_deref();
    let asked = asked.filter(|path| !path.as_os_str().is_empty());
    let parent = asked.map(|path| path.parent().unwrap_or(Path::new("")));
    let place = parent.map(|parent| name.map_or(parent.to_owned(), |name| parent.join(name)));
    linux.set_cgroups_path(place);
}

/// The annotations, but for those that say what the program may do.
fn take_annotations(spec: &mut Spec) -> HashMap<String, String> {
    let all = std::mem::take(spec.annotations_mut()).unwrap_or_default();
    let (ours, others): (HashMap<_, _>, HashMap<_, _>) = all
        .into_iter()
        .partition(|(name, _)| name == landlock::ANNOTATION || name == KEEP_GROUPS);
    spec.set_annotations(Some(ours).filter(|ours| !ours.is_empty()));
    others
}

/// Arguments and environment.
fn take_program(spec: &mut Spec) -> (Vec<String>, Vec<String>) {
    let Some(process) = spec.process_mut() else {
        return (Vec::new(), Vec::new());
    };
    let taken = (process.args().clone(), process.env().clone());
    process.set_args(None);
    process.set_env(None);
    (taken.0.unwrap_or_default(), taken.1.unwrap_or_default())
}

fn refuse_request(request: &Request, refusals: &mut Refusals) {
    let why = "cannot be had by a parked sandbox";
    for (what, asked) in [
        ("preserved descriptors", request.preserved_fds > 0),
        ("a notify directory", request.notify),
        ("a root without pivot_root(2)", request.without_pivot),
        ("a root mount of this request", request.root.is_some()),
    ] {
        if asked {
            refusals.unsupported(what, why);
        }
    }
}

fn refuse_spec(spec: &Spec, own_roots: bool, refusals: &mut Refusals) {
    let readonly = spec
        .root()
        .as_ref()
        .and_then(oci_spec::runtime::Root::readonly);
    if !own_roots && readonly != Some(true) {
        let why = "a parked sandbox has a root that nobody can write to, or one of its own";
        refusals.unsupported("root.readonly", why);
    }
    if spec.hooks().as_ref().is_some_and(has_hooks) {
        refusals.unsupported(
            "hooks",
            "they would be told of a container that has no id yet",
        );
    }
    let Some(linux) = spec.linux() else { return };
    for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let joined = namespace.path().as_ref();
        if joined.is_some_and(|path| !path.as_os_str().is_empty()) {
            let path = format!("linux.namespaces[{index}].path");
            refusals.unsupported(
                path,
                "what is there may be another when the sandbox is started",
            );
        }
    }
    let kinds = linux.namespaces().iter().flatten();
    if !kinds
        .into_iter()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::Mount)
    {
        let why = "a parked sandbox has a mount namespace of its own";
        refusals.unsupported("linux.namespaces", why);
    }
    let devices = linux.net_devices().as_ref();
    if devices.is_some_and(|devices| !devices.is_empty()) {
        refusals.unsupported(
            "linux.netDevices",
            "they would be gone from the host before the start",
        );
    }
    if linux.intel_rdt().is_some() {
        refusals.unsupported("linux.intelRdt", "its group is named after the container");
    }
    let seccomp = linux.seccomp().as_ref();
    let agent = seccomp.and_then(|seccomp| seccomp.listener_path().as_ref());
    if agent.is_some_and(|path| !path.as_os_str().is_empty()) {
        let why = "the agent would be told of a container that has no id yet";
        refusals.unsupported("linux.seccomp.listenerPath", why);
    }
}

#[allow(
    deprecated,
    reason = "prestart is deprecated by the spec, which is no reason to skip it"
)]
fn has_hooks(hooks: &Hooks) -> bool {
    let lists = [
        hooks.prestart(),
        hooks.create_runtime(),
        hooks.create_container(),
        hooks.start_container(),
        hooks.poststart(),
        hooks.poststop(),
    ];
    lists.into_iter().flatten().any(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use serde_json::{Value, json};

    fn config() -> Value {
        json!({
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "env": ["A=1"], "cwd": "/"},
            "root": {"path": "rootfs", "readonly": true},
            "hostname": "h",
            "linux": {"cgroupsPath": "/pods/one", "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "uts"}]}
        })
    }

    fn request(config: Value) -> Request {
        Request::new(
            serde_json::from_value(config).unwrap(),
            Path::new("/bundle"),
        )
    }

    fn class(config: Value, own_roots: bool) -> Result<Class> {
        let root = tempfile::tempdir().unwrap();
        let runtime = Runtime::open(&root.path().join("state")).unwrap();
        Class::new(&runtime, request(config), own_roots)
    }

    fn changed(pointer: &str, value: Value) -> Value {
        let mut config = config();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[name] = value;
        config
    }

    fn refused(class: &Class, pointer: &str, value: Value) -> String {
        let heard = class.hear(request(changed(pointer, value)));
        heard.unwrap_err().to_string()
    }

    #[test]
    fn a_program_annotations_and_the_name_of_the_cgroup_may_differ() {
        let class = class(config(), false).unwrap();
        for (pointer, value) in [
            ("/process/args", json!(["/bin/false", "x"])),
            ("/process/env", json!([])),
            ("/annotations", json!({"pod": "two"})),
            ("/linux/cgroupsPath", json!("/pods/two")),
        ] {
            class.hear(request(changed(pointer, value))).unwrap();
        }
    }

    #[test]
    fn whatever_else_differs_is_refused_by_its_path() {
        let class = class(config(), false).unwrap();
        for (pointer, value) in [
            ("/hostname", json!("other")),
            ("/process/cwd", json!("/tmp")),
            ("/process/user", json!({"uid": 1, "gid": 0})),
            ("/process/noNewPrivileges", json!(true)),
            ("/process/capabilities", json!({"bounding": ["CAP_KILL"]})),
            ("/root/path", json!("other")),
            ("/linux/cgroupsPath", json!("/others/one")),
            ("/linux/resources", json!({"pids": {"limit": 5}})),
            ("/linux/namespaces", json!([{"type": "mount"}])),
            ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"})),
            ("/linux/maskedPaths", json!(["/proc/keys"])),
            ("/mounts", json!([{"destination": "/proc", "type": "proc"}])),
        ] {
            let said = refused(&class, pointer, value);
            let path = pointer.trim_start_matches('/').replace('/', ".");
            assert!(said.contains(&path) && said.contains(DIFFERS), "{said}");
        }
        let landlock = json!({landlock::ANNOTATION: "{}"});
        assert!(refused(&class, "/annotations", landlock).contains("annotations"));
    }

    #[test]
    fn what_a_parked_sandbox_cannot_have_is_refused_at_once() {
        let hooks = json!({"poststop": [{"path": "/bin/true"}]});
        for (pointer, value) in [
            ("/root/readonly", json!(false)),
            ("/hooks", hooks),
            (
                "/linux/namespaces",
                json!([{"type": "mount", "path": "/proc/1/ns/mnt"}]),
            ),
            ("/linux/netDevices", json!({"eth0": {}})),
        ] {
            let error: Error = class(changed(pointer, value), false).unwrap_err();
            let path = pointer.trim_start_matches('/').replace('/', ".");
            assert!(error.to_string().contains(&path), "{error}");
        }
        class(changed("/root/readonly", json!(false)), true).unwrap();
    }

    #[test]
    fn a_sandbox_has_its_cgroup_beside_the_one_that_is_asked_for() {
        let class = class(config(), false).unwrap();
        let spec = class.request("parked-1").spec;
        let path = spec.linux().as_ref().unwrap().cgroups_path().clone();
        assert_eq!(path, Some(PathBuf::from("/pods/parked-1")));
    }
}
