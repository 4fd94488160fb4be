//! `Plan`: what a config means, decided once, before anything exists.
//!
//! Pure: no system call, no environment, no clock. All refusals come at once.

pub(crate) mod birth;
pub(crate) mod devices;
pub(crate) mod filter;
pub(crate) mod hooks;
pub(crate) mod identities;
pub(crate) mod idmaps;
mod inherit;
pub(crate) mod label;
pub(crate) mod landlock;
pub(crate) mod maps;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod netdevices;
pub(crate) mod options;
mod place;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod rdt;
pub(crate) mod refusal;
pub(crate) mod sources;
pub(crate) mod sysctls;
#[cfg(test)]
mod tests;
pub(crate) mod treatment;

use crate::cgroup::Resources;
use crate::error::Result;
use crate::host::Caller;
use crate::id::ContainerId;
use devices::{DevicePlan, LinkPlan};
use filter::Listener;
use hooks::HooksPlan;
use hostrun_seccomp_profiles::Filter;
use mounts::RootPlan;
use namespaces::{Kind, Namespaces};
use netdevices::NetDevicePlan;
use oci_spec::runtime::{Linux, Process, Spec};
pub(crate) use place::PlacePlan;
use process::ProcessPlan;
use rdt::{RdtFacts, RdtPlan};
use refusal::Refusals;
use sources::SourcePlan;
use std::path::Path;
use sysctls::SysctlPlan;

/// A config as meant.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) namespaces: Namespaces,
    pub(crate) net_devices: Vec<NetDevicePlan>,
    pub(crate) root: RootPlan,
    pub(crate) devices: Vec<DevicePlan>,
    pub(crate) links: &'static [LinkPlan],
    pub(crate) process: ProcessPlan,
    pub(crate) hostname: Option<Vec<u8>>,
    pub(crate) domainname: Option<Vec<u8>>,
    pub(crate) sysctls: Vec<SysctlPlan>,
    /// `None` only while refusals are pending.
    pub(crate) place: Option<PlacePlan>,
    pub(crate) resources: Resources,
    pub(crate) seccomp: Option<Filter>,
    /// Who answers what the filter leaves open.
    pub(crate) listener: Option<Listener>,
    pub(crate) hooks: HooksPlan,
    /// A class of service of the processor.
    pub(crate) rdt: Option<RdtPlan>,
}

/// What the kernel can do, as far as a plan depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// The highest capability it knows.
    pub(crate) last_capability: u32,
    /// Has it a `/proc/kcore`?
    pub(crate) kcore: bool,
    /// Is AppArmor in force? Looked up only for a config that names a profile.
    pub(crate) apparmor: bool,
    /// Is SELinux in force? Looked up only for a config that has a label.
    pub(crate) selinux: bool,
    /// Version of the kernel's Landlock interface, 0 where it has none. Looked up only for a config
    /// with rules.
    pub(crate) landlock: u32,
    /// What of resctrl there is. Looked up only for a config with `intelRdt`.
    pub(crate) rdt: RdtFacts,
    /// Who asks.
    pub(crate) caller: Caller,
    /// Are containers units of systemd's?
    pub(crate) systemd: bool,
}

