//! `process`: who the payload is, what it runs and what it may do.

use super::Facts;
use super::label::{self, Labels};
use super::landlock::Landlock;
use super::program;
use super::refusal::Refusals;
use super::treatment::{self, Treatment};
use hostrun_inside::orders::{Capabilities, Rlimit};
use hostrun_seccomp_profiles::capability_number;
use oci_spec::runtime::{Capability, Linux, LinuxCapabilities, PosixRlimitType, Process};
use std::collections::HashSet;
use std::ffi::CString;
use std::path::Path;

/// The payload.
#[derive(Debug)]
pub(crate) struct ProcessPlan {
    pub(crate) argv: Vec<CString>,
    pub(crate) envp: Vec<CString>,
    /// Paths to try for `argv[0]`.
    pub(crate) candidates: Vec<CString>,
    /// Below the root.
    pub(crate) cwd: CString,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    /// The caller's groups stay instead.
    pub(crate) keep_groups: bool,
    pub(crate) umask: Option<u32>,
    pub(crate) capabilities: Capabilities,
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) no_new_privileges: bool,
    pub(crate) oom_score_adj: Option<Vec<u8>>,
    /// Rows and columns, where it has a terminal.
    pub(crate) terminal: Option<(u16, u16)>,
    /// `HOME` is not in the environment and must be looked up.
    pub(crate) needs_home: bool,
    pub(crate) treatment: Treatment,
    pub(crate) labels: Labels,
    /// Said of the container, for each of its processes.
    pub(crate) landlock: Option<Landlock>,
}

/// Where programs are looked for when the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The largest id; one more means "leave alone" to `setresuid(2)`.
const MAX_ID: u32 = u32::MAX - 1;

/// Reads the section, and what `linux` says of every process.
pub(crate) fn plan(
    process: &Process,
    linux: &Linux,
    facts: Facts,
    refusals: &mut Refusals,
) -> ProcessPlan {
    let (args, env) = (process.args().as_deref(), process.env().as_deref());
    let program = program::plan(args.unwrap_or_default(), env.unwrap_or_default(), refusals);
    let user = process.user();
    for (json, id) in [
        ("process.user.uid", user.uid()),
        ("process.user.gid", user.gid()),
    ] {
        if id > MAX_ID {
            refusals.refuse(json, "is no id");
        }
    }
    if process.cwd().as_os_str().is_empty() {
        refusals.refuse("process.cwd", "Cwd property must not be empty");
    } else if !process.cwd().is_absolute() {
        refusals.refuse("process.cwd", "Cwd must be an absolute path");
    }
    ProcessPlan {
        argv: program.argv,
        needs_home: program.needs_home,
        envp: program.envp,
        candidates: program.candidates,
        cwd: super::mounts::below_root(process.cwd(), "process.cwd", refusals),
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        keep_groups: false,
        umask: user.umask(),
        capabilities: capabilities(
            process.capabilities().as_ref(),
            facts.last_capability,
            refusals,
        ),
        rlimits: rlimits(process, refusals),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        oom_score_adj: oom_score_adj(process, refusals),
        terminal: process.terminal().unwrap_or(false).then(|| size(process)),
        treatment: treatment::plan(process, linux, refusals),
        labels: label::plan(process, facts, refusals),
        landlock: None,
    }
}

/// `environ(7)`: what has no name or no value is no variable.
pub(super) fn refuse_nameless(entries: &[String], refusals: &mut Refusals) {
    for (index, entry) in entries.iter().enumerate() {
        let why = match entry.find('=') {
            None => "missing '='",
            Some(0) => "name cannot be empty",
            Some(_) => continue,
        };
        refusals.refuse(
            format!("process.env[{index}]"),
            format!("invalid environment variable: {why}"),
        );
    }
}

/// Of a name given twice the last counts, and keeps its place: `getenv(3)` finds the first.
pub(super) fn environment(entries: &[String]) -> Vec<&str> {
    let name = |entry: &'_ str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut seen = HashSet::with_capacity(entries.len());
    let mut kept: Vec<&str> = entries
        .iter()
        .rev()
        .map(String::as_str)
        .filter(|entry| seen.insert(name(entry)))
        .collect();
    kept.reverse();
    // An empty HOME is none: it is looked up and added later.
    kept.retain(|entry| *entry != "HOME=");
    kept
}

/// As `execvp(3)`: a name with a slash is a path, others are looked for in `PATH`.
pub(super) fn candidates(
    program: &str,
    environment: &[&str],
    refusals: &mut Refusals,
) -> Vec<CString> {
    if program.contains('/') {
        return vec![refusals.c_string("process.args[0]", program)];
    }
    let path = environment
        .iter()
        .find_map(|entry| entry.strip_prefix("PATH="));
    let path = path.filter(|path| !path.is_empty()).unwrap_or(DEFAULT_PATH);
    path.split(':')
        .map(|dir| {
            let dir = if dir.is_empty() {
                Path::new(".")
            } else {
                Path::new(dir)
            };
            let file = dir.join(program).into_os_string().into_encoded_bytes();
            refusals.c_string("process.args[0]", file)
        })
        .collect()
}

