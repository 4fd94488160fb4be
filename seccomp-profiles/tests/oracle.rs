//! Random profiles: our program, the plain reference and seccompiler decide alike.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests and their helpers may panic"
)]

mod machine;
mod reference;

use hostrun_seccomp_profiles::{Abi, compile_for};
use machine::{Call, run, verify};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator as Op, LinuxSyscall,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Some calls next to each other, some far away, some multiplexed, some on one interface only, one
/// that nobody has.
const NAMES: [&str; 24] = [
    "read",
    "write",
    "open",
    "close",
    "stat",
    "fstat",
    "ioctl",
    "socket",
    "connect",
    "sendmmsg",
    "socketcall",
    "ipc",
    "semop",
    "shmget",
    "clone",
    "clone3",
    "pwritev2",
    "set_tls",
    "cacheflush",
    "mseal",
    "personality",
    "execveat",
    "removexattrat",
    "no_such_call",
];

const VALUES: [u64; 12] = [
    0,
    1,
    2,
    3,
    0xff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0xffff_ffff_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![3 => select(VALUES.to_vec()), 1 => any::<u64>()]
}

fn op() -> impl Strategy<Value = Op> {
    select(vec![
        Op::ScmpCmpNe,
        Op::ScmpCmpLt,
        Op::ScmpCmpLe,
        Op::ScmpCmpEq,
        Op::ScmpCmpGe,
        Op::ScmpCmpGt,
        Op::ScmpCmpMaskedEq,
    ])
}

prop_compose! {
    fn arg()(index in 0..6_usize, value in value(), two in value(), op in op()) -> LinuxSeccompArg {
        let builder = LinuxSeccompArgBuilder::default().index(index).value(value).op(op);
        builder.value_two(two).build().unwrap()
    }
}

fn action() -> impl Strategy<Value = (Action, Option<u32>)> {
    prop_oneof![
        Just((Action::ScmpActAllow, None)),
        Just((Action::ScmpActLog, None)),
        Just((Action::ScmpActTrap, None)),
        Just((Action::ScmpActKillThread, None)),
        Just((Action::ScmpActKillProcess, None)),
        (0..200_u32).prop_map(|errno| (Action::ScmpActErrno, Some(errno))),
        (0..200_u32).prop_map(|data| (Action::ScmpActTrace, Some(data))),
        Just((Action::ScmpActErrno, None)),
    ]
}

prop_compose! {
    fn rule()(
        names in subsequence(NAMES.to_vec(), 1..5),
        (action, errno) in action(),
        args in proptest::collection::vec(arg(), 0..4),
    ) -> LinuxSyscall {
        let mut rule = LinuxSyscall::default();
        rule.set_names(names.into_iter().map(str::to_owned).collect())
            .set_action(action)
            .set_errno_ret(errno)
            .set_args((!args.is_empty()).then_some(args));
        rule
    }
}

prop_compose! {
    fn profile(arches: Vec<Arch>)(
        (action, errno) in action(),
        rules in proptest::collection::vec(rule(), 0..12),
        arches in subsequence(arches.clone(), 0..=arches.len()),
    ) -> LinuxSeccomp {
        let mut profile = LinuxSeccomp::default();
        profile
            .set_default_action(action)
            .set_default_errno_ret(errno)
            .set_architectures(Some(arches))
            .set_syscalls(Some(rules));
        profile
    }
}

/// Nothing is written into the source tree; what once failed becomes a test of its own.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        max_shrink_time: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Every number a rule may be about, its neighbours, and the ends of all ranges.
fn numbers(abi: Abi) -> Vec<u32> {
    let mut numbers = vec![
        0,
        466,
        467,
        511,
        512,
        548,
        0x3fff_ffff,
        0x4000_0000,
        0x4000_01ff,
    ];
    numbers.extend([
        0x4000_0200,
        0x4000_0300,
        0x000e_ffff,
        0x000f_0000,
        0x000f_0007,
        u32::MAX,
    ]);
    numbers.push(u32::MAX - 1);
    for number in NAMES.iter().filter_map(|name| reference::number(abi, name)) {
        numbers.extend([number.saturating_sub(1), number, number + 1]);
    }
    numbers
}

fn compare(profile: &LinuxSeccomp, native: Abi, args: &[u64]) -> Result<(), TestCaseError> {
    let filter = compile_for(profile, native).unwrap();
    verify(filter.program());
    let family: &[Abi] = match native {
        Abi::Aarch64 | Abi::Arm => &[Abi::Aarch64, Abi::Arm],
        _ => &[Abi::X86_64, Abi::X86, Abi::X32],
    };
    for abi in family {
        for number in numbers(*abi) {
            let call = Call::new(*abi, number, args);
            let (ours, _) = run(filter.program(), &call);
            let theirs = reference::evaluate(profile, native, &call);
            prop_assert_eq!(ours, theirs, "{:?} {:x} {:x?}", abi, number, args);
        }
    }
    Ok(())
}

