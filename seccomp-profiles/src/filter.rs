//! A compiled profile, and the way from one to the other.

use crate::abi::Abi;
use crate::builtin;
use crate::error::{Error, ErrorKind};
use crate::native::NATIVE;
use crate::policy;
use crate::program::assemble;
use libc::sock_filter;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag};
use std::borrow::Cow;

/// A program for `seccomp(2)` and what to install it with.
#[derive(Debug, Clone)]
pub struct Filter {
    program: Cow<'static, [sock_filter]>,
    flags: u32,
    notify: bool,
}

impl Filter {
    /// The instructions, 1 to 4096; borrowed where the profile is the default one.
    pub fn program(&self) -> &[sock_filter] {
        &self.program
    }

    /// The instructions, given away.
    pub fn into_program(self) -> Cow<'static, [sock_filter]> {
        self.program
    }

    /// `SECCOMP_FILTER_FLAG_*` for `seccomp(2)`; with `NEW_LISTENER` where [`Filter::notify`] holds.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Whether any call waits for an agent, so that installing the program gives a listener.
    pub fn notify(&self) -> bool {
        self.notify
    }
}

/// Compiles a profile for this machine.
///
/// What OCI leaves open is decided as runc decides it (runtime-spec config-linux, "Seccomp"):
///
/// * A rule whose action is the default action says nothing, but its names count as known.
/// * A rule without arguments decides a call alone, wherever it stands; the first of several wins.
/// * Rules with arguments are tried in their order; the first that holds wins. Conditions of one rule
///   must all hold, unless two are about the same argument: then one is enough.
/// * Names that an interface lacks are ignored there. Numbers above the newest that the profile names
///   give `ENOSYS`, unless the default action lets calls through or asks a tracer.
/// * Interfaces that are not listed are killed, the native one is always listed. Interfaces that
///   processes of this machine cannot have are ignored.
/// * On 32-bit x86, rules about sockets and System V IPC also hold for `socketcall` and `ipc`.
/// * Without `flags` the flag is `SPEC_ALLOW`; an empty list means no flag.
///
/// # Errors
///
/// [`ErrorKind::Range`] for an argument, error number or name out of range,
/// [`ErrorKind::Contradiction`] for what the kernel or the specification refuses,
/// [`ErrorKind::TooLarge`] above 4096 instructions.
pub fn compile(profile: &LinuxSeccomp) -> Result<Filter, Error> {
    if builtin::is_default(profile) {
        return finish(profile, Cow::Borrowed(builtin::PROGRAM));
    }
    compile_for(profile, NATIVE)
}

/// Compiles a profile for a machine whose native interface is `native`, without looking whether it
/// is the default one.
///
/// # Errors
///
/// As [`compile`].
pub fn compile_for(profile: &LinuxSeccomp, native: Abi) -> Result<Filter, Error> {
    let policy = policy::read(profile, native)?;
    finish(profile, Cow::Owned(assemble(&policy)?))
}

/// Are calls of all these names let through by a profile on this machine, whatever their arguments are?
/// False where it cannot be compiled.
pub fn allows(profile: &LinuxSeccomp, names: &[&str]) -> bool {
    policy::read(profile, NATIVE).is_ok_and(|policy| policy::allows(&policy, names))
}

/// Is a call let through whose first arguments are these, whatever the others are? False where that
/// depends on them, or where the profile cannot be compiled.
pub fn allows_call(profile: &LinuxSeccomp, name: &str, arguments: &[u64]) -> bool {
    policy::read(profile, NATIVE).is_ok_and(|policy| policy::allows_call(&policy, name, arguments))
}

/// The program with what it is to be installed with.
pub(crate) fn finish(
    profile: &LinuxSeccomp,
    program: Cow<'static, [sock_filter]>,
) -> Result<Filter, Error> {
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let asks = |i: &sock_filter| i.code == RETURN && i.k == libc::SECCOMP_RET_USER_NOTIF;
    let notify = program.iter().any(asks);
    Ok(Filter {
        flags: flags(profile, notify)?,
        program,
        notify,
    })
}

// linux/seccomp.h; libc has them as 64-bit numbers.
const LOG: u32 = 1 << 1;
const SPEC_ALLOW: u32 = 1 << 2;
const NEW_LISTENER: u32 = 1 << 3;
const WAIT_KILLABLE_RECV: u32 = 1 << 5;

fn flags(profile: &LinuxSeccomp, notify: bool) -> Result<u32, Error> {
    let mut flags = if notify { NEW_LISTENER } else { 0 };
    let Some(listed) = profile.flags() else {
        return Ok(flags | SPEC_ALLOW);
    };
    for (index, flag) in listed.iter().enumerate() {
        flags |= match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => SPEC_ALLOW,
            // Whoever installs the filter just before a program has no other thread to bring along.
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if notify => {
                WAIT_KILLABLE_RECV
            }
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                let path = format!("flags[{index}]");
                let reason = "needs a rule with the action SCMP_ACT_NOTIFY";
                return Err(Error::new(ErrorKind::Contradiction, path, reason));
            }
        };
    }
    Ok(flags)
}