fn size(process: &Process) -> (u16, u16) {
    let short = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
    process
        .console_size()
        .map_or((0, 0), |size| (short(size.height()), short(size.width())))
}

fn oom_score_adj(process: &Process, refusals: &mut Refusals) -> Option<Vec<u8>> {
    let value = process.oom_score_adj()?;
    if !(-1000..=1000).contains(&value) {
        refusals.refuse("process.oomScoreAdj", "must be from -1000 to 1000");
    }
    Some(value.to_string().into_bytes())
}

fn rlimits(process: &Process, refusals: &mut Refusals) -> Vec<Rlimit> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        let json = format!("process.rlimits[{index}]");
        let resource = resource(limit.typ());
        if limits.iter().any(|listed| listed.resource == resource) {
            refusals.refuse(&json, format!("{} is listed twice", limit.typ()));
        }
        if limit.soft() > limit.hard() {
            refusals.refuse(&json, "soft is above hard");
        }
        limits.push(Rlimit {
            resource,
            soft: limit.soft(),
            hard: limit.hard(),
        });
    }
    limits
}

/// The kernel's number, `getrlimit(2)`; these are the same on all architectures we build for.
fn resource(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => 0,
        PosixRlimitType::RlimitFsize => 1,
        PosixRlimitType::RlimitData => 2,
        PosixRlimitType::RlimitStack => 3,
        PosixRlimitType::RlimitCore => 4,
        PosixRlimitType::RlimitRss => 5,
        PosixRlimitType::RlimitNproc => 6,
        PosixRlimitType::RlimitNofile => 7,
        PosixRlimitType::RlimitMemlock => 8,
        PosixRlimitType::RlimitAs => 9,
        PosixRlimitType::RlimitLocks => 10,
        PosixRlimitType::RlimitSigpending => 11,
        PosixRlimitType::RlimitMsgqueue => 12,
        PosixRlimitType::RlimitNice => 13,
        PosixRlimitType::RlimitRtprio => 14,
        PosixRlimitType::RlimitRttime => 15,
    }
}

/// The five sets. Absent is empty: a capability is never inherited by accident.
fn capabilities(
    sets: Option<&LinuxCapabilities>,
    last: u32,
    refusals: &mut Refusals,
) -> Capabilities {
    let known = |set: u64| set & (u64::MAX >> (63 - last.min(63)));
    let mask = |set: Option<&HashSet<Capability>>| {
        known(set.into_iter().flatten().fold(0, |mask, capability| {
            mask | 1 << capability_number(*capability)
        }))
    };
    let Some(sets) = sets else {
        return Capabilities {
            bounding: 0,
            effective: 0,
            permitted: 0,
            inheritable: 0,
            ambient: 0,
            last,
        };
    };
    let bounding = mask(sets.bounding().as_ref());
    let effective = mask(sets.effective().as_ref());
    let permitted = mask(sets.permitted().as_ref());
    let inheritable = mask(sets.inheritable().as_ref());
    if effective & !permitted != 0 {
        refusals.refuse(
            "process.capabilities.effective",
            "holds a capability that is not permitted",
        );
    }
    // A capability can only be ambient while it is permitted and inheritable, capabilities(7).
    let ambient = mask(sets.ambient().as_ref()) & permitted & inheritable;
    Capabilities {
        bounding,
        effective,
        permitted,
        inheritable,
        ambient,
        last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    #[test]
    fn capability_numbers_are_the_kernels() {
        for capability in caps::all() {
            let name = capability.to_string();
            let ours = serde_json::from_value::<Capability>(name.clone().into()).unwrap();
            assert_eq!(
                capability_number(ours),
                u32::from(capability.index()),
                "{name}"
            );
            assert!(caps::Capability::from_str(&name).is_ok());
        }
    }

    #[test]
    fn the_last_of_equal_names_wins_and_keeps_its_place() {
        let entries = ["A=1", "B=2", "A=3", "C"].map(String::from);
        assert_eq!(environment(&entries), ["B=2", "A=3", "C"]);
    }

    #[test]
    fn an_ambient_capability_needs_to_be_permitted_and_inheritable() {
        let set = |names: &[&str]| {
            names
                .iter()
                .map(|name| format!("CAP_{name}"))
                .collect::<Vec<_>>()
        };
        let json = serde_json::json!({"permitted": set(&["KILL", "CHOWN"]), "inheritable": set(&["KILL"]), "ambient": set(&["KILL", "CHOWN"])});
        let sets: LinuxCapabilities = serde_json::from_value(json).unwrap();
        let mut refusals = Refusals::default();
        assert_eq!(capabilities(Some(&sets), 40, &mut refusals).ambient, 1 << 5);
        refusals.finish().unwrap();
    }
}
