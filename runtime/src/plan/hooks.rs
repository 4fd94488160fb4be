//! `hooks`: programs of others that run at certain points of the container's life, config
//! "POSIX-platform Hooks".

use super::refusal::Refusals;
use oci_spec::runtime::{Hook, Hooks};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

/// The points of a life where hooks run, runtime "Lifecycle".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl Moment {
    /// As the config spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Moment::Prestart => "prestart",
            Moment::CreateRuntime => "createRuntime",
            Moment::CreateContainer => "createContainer",
            Moment::StartContainer => "startContainer",
            Moment::Poststart => "poststart",
            Moment::Poststop => "poststop",
        }
    }
}

/// One hook.
#[derive(Debug)]
pub(crate) struct HookPlan {
    pub(crate) path: CString,
    pub(crate) argv: Vec<CString>,
    /// `None` where the config gives no environment at all.
    pub(crate) envp: Option<Vec<CString>>,
    /// Seconds.
    pub(crate) timeout: Option<i64>,
}

/// All of them, in the order of the spec.
#[derive(Debug, Default)]
pub(crate) struct HooksPlan {
    pub(crate) prestart: Vec<HookPlan>,
    pub(crate) create_runtime: Vec<HookPlan>,
    pub(crate) create_container: Vec<HookPlan>,
    pub(crate) start_container: Vec<HookPlan>,
    pub(crate) poststart: Vec<HookPlan>,
    pub(crate) poststop: Vec<HookPlan>,
}

impl HooksPlan {
    /// Are there none?
    pub(crate) fn is_empty(&self) -> bool {
        !self.run_before_pivot()
            && self.start_container.is_empty()
            && self.poststart.is_empty()
            && self.poststop.is_empty()
    }

    /// Do some run on the host before the container is made?
    pub(crate) fn run_at_create(&self) -> bool {
        !self.prestart.is_empty() || !self.create_runtime.is_empty()
    }

    /// Do some run while the container's root is not yet the root?
    pub(crate) fn run_before_pivot(&self) -> bool {
        self.run_at_create() || !self.create_container.is_empty()
    }
}

/// Reads the section.
#[allow(
    deprecated,
    reason = "prestart is deprecated by the spec, which is no reason to skip it"
)]
pub(crate) fn plan(hooks: Option<&Hooks>, refusals: &mut Refusals) -> HooksPlan {
    let Some(hooks) = hooks else {
        return HooksPlan::default();
    };
    let mut list = |moment, hooks| list(moment, hooks, refusals);
    HooksPlan {
        prestart: list(Moment::Prestart, hooks.prestart().as_deref()),
        create_runtime: list(Moment::CreateRuntime, hooks.create_runtime().as_deref()),
        create_container: list(Moment::CreateContainer, hooks.create_container().as_deref()),
        start_container: list(Moment::StartContainer, hooks.start_container().as_deref()),
        poststart: list(Moment::Poststart, hooks.poststart().as_deref()),
        poststop: list(Moment::Poststop, hooks.poststop().as_deref()),
    }
}

fn list(moment: Moment, hooks: Option<&[Hook]>, refusals: &mut Refusals) -> Vec<HookPlan> {
    let hooks = hooks.unwrap_or_default().iter().enumerate();
    let one = |(index, hook)| {
        let json = format!("hooks.{}[{index}]", moment.name());
        self::hook(&json, hook, refusals)
    };
    hooks.map(one).collect()
}

fn hook(json: &str, hook: &Hook, refusals: &mut Refusals) -> HookPlan {
    if !hook.path().is_absolute() {
        refusals.refuse(format!("{json}.path"), "must be absolute");
    }
    if hook.timeout().is_some_and(|seconds| seconds <= 0) {
        refusals.refuse(format!("{json}.timeout"), "must be greater than zero");
    }
    let path = refusals.c_string(format!("{json}.path"), hook.path().as_os_str().as_bytes());
    let mut strings = |key: &str, list: &[String]| -> Vec<CString> {
        let json = format!("{json}.{key}");
        list.iter()
            .map(|text| refusals.c_string(&json, text.as_str()))
            .collect()
    };
    let mut argv = strings("args", hook.args().as_deref().unwrap_or_default());
    if argv.is_empty() {
        argv.push(path.clone());
    }
    HookPlan {
        argv,
        envp: hook.env().as_deref().map(|list| strings("env", list)),
        path,
        timeout: hook.timeout(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(json: &str) -> (HooksPlan, String) {
        let hooks: Hooks = serde_json::from_str(json).unwrap();
        let mut refusals = Refusals::default();
        let plan = plan(Some(&hooks), &mut refusals);
        let refused = refusals.finish().err();
        (
            plan,
            refused.map_or_else(String::new, |error| error.to_string()),
        )
    }

    #[test]
    fn every_wrong_hook_is_named_with_its_path() {
        let (_, refused) = planned(
            r#"{"createRuntime": [{"path": "/bin/true"}, {"path": "true", "timeout": 0}],
                "poststop": [{"path": "/a", "args": ["a\u0000b"], "env": ["\u0000"], "timeout": -1}]}"#,
        );
        for path in [
            "hooks.createRuntime[1].path: must be absolute",
            "hooks.createRuntime[1].timeout: must be greater than zero",
            "hooks.poststop[0].args: contains a zero byte",
            "hooks.poststop[0].env: contains a zero byte",
            "hooks.poststop[0].timeout: must be greater than zero",
        ] {
            assert!(refused.contains(path), "{path}: {refused}");
        }
        assert!(!refused.contains("createRuntime[0]"), "{refused}");
    }

    #[test]
    fn the_arguments_are_those_given_or_the_path() {
        let (plan, refused) = planned(
            r#"{"prestart": [{"path": "/bin/sh", "args": ["other", "x"], "env": []}, {"path": "/bin/ls"}]}"#,
        );
        assert_eq!(refused, "");
        let [first, second] = plan.prestart.as_slice() else {
            panic!("{plan:?}");
        };
        assert_eq!(first.argv, [c"other".to_owned(), c"x".to_owned()]);
        assert_eq!(first.envp, Some(vec![]));
        assert_eq!(second.argv, [c"/bin/ls".to_owned()]);
        assert_eq!(second.envp, None);
        assert!(plan.run_at_create() && plan.run_before_pivot());
    }
}