fn arguments() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(value(), 6)
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn x86_programs_decide_as_the_reference(
        profile in profile(vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32]),
        args in arguments(),
    ) {
        compare(&profile, Abi::X86_64, &args)?;
    }

    #[test]
    fn arm_programs_decide_as_the_reference(
        profile in profile(vec![Arch::ScmpArchArm, Arch::ScmpArchAarch64, Arch::ScmpArchX86]),
        args in arguments(),
    ) {
        compare(&profile, Abi::Aarch64, &args)?;
    }
}

/// The part of a profile that seccompiler can say: one interface, two actions, conditions of a rule
/// about different arguments.
fn seccompiler_program(profile: &LinuxSeccomp) -> Option<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut always = Vec::new();
    let mut matched = None;
    for rule in profile.syscalls().iter().flatten() {
        matched = Some(rule.action());
        let mut conditions = Vec::new();
        for arg in rule.args().iter().flatten() {
            conditions.push(seccompiler_condition(arg));
        }
        for number in rule
            .names()
            .iter()
            .filter_map(|n| reference::number(Abi::X86_64, n))
        {
            let rules = rules.entry(i64::from(number)).or_default();
            if conditions.is_empty() {
                always.push(i64::from(number));
            } else {
                rules.push(SeccompRule::new(conditions.clone()).unwrap());
            }
        }
    }
    // An empty list is its way to say "for any arguments".
    for number in always {
        rules.insert(number, Vec::new());
    }
    let default = seccompiler_action(profile.default_action());
    let filter = SeccompFilter::new(
        rules,
        default,
        seccompiler_action(matched?),
        TargetArch::x86_64,
    );
    filter.ok()?.try_into().ok()
}

fn seccompiler_action(action: Action) -> SeccompAction {
    match action {
        Action::ScmpActAllow => SeccompAction::Allow,
        Action::ScmpActLog => SeccompAction::Log,
        Action::ScmpActTrap => SeccompAction::Trap,
        Action::ScmpActKillProcess => SeccompAction::KillProcess,
        Action::ScmpActErrno => SeccompAction::Errno(1),
        _ => SeccompAction::Trace(1),
    }
}

fn seccompiler_condition(arg: &LinuxSeccompArg) -> SeccompCondition {
    let (op, value) = match arg.op() {
        Op::ScmpCmpNe => (SeccompCmpOp::Ne, arg.value()),
        Op::ScmpCmpLt => (SeccompCmpOp::Lt, arg.value()),
        Op::ScmpCmpLe => (SeccompCmpOp::Le, arg.value()),
        Op::ScmpCmpEq => (SeccompCmpOp::Eq, arg.value()),
        Op::ScmpCmpGe => (SeccompCmpOp::Ge, arg.value()),
        Op::ScmpCmpGt => (SeccompCmpOp::Gt, arg.value()),
        Op::ScmpCmpMaskedEq => (
            SeccompCmpOp::MaskedEq(arg.value()),
            arg.value_two().unwrap_or(0),
        ),
    };
    let index = u8::try_from(arg.index()).unwrap();
    SeccompCondition::new(index, SeccompCmpArgLen::Qword, op, value).unwrap()
}

fn two_actions() -> impl Strategy<Value = (Action, Action)> {
    let actions = vec![
        Action::ScmpActAllow,
        Action::ScmpActLog,
        Action::ScmpActTrap,
        Action::ScmpActKillProcess,
        Action::ScmpActErrno,
        Action::ScmpActTrace,
    ];
    (select(actions.clone()), select(actions)).prop_filter("two actions", |(a, b)| a != b)
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn seccompiler_decides_the_same(
        profile in profile(vec![]),
        (default, matched) in two_actions(),
        args in arguments(),
    ) {
        let mut profile = profile;
        profile.set_default_action(default).set_default_errno_ret(None);
        let mut rules = profile.syscalls().clone().unwrap_or_default();
        for rule in &mut rules {
            rule.set_action(matched).set_errno_ret(None);
            if let Some(mut args) = rule.args().clone() {
                args.sort_by_key(LinuxSeccompArg::index);
                args.dedup_by_key(|arg| arg.index());
                rule.set_args(Some(args));
            }
        }
        profile.set_syscalls(Some(rules));
        let Some(theirs) = seccompiler_program(&profile) else { return Ok(()) };
        let theirs: Vec<_> = theirs
            .iter()
            .map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k })
            .collect();
        let ours = compile_for(&profile, Abi::X86_64).unwrap();
        let all = profile.syscalls().iter().flatten().flat_map(LinuxSyscall::names);
        let newest = all.filter_map(|name| reference::number(Abi::X86_64, name)).max();
        // Behind it we say ENOSYS, which it cannot.
        for number in 0..=newest.unwrap_or(0) {
            let call = Call::new(Abi::X86_64, number, &args);
            prop_assert_eq!(
                run(ours.program(), &call).0, run(&theirs, &call).0, "{} {:x?}", number, args
            );
        }
    }
}
