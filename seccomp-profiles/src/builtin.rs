//! The default profile, read and compiled when this crate was built.
//!
//! `profiles/default.json` is its source. The build script leaves out what does not concern this
//! machine and writes the rest as the tables included here, so that nothing is parsed at run time and
//! reading the default profile cannot fail.

#![allow(
    clippy::unreadable_literal,
    reason = "the numbers of the included tables are for no reader"
)]

use libc::sock_filter;
use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator, LinuxSyscall,
};

/// One rule of the default profile.
struct BuiltinRule {
    names: &'static [&'static str],
    action: LinuxSeccompAction,
    errno: Option<u32>,
    args: &'static [BuiltinArg],
    /// Capabilities that must all be held, and those of which none may be.
    needs: &'static [Capability],
    lacks: &'static [Capability],
    /// Whether it is part of the profile for the default capabilities.
    standard: bool,
}

struct BuiltinArg {
    index: usize,
    value: u64,
    value_two: Option<u64>,
    op: LinuxSeccompOperator,
}

include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// The default profile for a container that has `capabilities` in its bounding set, on this machine
/// and any kernel hostrun runs on.
///
/// It is moby's default profile but for what `docs/decisions/0002-seccomp-compiler.md` lists.
pub fn default_profile(capabilities: &[Capability]) -> LinuxSeccomp {
    let held = |capability: &Capability| capabilities.contains(capability);
    let rules = RULES.iter().filter(|rule| rule.needs.iter().all(held));
    let rules = rules.filter(|rule| !rule.lacks.iter().any(held));
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(DEFAULT_ACTION)
        .set_default_errno_ret(DEFAULT_ERRNO)
        .set_architectures(Some(ARCHITECTURES.to_vec()))
        .set_syscalls(Some(rules.map(BuiltinRule::to_oci).collect()));
    profile
}

/// Whether this is the profile whose program is part of this crate. Compares everything a program depends
/// on, word by word, and allocates nothing.
pub fn is_default(profile: &LinuxSeccomp) -> bool {
    let syscalls = profile.syscalls().as_deref().unwrap_or_default();
    let rules = RULES.iter().filter(|rule| rule.standard);
    profile.default_action() == DEFAULT_ACTION
        && profile.default_errno_ret() == DEFAULT_ERRNO
        && profile.architectures().as_deref() == Some(ARCHITECTURES)
        && rules.clone().count() == syscalls.len()
        && rules
            .zip(syscalls)
            .all(|(rule, syscall)| rule.equals(syscall))
}

impl BuiltinRule {
    fn to_oci(&self) -> LinuxSyscall {
        let args = self.args.iter().map(BuiltinArg::to_oci);
        let mut syscall = LinuxSyscall::default();
        syscall
            .set_names(self.names.iter().map(|name| (*name).to_owned()).collect())
            .set_action(self.action)
            .set_errno_ret(self.errno)
            .set_args((!self.args.is_empty()).then(|| args.collect()));
        syscall
    }

    fn equals(&self, syscall: &LinuxSyscall) -> bool {
        let args = syscall.args().as_deref().unwrap_or_default();
        self.action == syscall.action()
            && self.errno == syscall.errno_ret()
            && self.names.len() == syscall.names().len()
            && self.args.len() == args.len()
            && self
                .args
                .iter()
                .zip(args)
                .all(|(ours, theirs)| ours.equals(theirs))
            && self
                .names
                .iter()
                .zip(syscall.names())
                .all(|(ours, theirs)| *ours == theirs)
    }
}

impl BuiltinArg {
    fn to_oci(&self) -> LinuxSeccompArg {
        let mut arg = LinuxSeccompArgBuilder::default()
            .index(self.index)
            .value(self.value)
            .op(self.op);
        if let Some(two) = self.value_two {
            arg = arg.value_two(two);
        }
        // Every field has a value, so there is nothing to fail; the tests compare with the source.
        arg.build().unwrap_or_default()
    }

    fn equals(&self, arg: &LinuxSeccompArg) -> bool {
        self.index == arg.index()
            && self.value == arg.value()
            && self.value_two == arg.value_two()
            && self.op == arg.op()
    }
}