impl Plan {
    /// Reads a config. Relative paths in it are relative to `bundle`; `known` is the filter of its
    /// profile, where it was compiled before.
    pub(crate) fn from_spec(
        id: &ContainerId,
        spec: &Spec,
        bundle: &Path,
        facts: Facts,
        known: Option<Filter>,
    ) -> Result<Plan> {
        let mut refusals = Refusals::default();
        refuse_version(spec.version(), &mut refusals);
        refuse_unsupported(spec, &mut refusals);
        let default_linux = Linux::default();
        let linux = spec.linux().as_ref().unwrap_or_else(|| {
            refusals.refuse("linux", "is missing");
            &default_linux
        });
        let namespaces = namespaces::plan(linux, facts.caller, &mut refusals);
        let root = mounts::plan(spec, linux, &namespaces, bundle, facts, &mut refusals);
        let (devices, links) = devices::plan(linux, &root, &namespaces, facts, &mut refusals);
        let default_process = Process::default();
        let process = spec.process().as_ref().unwrap_or_else(|| {
            refusals.refuse("process", "process property must not be empty");
            &default_process
        });
        let mut process = process::plan(process, linux, facts, &mut refusals);
        // That is about processes that join; the first one runs wherever its cgroup lets it.
        process.treatment.affinity = None;
        process.landlock = landlock::plan(landlock_rules(spec), facts, &mut refusals);
        identities::keep_groups(spec, &mut process);
        identities::refuse_unmapped(&namespaces, &process, &mut refusals);
        let plan = Plan {
            hostname: name(
                "hostname",
                spec.hostname().as_deref(),
                &namespaces,
                &mut refusals,
            ),
            domainname: name(
                "domainname",
                spec.domainname().as_deref(),
                &namespaces,
                &mut refusals,
            ),
            sysctls: sysctls::plan(linux, &namespaces, &mut refusals),
            place: place::plan(id, spec, linux, facts, &mut refusals),
            resources: resources(linux, &mut refusals),
            seccomp: known.or_else(|| filter::plan(linux, &mut refusals)),
            listener: filter::listener(linux, &mut refusals),
            hooks: hooks::plan(spec.hooks().as_ref(), &mut refusals),
            rdt: rdt::plan(id, linux, facts.rdt, &mut refusals),
            net_devices: netdevices::plan(linux, &namespaces, facts.caller, &mut refusals),
            namespaces,
            root,
            devices,
            links,
            process,
        };
        refuse_terminal_without_devpts(&plan, &mut refusals);
        refusals.finish()?;
        Ok(plan)
    }
}

/// A further process in a container, as meant.
#[derive(Debug)]
pub(crate) struct ExecPlan {
    pub(crate) process: ProcessPlan,
    pub(crate) seccomp: Option<Filter>,
    /// Who answers what the filter leaves open.
    pub(crate) listener: Option<Listener>,
    /// The user namespace denies `setgroups(2)`.
    pub(crate) deny_groups: bool,
    /// The process may have to wait in a frozen cgroup.
    pub(crate) waits: bool,
    /// When it is born.
    pub(crate) birth: birth::Birth,
    namespaces: Namespaces,
}

impl ExecPlan {
    /// Where the container's user namespace denies `setgroups(2)`, nobody can be given groups.
    pub(crate) fn deny_groups(&mut self) -> Result<()> {
        self.deny_groups = true;
        let mut refusals = Refusals::default();
        identities::refuse_groups(&self.process, &mut refusals);
        refusals.finish()
    }

    /// Has the container a namespace of this kind that is not the host's?
    pub(crate) fn owns(&self, kind: Kind) -> bool {
        self.namespaces.own(kind)
    }

    /// `CLONE_NEW*` of all that the process joins; into a pid namespace its child is born.
    pub(crate) fn join_flags(&self) -> i32 {
        namespaces::JOIN_ORDER
            .into_iter()
            .filter(|kind| self.owns(*kind))
            .fold(0, |flags, kind| flags | kind.flag())
    }
}

impl Plan {
    /// Reads a process that is to run in the container with this config.
    pub(crate) fn for_exec(
        spec: &Spec,
        process: &Process,
        facts: Facts,
        known: Option<Filter>,
    ) -> Result<ExecPlan> {
        let mut refusals = Refusals::default();
        let default_linux = Linux::default();
        let linux = spec.linux().as_ref().unwrap_or(&default_linux);
        let process = inherit::from_container(process, spec);
        let mut process = process::plan(&process, linux, facts, &mut refusals);
        process.landlock = landlock::plan(landlock_rules(spec), facts, &mut refusals);
        identities::keep_groups(spec, &mut process);
        let mut plan = ExecPlan {
            process,
            seccomp: known.or_else(|| filter::plan(linux, &mut refusals)),
            listener: filter::listener(linux, &mut refusals),
            deny_groups: false,
            waits: false,
            birth: birth::Birth::Early,
            namespaces: namespaces::plan(linux, facts.caller, &mut refusals),
        };
        refusals.finish()?;
        plan.birth = plan.when_to_be_born(linux.seccomp().as_ref());
        Ok(plan)
    }
}

