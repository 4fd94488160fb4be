//! What profiles mean where OCI leaves it open, what is refused, and programs of any size.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests and their helpers may panic"
)]

mod machine;
mod reference;

use hostrun_seccomp_profiles::{Abi, ErrorKind, Filter, compile_for, load};
use machine::{ALLOW, Call, ENOSYS, EPERM, ERRNO, KILL, decide, run, verify};
use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

fn profile(value: &Value) -> LinuxSeccomp {
    load(&serde_json::to_vec(value).unwrap(), &[]).unwrap()
}

fn filter(value: &Value) -> Filter {
    let filter = compile_for(&profile(value), Abi::X86_64).unwrap();
    verify(filter.program());
    filter
}

/// A profile that refuses everything but `rules`, for all interfaces of x86.
fn allow_list(rules: &Value) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    })
}

fn rule(names: &[&str], action: &str, args: &Value) -> Value {
    json!({ "names": names, "action": action, "args": args })
}

const EXPECTED: &str = "\
\x20  0 ld arch
   1 jeq 0xc000003e 2 15
   2 ld number
   3 jge 0x40000000 13 4
   4 jge 0x87 6 5
   5 jge 0x2 12 11
   6 jge 0x88 14 7
   7 ld arg0 high
   8 jeq 0x0 9 12
   9 ld arg0 low
  10 jeq 0x8 11 12
  11 ret 0x7fff0000
  12 ret 0x50001
  13 jge 0xffffffff 14 15
  14 ret 0x50026
  15 ret 0x0
";

#[test]
fn small_program_reads_as_expected() {
    let text = machine::disassemble(
        filter(&json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                rule(&["read", "write"], "SCMP_ACT_ALLOW", &json!([])),
                rule(&["personality"], "SCMP_ACT_ALLOW", &json!([
                    { "index": 0, "value": 8, "op": "SCMP_CMP_EQ" },
                ])),
            ],
        }))
        .program(),
    );
    assert_eq!(text, EXPECTED);
}

#[test]
fn rule_without_arguments_wins_wherever_it_stands() {
    let condition = json!([{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }]);
    let mut rules = vec![
        rule(&["read"], "SCMP_ACT_TRAP", &condition),
        rule(&["read"], "SCMP_ACT_ALLOW", &json!([])),
        rule(&["read"], "SCMP_ACT_LOG", &json!([])),
    ];
    for _ in 0..2 {
        let filter = filter(&allow_list(&json!(rules)));
        assert_eq!(decide(&filter, Abi::X86_64, 0, &[1]), ALLOW);
        rules.swap(0, 1);
    }
}

#[test]
fn first_rule_that_holds_wins_and_rules_of_the_default_action_say_nothing() {
    let equal = |value: u64| json!([{ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }]);
    let above = json!([{ "index": 0, "value": 0, "op": "SCMP_CMP_GT" }]);
    let filter = filter(&allow_list(&json!([
        rule(&["read"], "SCMP_ACT_ERRNO", &equal(1)),
        rule(&["read"], "SCMP_ACT_TRAP", &equal(2)),
        rule(&["read"], "SCMP_ACT_ALLOW", &above),
        rule(&["read"], "SCMP_ACT_LOG", &equal(3)),
    ])));
    let decisions = [0, 1, 2, 3].map(|value| decide(&filter, Abi::X86_64, 0, &[value]));
    assert_eq!(decisions, [EPERM, ALLOW, 0x0003_0000, ALLOW]);
}

#[test]
fn two_conditions_on_one_argument_are_alternatives() {
    let args = |second: u64| {
        json!([
            { "index": 0, "value": 1, "op": "SCMP_CMP_EQ" },
            { "index": second, "value": 2, "op": "SCMP_CMP_EQ" },
        ])
    };
    let either = filter(&allow_list(&json!([rule(
        &["read"],
        "SCMP_ACT_ALLOW",
        &args(0)
    )])));
    let both = filter(&allow_list(&json!([rule(
        &["read"],
        "SCMP_ACT_ALLOW",
        &args(1)
    )])));
    for (values, one, two) in [
        ([1, 2], ALLOW, ALLOW),
        ([2, 0], ALLOW, EPERM),
        ([1, 0], ALLOW, EPERM),
    ] {
        assert_eq!(decide(&either, Abi::X86_64, 0, &values), one, "{values:?}");
        assert_eq!(decide(&both, Abi::X86_64, 0, &values), two, "{values:?}");
    }
}

