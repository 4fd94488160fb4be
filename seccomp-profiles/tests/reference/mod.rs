//! What a profile means, written as directly as it can be: one call against all rules, no ranges, no
//! tree, no words of 32 bits. Also the table of calls, read in its own way.
#![allow(dead_code, reason = "each test binary uses a part")]

use crate::machine::{Call, ENOSYS, KILL};
use hostrun_seccomp_profiles::Abi;
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Op,
    LinuxSyscall,
};

use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("../../tables/syscalls.txt");
const X32: u32 = 0x4000_0000;

/// Every name with its number, as a filter sees it.
pub(crate) fn calls(abi: Abi) -> Vec<(&'static str, u32)> {
    let column = Abi::ALL.iter().position(|known| *known == abi).unwrap() + 1;
    let bit = if abi == Abi::X32 { X32 } else { 0 };
    let lines = TABLE.lines().skip(1);
    let numbers = lines.filter_map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        Some((words[0], words[column].parse::<u32>().ok()? + bit))
    });
    numbers.collect()
}

/// The number of one name.
pub(crate) fn number(abi: Abi, name: &str) -> Option<u32> {
    type Numbers = HashMap<&'static str, u32>;
    static TABLES: LazyLock<Vec<Numbers>> =
        LazyLock::new(|| Abi::ALL.map(|abi| calls(abi).into_iter().collect()).into());
    let index = Abi::ALL.iter().position(|known| *known == abi).unwrap();
    TABLES[index].get(name).copied()
}

pub(crate) fn value(action: Action, data: Option<u32>) -> u32 {
    action.as_u32(data)
}

/// What must happen to `call` under `profile` on a machine of `native`.
pub(crate) fn evaluate(profile: &LinuxSeccomp, native: Abi, call: &Call) -> u32 {
    let default = value(profile.default_action(), profile.default_errno_ret());
    let refuses = !matches!(
        profile.default_action(),
        Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace
    );
    let beyond = if refuses { ENOSYS } else { default };
    let Some(abi) = interface(native, call) else {
        return beyond;
    };
    let listed = profile
        .architectures()
        .iter()
        .flatten()
        .any(|arch| *arch == abi.to_oci());
    if abi != native && !listed {
        return KILL;
    }
    let block = |number: u32| match abi {
        Abi::X32 => number >= X32 + 512,
        Abi::Arm => number >= 0x000f_0000,
        _ => false,
    };
    let rules: Vec<_> = profile.syscalls().iter().flatten().collect();
    let known = rules
        .iter()
        .flat_map(|rule| rule.names())
        .filter_map(|name| number(abi, name));
    let newest = known
        .filter(|known| block(*known) == block(call.number))
        .max();
    if newest.is_some_and(|newest| call.number > newest) {
        return beyond;
    }
    let effective: Vec<_> = rules
        .iter()
        .filter(|rule| value(rule.action(), rule.errno_ret()) != default)
        .flat_map(|rule| claims(profile, rule, abi, call, default))
        .collect();
    let always = effective.iter().find(|(holds, _)| holds.is_none());
    let first = always.or_else(|| effective.iter().find(|(holds, _)| *holds == Some(true)));
    first.map_or(default, |(_, action)| *action)
}

/// The interface of a call; none for the number -1 on x86-64.
fn interface(native: Abi, call: &Call) -> Option<Abi> {
    let same = |abi: &Abi| abi.audit_arch() == call.arch;
    match Abi::ALL.into_iter().find(same) {
        Some(Abi::X86_64) if call.number == u32::MAX => None,
        Some(Abi::X86_64) if call.number >= X32 => Some(Abi::X32),
        Some(abi) => Some(abi),
        None => Some(native),
    }
}

/// What one rule claims about a call: for each name that means it, its action and whether its
/// conditions hold, none if it has none.
fn claims(
    profile: &LinuxSeccomp,
    rule: &LinuxSyscall,
    abi: Abi,
    call: &Call,
    default: u32,
) -> Vec<(Option<bool>, u32)> {
    let action = value(rule.action(), rule.errno_ret());
    let args = rule.args().as_deref().unwrap_or_default();
    let mut claims = Vec::new();
    for name in rule.names() {
        if number(abi, name) == Some(call.number) {
            let holds = (!args.is_empty()).then(|| hold(args, abi, call));
            claims.push((holds, action));
        }
        if abi == Abi::X86
            && let Some((through, selected)) = multiplexed(name, call.args[0])
            && number(abi, through) == Some(call.number)
        {
            let all = profile.syscalls().iter().flatten();
            let spoken = all
                .flat_map(LinuxSyscall::names)
                .any(|name| name == through);
            if stricter(action, default) || (args.is_empty() && !spoken) {
                claims.push((Some(selected), action));
            }
        }
    }
    claims
}

/// KILL_PROCESS is the strictest, then the numbers of the actions as they rise.
fn stricter(a: u32, b: u32) -> bool {
    let rank = |action: u32| (action & 0xffff_0000).cast_signed();
    rank(a) < rank(b)
}

fn multiplexed(name: &str, selector: u64) -> Option<(&'static str, bool)> {
    let selector = u32::try_from(selector & 0xffff_ffff).unwrap();
    Some(match name {
        "socket" => ("socketcall", selector == 1),
        "connect" => ("socketcall", selector == 3),
        "sendmmsg" => ("socketcall", selector == 20),
        "semop" => ("ipc", selector & 0xffff == 1),
        "shmget" => ("ipc", selector & 0xffff == 23),
        _ => return None,
    })
}

fn hold(args: &[LinuxSeccompArg], abi: Abi, call: &Call) -> bool {
    let twice = args
        .iter()
        .any(|a| args.iter().filter(|b| a.index() == b.index()).count() > 1);
    let mut each = args
        .iter()
        .map(|arg| holds(arg, abi, call.args[arg.index()]));
    if twice {
        each.any(|holds| holds)
    } else {
        each.all(|holds| holds)
    }
}

fn holds(arg: &LinuxSeccompArg, abi: Abi, actual: u64) -> bool {
    let narrow = matches!(abi, Abi::X86 | Abi::Arm);
    let width = if narrow { 0xffff_ffff } else { u64::MAX };
    let actual = actual & width;
    let asked = arg.value();
    match arg.op() {
        Op::ScmpCmpEq => actual == asked & width,
        Op::ScmpCmpNe => actual != asked & width,
        Op::ScmpCmpLt => actual < asked,
        Op::ScmpCmpLe => actual <= asked,
        Op::ScmpCmpGt => actual > asked,
        Op::ScmpCmpGe => actual >= asked,
        Op::ScmpCmpMaskedEq => actual & asked == arg.value_two().unwrap_or(0) & asked & width,
    }
}
