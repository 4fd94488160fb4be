//! Profiles as files: moby's format, and with it the plain one of OCI, which is a part of it.
//!
//! moby adds conditions to rules (capabilities, architectures, kernel) and a map of architectures.
//! [`load_for`] evaluates them; what is left is a `LinuxSeccomp`. A word nobody knows is refused: to
//! skip it would be to guess what its author wanted to forbid.

use crate::abi::Abi;
use crate::error::{Error, ErrorKind};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};
use serde::Deserialize;
use std::str::FromStr;

/// A kernel version, by its first two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel(pub u32, pub u32);

/// What the conditions of a moby profile are evaluated for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The bounding set of the container (`capabilities(7)`).
    pub capabilities: &'a [Capability],
    /// The running kernel.
    pub kernel: Kernel,
    /// The native interface.
    pub abi: Abi,
}

/// Reads a profile for `target`.
///
/// # Errors
///
/// [`ErrorKind::Syntax`] for text that is not JSON or has a key no format knows,
/// [`ErrorKind::Unknown`] for a word no format knows, [`ErrorKind::Contradiction`] where two ways to
/// say the same thing are mixed.
pub fn load_for(json: &[u8], target: &Target) -> Result<LinuxSeccomp, Error> {
    let entries = parse(json)?;
    let mut syscalls = Vec::new();
    for (index, entry) in entries.syscalls.iter().flatten().enumerate() {
        let path = format!("syscalls[{index}]");
        let conditions = entry.conditions(&path)?;
        let rule = entry.rule(&path)?;
        if conditions.hold(target) {
            syscalls.push(rule);
        }
    }
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(word(&entries.default_action, "defaultAction")?)
        .set_default_errno_ret(errno(
            entries.default_errno_ret,
            entries.default_errno.as_deref(),
            "defaultErrno",
        )?)
        .set_architectures(entries.architectures(target.abi)?)
        .set_flags(words::<LinuxSeccompFilterFlag>(
            entries.flags.as_deref(),
            "flags",
        )?)
        .set_listener_path(entries.listener_path.map(Into::into))
        .set_listener_metadata(entries.listener_metadata)
        .set_syscalls(Some(syscalls));
    Ok(profile)
}

pub(crate) fn parse(json: &[u8]) -> Result<Document, Error> {
    serde_json::from_slice(json).map_err(|error| {
        let path = format!("line {} column {}", error.line(), error.column());
        let text = error.to_string();
        let reason = text.split(" at line ").next().unwrap_or_default();
        Error::new(ErrorKind::Syntax, path, reason.replace('\n', " "))
    })
}

