//! Device rules as data, parsed once.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::super::resources::Problem;

/// Far more than any client sends; bounds the work that a configuration can make.
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
        access: access(rule.access().as_deref().unwrap_or_default(), rule.allow())?,
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

/// `a` is written by some who mean all, and passed over by runc. Of the two readings the one counts
/// that lets less through.
fn access(letters: &str, allow: bool) -> Result<u8, Fault> {
    let mut bits = 0;
    for letter in letters.chars() {
        bits |= match letter {
            'm' => MKNOD,
            'r' => READ,
            'w' => WRITE,
            'a' if allow => 0,
            'a' => MKNOD | READ | WRITE,
            _ => return Err(("access", format!("{letter:?} is not r, w or m"))),
        };
    }
    if bits == 0 {
        return Err(("access", "empty: name some of r, w and m".to_owned()));
    }
    Ok(bits)
}
