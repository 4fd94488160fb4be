//! What a profile says, checked and with every action as the number the kernel takes.
//!
//! Nothing here knows of numbers of system calls or of instructions. What a profile leaves open is
//! decided here as runc does it (see [`crate::compile`]).

use crate::abi::Abi;
use crate::error::{Error, ErrorKind};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

/// The highest error number the kernel passes on (`linux/err.h`, `MAX_ERRNO`).
const MAX_ERRNO: u32 = 4095;
/// The bits of an action that carry its data (`SECCOMP_RET_DATA`).
const MAX_DATA: u32 = 0xffff;

/// A checked profile.
#[derive(Debug)]
pub(crate) struct Policy<'a> {
    /// The action for calls that no rule decides.
    pub(crate) default: u32,
    /// In the order of the profile.
    pub(crate) rules: Vec<Rule<'a>>,
    /// The native interface first, then the others that are listed; each once.
    pub(crate) abis: Vec<Abi>,
}

/// One entry of `syscalls`.
#[derive(Debug)]
pub(crate) struct Rule<'a> {
    pub(crate) names: &'a [String],
    pub(crate) action: u32,
    /// The rule holds where all conditions of one of these hold.
    pub(crate) alternatives: Vec<Vec<Condition>>,
}

impl Rule<'_> {
    /// Whether the rule holds for any arguments.
    pub(crate) fn is_unconditional(&self) -> bool {
        self.alternatives.iter().any(Vec::is_empty)
    }
}

/// A comparison of one argument with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Condition {
    /// 0 to 5.
    pub(crate) argument: u8,
    pub(crate) comparison: Comparison,
}

impl Condition {
    /// Whether it holds, where that does not depend on the argument. `narrow` arguments have 32 bits;
    /// of the constant, then, only so many count when bits are compared.
    pub(crate) fn known(&self, narrow: bool) -> Option<bool> {
        let most = if narrow {
            u64::from(u32::MAX)
        } else {
            u64::MAX
        };
        match self.comparison {
            Comparison::Equal(_) | Comparison::NotEqual(_) => None,
            Comparison::Masked { mask, .. } => (mask & most == 0).then_some(true),
            Comparison::Less(0) => Some(false),
            Comparison::Less(value) => (value > most).then_some(true),
            Comparison::LessOrEqual(value) => (value >= most).then_some(true),
            Comparison::Greater(value) => (value >= most).then_some(false),
            Comparison::GreaterOrEqual(0) => Some(true),
            Comparison::GreaterOrEqual(value) => (value > most).then_some(false),
        }
    }

    /// Whether it holds for these first arguments; `None` where it is about another one.
    fn holds(&self, arguments: &[u64]) -> Option<bool> {
        let argument = *arguments.get(usize::from(self.argument))?;
        Some(match self.comparison {
            Comparison::Equal(value) => argument == value,
            Comparison::NotEqual(value) => argument != value,
            Comparison::Less(value) => argument < value,
            Comparison::LessOrEqual(value) => argument <= value,
            Comparison::Greater(value) => argument > value,
            Comparison::GreaterOrEqual(value) => argument >= value,
            Comparison::Masked { mask, value } => argument & mask == value,
        })
    }
}

/// What an argument is compared with, as unsigned numbers of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Comparison {
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Greater(u64),
    GreaterOrEqual(u64),
    /// The bits of `mask` are those of `value`, which has no others.
    Masked {
        mask: u64,
        value: u64,
    },
}

/// Reads and checks `profile` for a machine whose native interface is `native`.
pub(crate) fn read(profile: &LinuxSeccomp, native: Abi) -> Result<Policy<'_>, Error> {
    let default = default_action(profile)?;
    let mut rules = Vec::new();
    for (index, entry) in profile.syscalls().iter().flatten().enumerate() {
        rules.push(rule(entry, index)?);
    }
    refuse_mute(default, &rules)?;
    let mut abis = vec![native];
    for arch in profile.architectures().iter().flatten() {
        match Abi::from_oci(*arch, native) {
            Some(abi) if abi.shares_kernel_with(native) && !abis.contains(&abi) => abis.push(abi),
            // No process of this machine can have it, so there is nothing to decide.
            _ => {}
        }
    }
    Ok(Policy {
        default,
        rules,
        abis,
    })
}