#[test]
fn every_action_becomes_its_number() {
    for (action, errno, number) in [
        ("SCMP_ACT_KILL", None, 0),
        ("SCMP_ACT_KILL_THREAD", None, 0),
        ("SCMP_ACT_KILL_PROCESS", None, 0x8000_0000),
        ("SCMP_ACT_TRAP", None, 0x0003_0000),
        ("SCMP_ACT_ERRNO", Some(0), ERRNO),
        ("SCMP_ACT_ERRNO", Some(4095), ERRNO + 4095),
        ("SCMP_ACT_TRACE", None, 0x7ff0_0001),
        ("SCMP_ACT_TRACE", Some(0xffff), 0x7ff0_ffff),
        ("SCMP_ACT_LOG", None, 0x7ffc_0000),
        ("SCMP_ACT_ALLOW", None, ALLOW),
        ("SCMP_ACT_NOTIFY", None, 0x7fc0_0000),
    ] {
        let rule = json!({ "names": ["read"], "action": action, "errnoRet": errno });
        let sends = json!({ "names": ["sendmsg"], "action": "SCMP_ACT_ALLOW" });
        let filter = filter(&allow_list(&json!([rule, sends])));
        assert_eq!(decide(&filter, Abi::X86_64, 0, &[]), number, "{action}");
        assert_eq!(filter.notify(), action == "SCMP_ACT_NOTIFY");
    }
}

#[test]
fn default_action_with_its_errno_holds_for_what_is_not_listed() {
    let value = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
        "syscalls": [rule(&["write"], "SCMP_ACT_ALLOW", &json!([]))],
    });
    assert_eq!(decide(&filter(&value), Abi::X86_64, 0, &[]), ERRNO + 13);
    assert_eq!(decide(&filter(&value), Abi::X86_64, 2, &[]), ENOSYS);
}

#[test]
fn nothing_is_missing_or_killed_where_the_default_lets_calls_through() {
    for (action, number) in [
        ("SCMP_ACT_ALLOW", ALLOW),
        ("SCMP_ACT_LOG", 0x7ffc_0000),
        ("SCMP_ACT_TRACE", 0x7ff0_0001),
    ] {
        let filter = filter(&json!({
            "defaultAction": action,
            "syscalls": [rule(&["read"], "SCMP_ACT_KILL", &json!([]))],
        }));
        for call in [1, 300, 466, 5000, 0x3fff_ffff, u32::MAX] {
            assert_eq!(
                decide(&filter, Abi::X86_64, call, &[]),
                number,
                "{action} {call}"
            );
        }
        assert_eq!(decide(&filter, Abi::X86_64, 0, &[]), KILL);
    }
}

#[test]
fn interfaces_that_are_not_listed_are_killed() {
    let value = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_NATIVE", "SCMP_ARCH_S390X", "SCMP_ARCH_AARCH64"],
    });
    let filter = filter(&value);
    assert_eq!(decide(&filter, Abi::X86_64, 0, &[]), ALLOW);
    for (abi, number) in [(Abi::X86, 3), (Abi::X32, 0x4000_0000), (Abi::Aarch64, 63)] {
        assert_eq!(decide(&filter, abi, number, &[]), KILL, "{abi:?}");
    }
}

#[test]
fn a_denied_socket_call_is_denied_through_the_multiplexer_too() {
    let family = json!([{ "index": 0, "value": 38, "op": "SCMP_CMP_EQ" }]);
    let deny = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [rule(&["socket"], "SCMP_ACT_ERRNO", &family)],
    });
    let deny = filter(&deny);
    assert_eq!(decide(&deny, Abi::X86, 102, &[1]), EPERM);
    assert_eq!(decide(&deny, Abi::X86, 102, &[3]), ALLOW);
    let allow = filter(&allow_list(&json!([
        rule(&["connect", "shmget"], "SCMP_ACT_ALLOW", &json!([])),
        rule(&["socket"], "SCMP_ACT_ALLOW", &family),
    ])));
    assert_eq!(decide(&allow, Abi::X86, 102, &[3]), ALLOW);
    assert_eq!(decide(&allow, Abi::X86, 102, &[1]), EPERM);
    assert_eq!(decide(&allow, Abi::X86, 117, &[0x1_0017]), ALLOW);
    assert_eq!(decide(&allow, Abi::X86, 117, &[24]), EPERM);
}

#[test]
fn flags_are_those_of_the_kernel() {
    let read = |flags: Value, action: &str| {
        let sends = rule(&["sendmsg"], "SCMP_ACT_ALLOW", &json!([]));
        let mut value = allow_list(&json!([rule(&["read"], action, &json!([])), sends]));
        value["flags"] = flags;
        compile_for(&profile(&value), Abi::X86_64).map(|filter| filter.flags())
    };
    let (log, tsync) = ("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC");
    let killable = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
    assert_eq!(read(Value::Null, "SCMP_ACT_ALLOW").unwrap(), 4);
    assert_eq!(read(json!([]), "SCMP_ACT_ALLOW").unwrap(), 0);
    assert_eq!(read(json!([log, tsync]), "SCMP_ACT_ALLOW").unwrap(), 2);
    assert_eq!(read(json!([tsync]), "SCMP_ACT_NOTIFY").unwrap(), 8);
    assert_eq!(read(json!([killable]), "SCMP_ACT_NOTIFY").unwrap(), 8 + 32);
    let refused = read(json!([killable]), "SCMP_ACT_ALLOW").unwrap_err();
    assert_eq!(refused.path(), "flags[0]");
}

