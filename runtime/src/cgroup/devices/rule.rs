//! Device rules as data: parsed once, then cut down to those that can decide something.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::super::resources::Problem;

/// More than any host has device nodes; keeps the program far below the reach of a BPF jump.
const MAX_RULES: usize = 2048;

/// Access bits of `struct bpf_cgroup_dev_ctx` (`linux/bpf.h`).
pub(super) const MKNOD: u8 = 1;
pub(super) const READ: u8 = 2;
pub(super) const WRITE: u8 = 4;
pub(super) const ALL: u8 = MKNOD | READ | WRITE;

/// Type of a device, with the numbers of `linux/bpf.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Block = 1,
    Char = 2,
}

/// One rule; `None` matches every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) allow: bool,
    pub(super) kind: Option<Kind>,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) access: u8,
}

impl Rule {
    const fn allow(kind: Kind, major: Option<u32>, minor: Option<u32>, access: u8) -> Self {
        Self {
            allow: true,
            kind: Some(kind),
            major,
            minor,
            access,
        }
    }

    /// Whether this rule decides everything that the other one could.
    fn covers(&self, other: &Self) -> bool {
        fn includes<T: Copy + PartialEq>(wide: Option<T>, narrow: Option<T>) -> bool {
            wide.is_none() || wide == narrow
        }
        includes(self.kind, other.kind)
            && includes(self.major, other.major)
            && includes(self.minor, other.minor)
            && self.access & other.access == other.access
    }

    /// Whether it decides every access to every device.
    pub(super) fn is_everything(&self) -> bool {
        let Self {
            kind, major, minor, ..
        } = self;
        kind.is_none() && major.is_none() && minor.is_none() && self.access == ALL
    }
}

/// What every container may use; appended to the configuration's rules.
pub(super) const DEFAULT: [Rule; 11] = [
    Rule::allow(Kind::Char, None, None, MKNOD),
    Rule::allow(Kind::Block, None, None, MKNOD),
    Rule::allow(Kind::Char, Some(1), Some(3), ALL), // null
    Rule::allow(Kind::Char, Some(1), Some(5), ALL), // zero
    Rule::allow(Kind::Char, Some(1), Some(7), ALL), // full
    Rule::allow(Kind::Char, Some(1), Some(8), ALL), // random
    Rule::allow(Kind::Char, Some(1), Some(9), ALL), // urandom
    Rule::allow(Kind::Char, Some(5), Some(0), ALL), // tty
    Rule::allow(Kind::Char, Some(5), Some(2), ALL), // ptmx
    Rule::allow(Kind::Char, Some(10), Some(200), ALL), // net/tun
    Rule::allow(Kind::Char, Some(136), None, ALL),  // pts/*
];

/// Parses the rules of the configuration and appends the default ones.
pub(super) fn parse(spec: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>, Vec<Problem>> {
    if spec.len() > MAX_RULES {
        return Err(vec![Problem {
            path: "linux.resources.devices".to_owned(),
            reason: format!("{} rules, more than {MAX_RULES}", spec.len()),
        }]);
    }
    let mut problems = Vec::new();
    let mut rules = Vec::with_capacity(spec.len() + DEFAULT.len());
    for (index, rule) in spec.iter().enumerate() {
        match one(rule) {
            Ok(rule) => rules.push(rule),
            Err((field, reason)) => problems.push(Problem {
                path: format!("linux.resources.devices[{index}].{field}"),
                reason,
            }),
        }
    }
    rules.extend(DEFAULT);
    if problems.is_empty() {
        Ok(rules)
    } else {
        Err(problems)
    }
}

type Fault = (&'static str, String);

fn one(rule: &LinuxDeviceCgroup) -> Result<Rule, Fault> {
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(Kind::Block),
        Some(LinuxDeviceType::C) => Some(Kind::Char),
        Some(other) => {
            return Err(("type", format!("{:?} is not a, b or c", other.as_str())));
        }
    };
    Ok(Rule {
        allow: rule.allow(),
        kind,
        major: number("major", rule.major())?,
        minor: number("minor", rule.minor())?,
        access: access(rule.access().as_deref().unwrap_or_default())?,
    })
}

/// -1 matches every number.
fn number(field: &'static str, value: Option<i64>) -> Result<Option<u32>, Fault> {
    match value {
        None | Some(-1) => Ok(None),
        Some(value) => u32::try_from(value)
            .map(Some)
            .map_err(|_out_of_range| (field, format!("{value} is not a device number"))),
    }
}

fn access(letters: &str) -> Result<u8, Fault> {
    let mut bits = 0;
    for letter in letters.chars() {
        bits |= match letter {
            'm' => MKNOD,
            'r' => READ,
            'w' => WRITE,
            _ => return Err(("access", format!("{letter:?} is not r, w or m"))),
        };
    }
    if bits == 0 {
        return Err(("access", "empty: name some of r, w and m".to_owned()));
    }
    Ok(bits)
}

/// Drops every rule that a later one covers: the lists that clients send twice, and all that stands before
/// an allow or deny of everything, so only the first one that is left can be of everything. `None` where everything is allowed.
pub(super) fn effective(rules: Vec<Rule>) -> Option<Vec<Rule>> {
    let mut kept: Vec<Rule> = Vec::with_capacity(rules.len());
    for rule in rules.into_iter().rev() {
        if !kept.iter().any(|later| later.covers(&rule)) {
            kept.push(rule);
        }
    }
    kept.reverse();
    // What no rule decides is denied anyway.
    let denied = kept.iter().take_while(|rule| !rule.allow).count();
    kept.drain(..denied);
    let allows_all = kept
        .first()
        .is_some_and(|first| first.allow && first.is_everything())
        && kept.iter().all(|rule| rule.allow);
    (!allows_all).then_some(kept)
}