/// By `sendmsg` the agent gets its listener, so a profile that asks one must let it through.
fn refuse_mute(default: u32, rules: &[Rule<'_>]) -> Result<(), Error> {
    if !rules
        .iter()
        .any(|rule| rule.action == libc::SECCOMP_RET_USER_NOTIF)
    {
        return Ok(());
    }
    let passes = |action: u32| [libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_LOG].contains(&action);
    let named = |rule: &&Rule<'_>| rule.names.iter().any(|name| name == "sendmsg");
    let mut about = rules.iter().filter(named);
    let decided = about.clone().find(|rule| rule.is_unconditional());
    let free = match decided {
        Some(rule) => passes(rule.action),
        None => passes(default) && about.all(|rule| passes(rule.action)),
    };
    if free {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Contradiction,
        "syscalls",
        "SCMP_ACT_NOTIFY needs the sendmsg syscall to be allowed: by it the agent gets its listener",
    ))
}

/// Are calls of all these names let through, whatever their arguments are? As one rule decides them, and
/// as [`Book`](crate::decision::Book) reads rules.
pub(crate) fn allows(policy: &Policy<'_>, names: &[&str]) -> bool {
    names.iter().all(|name| allows_call(policy, name, &[]))
}

/// The same for one call of which the first arguments are known.
pub(crate) fn allows_call(policy: &Policy<'_>, name: &str, arguments: &[u64]) -> bool {
    let about = |rule: &&Rule<'_>| {
        rule.action != policy.default && rule.names.iter().any(|named| named == name)
    };
    let about = policy.rules.iter().filter(about);
    let decided = match about.clone().find(|rule| rule.is_unconditional()) {
        Some(rule) => Some(rule.action),
        None => first_that_holds(about, policy.default, arguments),
    };
    decided == Some(libc::SECCOMP_RET_ALLOW)
}

/// What the rules decide, in their order; `None` where it depends on arguments that are not known.
fn first_that_holds<'a>(
    rules: impl Iterator<Item = &'a Rule<'a>>,
    default: u32,
    arguments: &[u64],
) -> Option<u32> {
    for rule in rules {
        for conditions in &rule.alternatives {
            let held: Option<Vec<bool>> = conditions
                .iter()
                .map(|condition| condition.holds(arguments))
                .collect();
            if held?.into_iter().all(|holds| holds) {
                return Some(rule.action);
            }
        }
    }
    Some(default)
}

fn default_action(profile: &LinuxSeccomp) -> Result<u32, Error> {
    if profile.default_action() == LinuxSeccompAction::ScmpActNotify {
        return Err(Error::new(
            ErrorKind::Contradiction,
            "defaultAction",
            "SCMP_ACT_NOTIFY cannot be used as default action",
        ));
    }
    let data = profile.default_errno_ret();
    action(profile.default_action(), data, "defaultErrnoRet")
}

fn rule(entry: &LinuxSyscall, index: usize) -> Result<Rule<'_>, Error> {
    let path = format!("syscalls[{index}]");
    if entry.names().is_empty() || entry.names().iter().any(String::is_empty) {
        let at = format!("{path}.names");
        return Err(Error::new(ErrorKind::Range, at, "a name is missing"));
    }
    let notify = entry.action() == LinuxSeccompAction::ScmpActNotify;
    // Whoever starts the program cannot wait for the agent in the call by which the agent gets to
    // hear of it: write with other runtimes, sendmsg with ours.
    let needed = |name: &&String| ["write", "sendmsg"].contains(&name.as_str());
    if let Some(name) = entry.names().iter().find(needed).filter(|_| notify) {
        return Err(Error::new(
            ErrorKind::Contradiction,
            format!("{path}.action"),
            format!("SCMP_ACT_NOTIFY cannot be used for the {name} syscall"),
        ));
    }
    Ok(Rule {
        names: entry.names(),
        action: action(
            entry.action(),
            entry.errno_ret(),
            &format!("{path}.errnoRet"),
        )?,
        alternatives: alternatives(entry.args().as_deref().unwrap_or_default(), &path)?,
    })
}