impl Plan {
    /// Would the container's start change a namespace of this kind?
    pub(crate) fn sets_something_in(&self, kind: Kind) -> bool {
        let named = self.hostname.is_some() || self.domainname.is_some();
        kind == Kind::Uts && named || self.sysctls.iter().any(|sysctl| sysctl.owner == Some(kind))
    }
}

/// The document in the annotation, if there is one.
pub(crate) fn landlock_rules(spec: &Spec) -> Option<&str> {
    let annotations = spec.annotations().as_ref()?;
    annotations.get(landlock::ANNOTATION).map(String::as_str)
}

/// Any 1.x is understood: the spec promises that a minor version only adds.
fn refuse_version(version: &str, refusals: &mut Refusals) {
    let number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u32>().is_ok());
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = core.split('.');
    let major = parts.next();
    let three = number(parts.next()) && number(parts.next()) && parts.next().is_none();
    if major != Some("1") || !three {
        refusals.refuse("ociVersion", format!("{version:?} is not 1.x.y"));
    }
}

/// Whether nothing in a config is refused for being unknown to this version.
pub(crate) fn supports(spec: &Spec) -> bool {
    let mut refusals = Refusals::default();
    refuse_unsupported(spec, &mut refusals);
    refusals.finish().is_ok()
}

/// What the spec has and this version does not do yet. Empty values ask for nothing.
fn refuse_unsupported(spec: &Spec, refusals: &mut Refusals) {
    for (json, found) in [
        ("vm", spec.vm().is_some()),
        ("windows", spec.windows().is_some()),
        ("solaris", spec.solaris().is_some()),
        ("zos", spec.zos().is_some()),
    ] {
        if found {
            refusals.unsupported(json, "is not for this platform");
        }
    }
}

fn refuse_terminal_without_devpts(plan: &Plan, refusals: &mut Refusals) {
    let devpts = plan.root.mounts.iter().any(|mount| {
        mount.target.as_c_str() == c"dev/pts"
            || (mount.target.as_c_str() == c"dev" && plan.root.dev_is_bound())
    });
    if plan.process.terminal.is_some() && !devpts {
        refusals.refuse("process.terminal", "needs a devpts mounted at /dev/pts");
    }
    let procfs = |mount: &mounts::MountPlan| matches!(&mount.source, SourcePlan::New { fstype, .. } if fstype.as_c_str() == c"proc");
    if !plan.sysctls.is_empty() && !plan.root.mounts.iter().any(procfs) {
        refusals.refuse("linux.sysctl", "needs a procfs among the mounts");
    }
}

fn name(
    json: &str,
    value: Option<&str>,
    namespaces: &Namespaces,
    refusals: &mut Refusals,
) -> Option<Vec<u8>> {
    let value = value.filter(|value| !value.is_empty())?;
    if !namespaces.own(Kind::Uts) {
        let why = "without a private UTS namespace: it would name the host";
        refusals.refuse(json, format!("unable to set {json} {why}"));
    }
    if value.len() > 64 {
        refusals.refuse(json, "is longer than 64 bytes");
    }
    Some(value.as_bytes().to_vec())
}

fn resources(linux: &Linux, refusals: &mut Refusals) -> Resources {
    Resources::from_spec(linux.resources().as_ref()).unwrap_or_else(|problems| {
        for problem in problems {
            refusals.refuse(problem.path, problem.reason);
        }
        Resources::default()
    })
}
