//! What happens to every number of an interface: a policy, turned around.
//!
//! The result is a [`Ladder`], the ranges of all 2^32 numbers with the decision for each.

use crate::abi::{Abi, Block, X32_BIT};
use crate::multiplexer::{Detour, MULTIPLEXERS, detour, leniency};
use crate::policy::{Condition, Policy, Rule};
use crate::table::{Numbers, Table};
use std::collections::BTreeMap;

/// For numbers newer than the profile: what a kernel without the call says.
pub(crate) const NO_SUCH_CALL: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();

/// For interfaces that are not listed, as libseccomp does.
pub(crate) const BAD_ARCH: u32 = libc::SECCOMP_RET_KILL_THREAD;

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Decision {
    /// The same for any arguments.
    Always(u32),
    /// The first case whose conditions all hold, else the action behind them.
    Cases(Vec<Case>, u32),
}

/// An action that has conditions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Case {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) action: u32,
}

/// All numbers in order: the first of each range and what happens in it. Begins with 0.
pub(crate) type Ladder = Vec<(u32, Decision)>;

/// What the rules say of one call.
#[derive(Debug, Default)]
struct Call {
    /// Decides alone, wherever its rule stands.
    always: Option<u32>,
    cases: Vec<Case>,
}

impl Call {
    fn add(&mut self, alternatives: &[Vec<Condition>], action: u32) {
        for conditions in alternatives {
            if conditions.is_empty() {
                self.always.get_or_insert(action);
                return;
            }
            self.cases.push(Case {
                conditions: conditions.clone(),
                action,
            });
        }
    }

    fn decision(self, default: u32, narrow: bool) -> Decision {
        if let Some(action) = self.always {
            return Decision::Always(action);
        }
        let mut otherwise = default;
        let mut cases = Vec::new();
        for mut case in self.cases {
            // What is decided already needs no instructions.
            let known = |condition: &Condition| condition.known(narrow);
            if case
                .conditions
                .iter()
                .any(|condition| known(condition) == Some(false))
            {
                continue;
            }
            case.conditions
                .retain(|condition| known(condition).is_none());
            if case.conditions.is_empty() {
                otherwise = case.action;
                break;
            }
            cases.push(case);
        }
        while cases.pop_if(|last| last.action == otherwise).is_some() {}
        if cases.is_empty() {
            Decision::Always(otherwise)
        } else {
            Decision::Cases(cases, otherwise)
        }
    }
}

/// A policy with every name looked up once.
#[derive(Debug)]
pub(crate) struct Book<'a> {
    policy: &'a Policy<'a>,
    /// What each name of each rule means; names that no interface has are left out.
    entries: Vec<Entry<'a>>,
    /// The multiplexers that the profile speaks about itself.
    spoken: Vec<&'static str>,
}

#[derive(Debug)]
struct Entry<'a> {
    rule: &'a Rule<'a>,
    numbers: Numbers,
    /// The other way to the call on 32-bit x86, by number and first argument.
    detour: Option<(Detour, u32)>,
}

impl<'a> Book<'a> {
    pub(crate) fn new(policy: &'a Policy<'a>) -> Self {
        let table = Table::read();
        let x86 = policy.abis.contains(&Abi::X86);
        let mut book = Self {
            policy,
            entries: Vec::new(),
            spoken: Vec::new(),
        };
        for rule in &policy.rules {
            for name in rule.names {
                let Some(numbers) = table.numbers(name) else {
                    continue;
                };
                book.spoken
                    .extend(MULTIPLEXERS.iter().filter(|known| *known == name));
                let detour = detour(name).filter(|_| x86);
                let detour = detour.and_then(|detour| {
                    let number = table.numbers(detour.through)?.on(Abi::X86)?;
                    Some((detour, number))
                });
                book.entries.push(Entry {
                    rule,
                    numbers,
                    detour,
                });
            }
        }
        book
    }