/// All conditions together; each alone where one argument is named twice, as runc and crun do.
fn alternatives(args: &[LinuxSeccompArg], path: &str) -> Result<Vec<Vec<Condition>>, Error> {
    let mut conditions: Vec<Condition> = Vec::new();
    let mut twice = false;
    for (index, arg) in args.iter().enumerate() {
        let condition = condition(arg, &format!("{path}.args[{index}].index"))?;
        twice |= conditions.iter().any(|c| c.argument == condition.argument);
        conditions.push(condition);
    }
    Ok(if twice {
        conditions.into_iter().map(|one| vec![one]).collect()
    } else {
        vec![conditions]
    })
}

fn condition(arg: &LinuxSeccompArg, path: &str) -> Result<Condition, Error> {
    let argument = match u8::try_from(arg.index()) {
        Ok(index) if index < 6 => index,
        _ => {
            let reason = format!("{} is no argument, they are 0 to 5", arg.index());
            return Err(Error::new(ErrorKind::Range, path, reason));
        }
    };
    let value = arg.value();
    let comparison = match arg.op() {
        LinuxSeccompOperator::ScmpCmpEq => Comparison::Equal(value),
        LinuxSeccompOperator::ScmpCmpNe => Comparison::NotEqual(value),
        LinuxSeccompOperator::ScmpCmpLt => Comparison::Less(value),
        LinuxSeccompOperator::ScmpCmpLe => Comparison::LessOrEqual(value),
        LinuxSeccompOperator::ScmpCmpGt => Comparison::Greater(value),
        LinuxSeccompOperator::ScmpCmpGe => Comparison::GreaterOrEqual(value),
        LinuxSeccompOperator::ScmpCmpMaskedEq => Comparison::Masked {
            mask: value,
            value: arg.value_two().unwrap_or(0) & value,
        },
    };
    Ok(Condition {
        argument,
        comparison,
    })
}

/// The number the kernel takes for `action` (`linux/seccomp.h`, `SECCOMP_RET_*`).
fn action(action: LinuxSeccompAction, data: Option<u32>, path: &str) -> Result<u32, Error> {
    let most = match action {
        LinuxSeccompAction::ScmpActErrno => MAX_ERRNO,
        LinuxSeccompAction::ScmpActTrace => MAX_DATA,
        // config-linux: the runtime must fail where the action takes no number.
        _ if data.is_some() => {
            let reason = format!("{action} takes no error number");
            return Err(Error::new(ErrorKind::Contradiction, path, reason));
        }
        _ => 0,
    };
    if let Some(data) = data.filter(|data| *data > most) {
        let reason = format!("{data} is above {most}");
        return Err(Error::new(ErrorKind::Range, path, reason));
    }
    let data = data.unwrap_or(libc::EPERM.unsigned_abs());
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            libc::SECCOMP_RET_KILL_THREAD
        }
        LinuxSeccompAction::ScmpActKillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => libc::SECCOMP_RET_TRAP,
        LinuxSeccompAction::ScmpActErrno => libc::SECCOMP_RET_ERRNO | data,
        LinuxSeccompAction::ScmpActNotify => libc::SECCOMP_RET_USER_NOTIF,
        LinuxSeccompAction::ScmpActTrace => libc::SECCOMP_RET_TRACE | data,
        LinuxSeccompAction::ScmpActLog => libc::SECCOMP_RET_LOG,
        LinuxSeccompAction::ScmpActAllow => libc::SECCOMP_RET_ALLOW,
    })
}
