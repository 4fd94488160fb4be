//! What a program depends on, as bytes: whoever keeps programs finds them again by it.

use crate::filter::{self, Filter};
use crate::{Abi, Error, NATIVE};
use libc::sock_filter;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSyscall};
use std::borrow::Cow;

/// Changes with the sources of the compiler and its table.
const COMPILER: &str = env!("HOSTRUN_SECCOMP_COMPILER");

/// All that [`compile`](crate::compile) looks at, the compiler itself included. Two profiles with the
/// same fingerprint have the same program; nothing is hashed, so none can be made to look like another.
pub fn fingerprint(profile: &LinuxSeccomp) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 * 1024);
    let mut writer = Writer(&mut bytes);
    writer.text(COMPILER);
    writer.number(native_number(NATIVE));
    writer.number(profile.default_action() as u64);
    writer.optional(profile.default_errno_ret().map(u64::from));
    let architectures = profile.architectures().as_deref().unwrap_or_default();
    writer.number(length(architectures));
    for architecture in architectures {
        writer.number(*architecture as u64);
    }
    let rules = profile.syscalls().as_deref().unwrap_or_default();
    writer.number(length(rules));
    for rule in rules {
        writer.rule(rule);
    }
    bytes
}

/// A filter of a program that [`compile`](crate::compile) gave for a profile with this one's
/// fingerprint.
///
/// # Errors
/// What `compile` refuses in the profile's flags.
pub fn with_program(profile: &LinuxSeccomp, program: Vec<sock_filter>) -> Result<Filter, Error> {
    filter::finish(profile, Cow::Owned(program))
}

fn native_number(native: Abi) -> u64 {
    u64::from(native.audit_arch())
}

fn length<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

/// Everything with its length before it, so that no two lists run into one another.
struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn optional(&mut self, number: Option<u64>) {
        self.0.push(u8::from(number.is_some()));
        self.number(number.unwrap_or(0));
    }

    fn text(&mut self, text: &str) {
        self.number(length(text.as_bytes()));
        self.0.extend_from_slice(text.as_bytes());
    }

    fn rule(&mut self, rule: &LinuxSyscall) {
        self.number(length(rule.names()));
        for name in rule.names() {
            self.text(name);
        }
        self.number(rule.action() as u64);
        self.optional(rule.errno_ret().map(u64::from));
        let args = rule.args().as_deref().unwrap_or_default();
        self.number(length(args));
        for arg in args {
            self.argument(arg);
        }
    }

    fn argument(&mut self, arg: &LinuxSeccompArg) {
        self.number(u64::try_from(arg.index()).unwrap_or(u64::MAX));
        self.number(arg.value());
        self.optional(arg.value_two());
        self.number(arg.op() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DEFAULT_CAPABILITIES, compile, default_profile};

    fn profile(json: serde_json::Value) -> LinuxSeccomp {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn every_part_of_a_profile_that_changes_the_program_changes_the_fingerprint() {
        let base = serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{
                "names": ["read", "write"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_EQ"}],
            }],
        });
        let known = fingerprint(&profile(base.clone()));
        let changes = [
            ("/defaultAction", serde_json::json!("SCMP_ACT_KILL")),
            ("/defaultErrnoRet", serde_json::json!(2)),
            ("/architectures", serde_json::json!(["SCMP_ARCH_X86"])),
            ("/syscalls", serde_json::json!([])),
            ("/syscalls/0/names", serde_json::json!(["readwrite"])),
            ("/syscalls/0/names", serde_json::json!(["read"])),
            ("/syscalls/0/action", serde_json::json!("SCMP_ACT_LOG")),
            ("/syscalls/0/args", serde_json::json!([])),
            ("/syscalls/0/args/0/index", serde_json::json!(1)),
            ("/syscalls/0/args/0/value", serde_json::json!(2)),
            ("/syscalls/0/args/0/valueTwo", serde_json::json!(3)),
            ("/syscalls/0/args/0/op", serde_json::json!("SCMP_CMP_NE")),
        ];
        for (path, value) in changes {
            let mut changed = base.clone();
            *changed.pointer_mut(path).unwrap() = value;
            assert_ne!(fingerprint(&profile(changed)), known, "{path}");
        }
        let mut with_errno = base.clone();
        with_errno["syscalls"][0]["errnoRet"] = 0.into();
        assert_ne!(fingerprint(&profile(with_errno)), known);
        assert_eq!(fingerprint(&profile(base)), known);
    }

    #[test]
    fn a_program_that_was_kept_is_the_filter_it_was() {
        let profile = default_profile(&DEFAULT_CAPABILITIES[1..]);
        let filter = compile(&profile).unwrap();
        let again = with_program(&profile, filter.program().to_vec()).unwrap();
        assert_eq!(filter.flags(), again.flags());
        assert_eq!(filter.notify(), again.notify());
    }
}