#[test]
fn what_cannot_hold_is_refused_by_its_place() {
    let index = json!([{ "index": 6, "value": 0, "op": "SCMP_CMP_EQ" }]);
    let cases = [
        (
            rule(&["read"], "SCMP_ACT_ALLOW", &index),
            ErrorKind::Range,
            "syscalls[0].args[0].index",
        ),
        (
            rule(&[], "SCMP_ACT_ALLOW", &json!([])),
            ErrorKind::Range,
            "syscalls[0].names",
        ),
        (
            rule(&[""], "SCMP_ACT_ALLOW", &json!([])),
            ErrorKind::Range,
            "syscalls[0].names",
        ),
        (
            rule(&["read", "write"], "SCMP_ACT_NOTIFY", &json!([])),
            ErrorKind::Contradiction,
            "syscalls[0].action",
        ),
        (
            json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1 }),
            ErrorKind::Contradiction,
            "syscalls[0].errnoRet",
        ),
        (
            json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096 }),
            ErrorKind::Range,
            "syscalls[0].errnoRet",
        ),
    ];
    for (rule, kind, path) in cases {
        let error = compile_for(&profile(&allow_list(&json!([rule]))), Abi::X86_64).unwrap_err();
        assert_eq!((error.kind(), error.path()), (kind, path));
        assert!(
            error
                .to_string()
                .starts_with(&format!("seccomp profile {path}: ")),
            "{error}"
        );
    }
    let notify = profile(&json!({ "defaultAction": "SCMP_ACT_NOTIFY" }));
    let error = compile_for(&notify, Abi::X86_64).unwrap_err();
    assert_eq!(
        (error.kind(), error.path()),
        (ErrorKind::Contradiction, "defaultAction")
    );
}

#[test]
fn the_call_by_which_an_agent_gets_its_listener_is_free_whatever_its_arguments() {
    let first = json!([{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }]);
    let asks = rule(&["read"], "SCMP_ACT_NOTIFY", &json!([]));
    for (default, sends, free) in [
        ("SCMP_ACT_ERRNO", json!({}), false),
        ("SCMP_ACT_ALLOW", json!({}), true),
        (
            "SCMP_ACT_ERRNO",
            rule(&["sendmsg"], "SCMP_ACT_LOG", &json!([])),
            true,
        ),
        (
            "SCMP_ACT_ERRNO",
            rule(&["sendmsg"], "SCMP_ACT_ALLOW", &first),
            false,
        ),
        (
            "SCMP_ACT_ALLOW",
            rule(&["sendmsg"], "SCMP_ACT_ERRNO", &first),
            false,
        ),
        (
            "SCMP_ACT_ALLOW",
            rule(&["sendmsg"], "SCMP_ACT_NOTIFY", &json!([])),
            false,
        ),
    ] {
        let rules = [&asks, &sends]
            .into_iter()
            .filter(|rule| **rule != json!({}));
        let value = json!({ "defaultAction": default, "syscalls": rules.collect::<Vec<_>>() });
        let compiled = compile_for(&profile(&value), Abi::X86_64);
        assert_eq!(compiled.is_ok(), free, "{value}");
    }
}

/// A rule with `count` conditions that share no word, so that none is folded away.
fn long_rule(name: &str, seed: u64, count: u64) -> Value {
    let args: Vec<_> = (0..count)
        .map(|index| {
            json!({ "index": index, "value": (seed << 32) + seed * 7 + index, "op": "SCMP_CMP_GT" })
        })
        .collect();
    rule(&[name], "SCMP_ACT_ALLOW", &json!(args))
}

#[test]
fn jumps_over_hundreds_of_rules_arrive() {
    let names = [
        "read", "open", "stat", "poll", "mmap", "ioctl", "select", "mseal",
    ];
    for rules in [1, 10, 25, 40] {
        let calls = (0..).zip(names);
        let each = calls.clone().flat_map(|(at, name)| {
            (1..=rules).map(move |seed| long_rule(name, seed * 8 + at, 1 + seed % 3))
        });
        let list: Vec<_> = each.collect();
        let profile = profile(&json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": list }));
        let filter = compile_for(&profile, Abi::X86_64).unwrap();
        verify(filter.program());
        for (at, name) in calls {
            let number = reference::number(Abi::X86_64, name).unwrap();
            for seed in (0..=rules + 1).map(|seed| seed * 8 + at) {
                let value = (seed << 32) + seed * 7;
                let call = Call::new(Abi::X86_64, number, &[value + 1, value + 2, value]);
                let expected = reference::evaluate(&profile, Abi::X86_64, &call);
                assert_eq!(run(filter.program(), &call).0, expected, "{name} {seed}");
            }
        }
        assert!(
            rules < 25 || filter.program().len() > 2000,
            "{}",
            filter.program().len()
        );
    }
}

#[test]
fn more_than_the_kernel_takes_is_an_error() {
    let list: Vec<_> = (0..1000)
        .map(|seed| long_rule("read", seed + 1, 3))
        .collect();
    let profile = profile(&json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": list }));
    let error = compile_for(&profile, Abi::X86_64).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(
        error.to_string().ends_with("the kernel takes 4096"),
        "{error}"
    );
}