/// A file as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Document {
    default_action: String,
    default_errno_ret: Option<u32>,
    /// podman: the name of the same number.
    default_errno: Option<String>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchFamily>>,
    flags: Option<Vec<String>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    pub(crate) syscalls: Option<Vec<Entry>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchFamily {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Entry {
    names: Option<Vec<String>>,
    /// moby, of old: a single name.
    name: Option<String>,
    action: String,
    errno_ret: Option<u32>,
    /// podman: the name of the same number.
    errno: Option<String>,
    args: Option<Vec<Argument>>,
    #[serde(rename = "comment")]
    _comment: Option<String>,
    includes: Option<Filter>,
    excludes: Option<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: usize,
    value: u64,
    value_two: Option<u64>,
    op: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// The conditions under which a rule is part of the profile.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    includes: Facts,
    excludes: Facts,
}

#[derive(Debug, Default)]
struct Facts {
    capabilities: Vec<Capability>,
    arches: Vec<String>,
    kernel: Option<Kernel>,
}

impl Conditions {
    /// All that is included must be so, and nothing that is excluded (moby `profiles/seccomp`).
    pub(crate) fn hold(&self, target: &Target) -> bool {
        let held = |capability: &Capability| target.capabilities.contains(capability);
        let (needs, lacks) = self.capabilities();
        self.hold_but_capabilities(target) && needs.iter().all(held) && !lacks.iter().any(held)
    }

    /// Capabilities that must all be held, and those of which none may be.
    pub(crate) fn capabilities(&self) -> (&[Capability], &[Capability]) {
        (&self.includes.capabilities, &self.excludes.capabilities)
    }

    /// The part that is known when this crate is built.
    pub(crate) fn hold_but_capabilities(&self, target: &Target) -> bool {
        let arch = |facts: &Facts| facts.arches.iter().any(|arch| arch == target.abi.go_name());
        let kernel = |facts: &Facts| facts.kernel.map(|least| target.kernel >= least);
        (self.includes.arches.is_empty() || arch(&self.includes))
            && !arch(&self.excludes)
            && kernel(&self.includes) != Some(false)
            && kernel(&self.excludes) != Some(true)
    }
}

impl Document {
    /// The listed interfaces, or those of the family this machine belongs to.
    fn architectures(&self, native: Abi) -> Result<Option<Vec<Arch>>, Error> {
        let Some(families) = &self.arch_map else {
            return words(self.architectures.as_deref(), "architectures");
        };
        if self
            .architectures
            .as_ref()
            .is_some_and(|list| !list.is_empty())
        {
            let reason = "architectures and archMap say the same thing, one must go";
            return Err(Error::new(ErrorKind::Contradiction, "archMap", reason));
        }
        let mut chosen = None;
        for (index, family) in families.iter().enumerate() {
            let path = format!("archMap[{index}].architecture");
            let first: Arch = word(&family.architecture, &path)?;
            let path = format!("archMap[{index}].subArchitectures");
            let others: Option<Vec<Arch>> = words(family.sub_architectures.as_deref(), &path)?;
            if first == native.to_oci() {
                let mut all = vec![first];
                all.extend(others.unwrap_or_default());
                chosen = Some(all);
            }
        }
        Ok(chosen)
    }
}

impl Entry {
    pub(crate) fn conditions(&self, path: &str) -> Result<Conditions, Error> {
        let includes = self.includes.as_ref();
        let excludes = self.excludes.as_ref();
        Ok(Conditions {
            includes: facts(includes, &format!("{path}.includes"))?,
            excludes: facts(excludes, &format!("{path}.excludes"))?,
        })
    }

    pub(crate) fn rule(&self, path: &str) -> Result<LinuxSyscall, Error> {
        let names = match (&self.names, &self.name) {
            (Some(names), None) => names.clone(),
            (None, Some(name)) => vec![name.clone()],
            _ => {
                let reason = "one of names and name is needed";
                return Err(Error::new(ErrorKind::Contradiction, path, reason));
            }
        };
        let mut args = Vec::new();
        for (index, arg) in self.args.iter().flatten().enumerate() {
            args.push(arg.to_oci(&format!("{path}.args[{index}]"))?);
        }
        let action: LinuxSeccompAction = word(&self.action, &format!("{path}.action"))?;
        let at = format!("{path}.errno");
        let mut rule = LinuxSyscall::default();
        rule.set_names(names)
            .set_action(action)
            .set_errno_ret(errno(self.errno_ret, self.errno.as_deref(), &at)?)
            .set_args((!args.is_empty()).then_some(args));
        Ok(rule)
    }
}

impl Argument {
    fn to_oci(&self, path: &str) -> Result<LinuxSeccompArg, Error> {
        let op: LinuxSeccompOperator = word(&self.op, &format!("{path}.op"))?;
        let mut arg = LinuxSeccompArgBuilder::default()
            .index(self.index)
            .value(self.value)
            .op(op);
        if let Some(two) = self.value_two {
            arg = arg.value_two(two);
        }
        let unfit = |error: OciSpecError| Error::new(ErrorKind::Syntax, path, error.to_string());
        arg.build().map_err(unfit)
    }
}

fn facts(filter: Option<&Filter>, path: &str) -> Result<Facts, Error> {
    let Some(filter) = filter else {
        return Ok(Facts::default());
    };
    let mut capabilities = Vec::new();
    for (index, name) in filter.caps.iter().flatten().enumerate() {
        let path = format!("{path}.caps[{index}]");
        capabilities.push(word(name.strip_prefix("CAP_").unwrap_or(name), &path)?);
    }
    let kernel = filter.min_kernel.as_deref().map(|text| {
        let path = format!("{path}.minKernel");
        let unknown = || Error::new(ErrorKind::Unknown, path, format!("{text:?} is no version"));
        kernel(text).ok_or_else(unknown)
    });
    Ok(Facts {
        capabilities,
        arches: filter.arches.clone().unwrap_or_default(),
        kernel: kernel.transpose()?,
    })
}

/// `4.8` and the like.
fn kernel(text: &str) -> Option<Kernel> {
    let (major, minor) = text.split_once('.')?;
    Some(Kernel(major.parse().ok()?, minor.parse().ok()?))
}

/// Error numbers that podman's profiles write as words.
const ERRNO_NAMES: [(&str, i32); 8] = [
    ("EPERM", libc::EPERM),
    ("ENOENT", libc::ENOENT),
    ("EACCES", libc::EACCES),
    ("EINVAL", libc::EINVAL),
    ("ENOSYS", libc::ENOSYS),
    ("ENOTSUP", libc::ENOTSUP),
    ("EAFNOSUPPORT", libc::EAFNOSUPPORT),
    ("ECONNREFUSED", libc::ECONNREFUSED),
];

/// The number, which may be given twice, by value and by name, but not two different ones.
fn errno(value: Option<u32>, name: Option<&str>, path: &str) -> Result<Option<u32>, Error> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(value);
    };
    let named = ERRNO_NAMES.iter().find(|(known, _)| *known == name);
    let Some((_, number)) = named else {
        let reason = format!("{name:?} is no error name known here, give its number");
        return Err(Error::new(ErrorKind::Unknown, path, reason));
    };
    let number = number.unsigned_abs();
    if value.is_some_and(|value| value != number) {
        let reason = format!("{name} is {number}, the number beside it is another");
        return Err(Error::new(ErrorKind::Contradiction, path, reason));
    }
    Ok(Some(number))
}

fn word<T: FromStr>(text: &str, path: &str) -> Result<T, Error> {
    let unknown = |_| Error::new(ErrorKind::Unknown, path, format!("{text:?} is not known"));
    text.parse().map_err(unknown)
}

fn words<T: FromStr>(list: Option<&[String]>, path: &str) -> Result<Option<Vec<T>>, Error> {
    let Some(list) = list else { return Ok(None) };
    let read = list.iter().enumerate();
    let read = read.map(|(index, text)| word(text, &format!("{path}[{index}]")));
    read.collect::<Result<_, _>>().map(Some)
}