    /// The ladder of all interfaces that share the `AUDIT_ARCH_*` value `audit_arch`.
    pub(crate) fn ladder(&self, audit_arch: u32) -> Ladder {
        let mut ladder = vec![(0, Decision::Always(BAD_ARCH))];
        if audit_arch == Abi::X86_64.audit_arch() {
            ladder.push((X32_BIT, Decision::Always(BAD_ARCH)));
            // -1 is what a tracer leaves to skip a call: no call of x32, and never a reason to kill.
            ladder.push((u32::MAX, Decision::Always(beyond(self.policy.default))));
        }
        let abis = self.policy.abis.iter();
        for abi in abis.filter(|abi| abi.audit_arch() == audit_arch) {
            let calls = self.calls(*abi);
            for block in abi.blocks() {
                ladder.retain(|(first, _)| !(block.first..=block.last).contains(first));
                ladder.extend(self.steps(*abi, *block, &calls));
            }
        }
        ladder.sort_by_key(|(first, _)| *first);
        ladder.dedup_by(|next, previous| next.1 == previous.1);
        ladder
    }

    /// The calls that rules decide. A rule whose action is the default one is redundant; runc skips
    /// it too, before it could hide a later rule.
    fn calls(&self, abi: Abi) -> BTreeMap<u32, Decision> {
        let default = self.policy.default;
        let mut calls: BTreeMap<u32, Call> = BTreeMap::new();
        for entry in self
            .entries
            .iter()
            .filter(|entry| entry.rule.action != default)
        {
            let action = entry.rule.action;
            if let Some(number) = entry.numbers.on(abi) {
                let call = calls.entry(number).or_default();
                call.add(&entry.rule.alternatives, action);
            }
            if let Some((detour, number)) = entry.detour.filter(|_| abi == Abi::X86)
                && self.takes(entry.rule, detour)
            {
                let call = calls.entry(number).or_default();
                call.add(&[vec![detour.selector]], action);
            }
        }
        let decided = calls.into_iter();
        let narrow = abi.is_narrow();
        decided
            .map(|(number, call)| (number, call.decision(default, narrow)))
            .collect()
    }

    /// Whether a rule about a call also holds for the multiplexer through which it can be called.
    ///
    /// A rule stricter than the default holds there for any arguments, since they cannot be read. Any
    /// other holds only if it asks for no arguments and the profile does not speak about the
    /// multiplexer itself.
    fn takes(&self, rule: &Rule, detour: Detour) -> bool {
        let stricter = leniency(rule.action) < leniency(self.policy.default);
        stricter || (rule.is_unconditional() && !self.spoken.contains(&detour.through))
    }

    /// The ranges of one block: the calls that are decided, the default between them, and behind the
    /// newest call the profile names, `ENOSYS` where the default is to refuse.
    fn steps(&self, abi: Abi, block: Block, calls: &BTreeMap<u32, Decision>) -> Ladder {
        let default = self.policy.default;
        let mut steps = vec![(block.first, Decision::Always(default))];
        for (number, decision) in calls.range(block.first..=block.last) {
            steps.pop_if(|(first, _)| first == number);
            steps.push((*number, decision.clone()));
            if let Some(next) = number.checked_add(1).filter(|next| *next <= block.last) {
                steps.push((next, Decision::Always(default)));
            }
        }
        let numbers = self
            .entries
            .iter()
            .filter_map(|entry| entry.numbers.on(abi));
        let newest = numbers
            .filter(|number| (block.first..=block.last).contains(number))
            .max();
        let unknown = newest.and_then(|newest| newest.checked_add(1));
        if let Some(unknown) = unknown.filter(|unknown| *unknown <= block.last) {
            steps.retain(|(first, _)| *first < unknown);
            steps.push((unknown, Decision::Always(beyond(default))));
        }
        steps
    }
}

/// What happens to numbers beyond those the profile knows.
///
/// `ENOSYS` where the default action keeps a program from its call, since a newer call would look
/// forbidden instead of missing and no fallback would be tried. A tracer is expected to say itself
/// what is missing, as in runc.
fn beyond(default: u32) -> u32 {
    match default & libc::SECCOMP_RET_ACTION_FULL {
        libc::SECCOMP_RET_ALLOW | libc::SECCOMP_RET_LOG | libc::SECCOMP_RET_TRACE => default,
        _ => NO_SUCH_CALL,
    }
}
