//! Rules against a reference model, by a tiny interpreter of the instructions we use.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use proptest::prelude::*;

use super::assemble;
use super::program::Program;
use super::rule::{ALL, Kind, MKNOD, READ, Rule, WRITE};

fn spec(
    allow: bool,
    typ: Option<LinuxDeviceType>,
    number: (i64, i64),
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow).set_typ(typ);
    rule.set_major(Some(number.0)).set_minor(Some(number.1));
    rule.set_access(Some(access.to_owned()));
    rule
}

/// Runs the program as the kernel would; panics on anything the verifier would refuse here.
fn run(program: &Program, kind: Kind, major: u32, minor: u32, access: u8) -> bool {
    let context = [u32::from(access) << 16 | kind as u32, major, minor];
    let mut registers = [0_u64; 6];
    let mut at = 0_i64;
    for _step in 0..100_000 {
        let [code, regs, o0, o1, v @ ..] =
            program.instructions()[usize::try_from(at).unwrap()].to_le_bytes();
        let (to, from) = (usize::from(regs & 15), usize::from(regs >> 4));
        let offset = i64::from(i16::from_le_bytes([o0, o1]));
        let value = i32::from_le_bytes(v);
        let word = u64::from(value.cast_unsigned());
        at += 1;
        match code {
            0x61 => registers[to] = u64::from(context[usize::try_from(offset / 4).unwrap()]),
            0xbc => registers[to] = registers[from] & 0xffff_ffff,
            0xb7 => registers[to] = word,
            0x54 => registers[to] &= word,
            0x4c => registers[to] |= registers[from],
            0x64 => registers[to] = (registers[to] << word) & 0xffff_ffff,
            0x74 => registers[to] >>= word,
            0x16 if registers[to] == word => at += offset,
            0x05 => at += offset,
            0x16 => {}
            0x95 => return registers[0] == 1,
            _ => panic!("unknown instruction {code:#x}"),
        }
    }
    panic!("does not end");
}

fn decide(rules: &[LinuxDeviceCgroup], kind: Kind, major: u32, minor: u32, access: u8) -> bool {
    super::parse(rules)
        .unwrap()
        .is_none_or(|program| run(&program, kind, major, minor, access))
}

/// What the spec says, bit by bit: the last rule that matches decides.
fn model(rules: &[Rule], kind: Kind, major: u32, minor: u32, access: u8) -> bool {
    [MKNOD, READ, WRITE]
        .into_iter()
        .filter(|bit| access & bit != 0)
        .all(|bit| {
            let last = rules.iter().rev().find(|rule| {
                rule.access & bit != 0
                    && rule.kind.is_none_or(|k| k == kind)
                    && rule.major.is_none_or(|m| m == major)
                    && rule.minor.is_none_or(|m| m == minor)
            });
            last.is_some_and(|rule| rule.allow)
        })
}

#[test]
fn without_rules_only_the_default_devices_are_allowed() {
    let rw = READ | WRITE;
    for (major, minor) in [
        (1, 3),
        (1, 5),
        (1, 7),
        (1, 8),
        (1, 9),
        (5, 0),
        (5, 2),
        (10, 200),
        (136, 7),
    ] {
        assert!(decide(&[], Kind::Char, major, minor, rw), "{major}:{minor}");
        assert!(
            !decide(&[], Kind::Block, major, minor, rw),
            "block {major}:{minor}"
        );
    }
    for (major, minor) in [(1, 1), (1, 2), (1, 4), (5, 1), (10, 237), (4, 0)] {
        assert!(
            !decide(&[], Kind::Char, major, minor, READ),
            "{major}:{minor}"
        );
        assert!(
            decide(&[], Kind::Char, major, minor, MKNOD),
            "mknod {major}:{minor}"
        );
    }
    assert!(decide(&[], Kind::Block, 8, 0, MKNOD));
    assert!(!decide(&[], Kind::Block, 8, 0, MKNOD | READ));
}

#[test]
fn the_list_that_docker_sends_twice_is_the_default_program() {
    let mut rules = vec![spec(false, None, (-1, -1), "rwm")];
    for _time in 0..2 {
        for (minor, access) in [(5, "rwm"), (3, "rwm"), (9, "rwm"), (8, "rwm")] {
            rules.push(spec(true, Some(LinuxDeviceType::C), (1, minor), access));
        }
        rules.push(spec(true, Some(LinuxDeviceType::C), (5, 0), "rwm"));
    }
    assert_eq!(super::parse(&rules).unwrap(), super::parse(&[]).unwrap());
    let length = super::parse(&[]).unwrap().unwrap().instructions().len();
    assert!(length <= 36, "{length} instructions");
}

#[test]
fn a_privileged_container_needs_no_program() {
    let all = spec(true, Some(LinuxDeviceType::A), (-1, -1), "rwm");
    let deny = spec(false, None, (-1, -1), "rwm");
    assert_eq!(super::parse(&[deny.clone(), all.clone()]).unwrap(), None);
    assert_eq!(
        super::parse(&[deny.clone(), all.clone(), all.clone()]).unwrap(),
        None
    );
    assert!(super::parse(&[all, deny]).unwrap().is_some());
}

#[test]
fn an_access_of_all_denies_all_and_allows_nothing_more() {
    let c = || Some(LinuxDeviceType::C);
    let denied = [
        spec(true, c(), (1, 11), "rwm"),
        spec(false, c(), (1, 11), "ra"),
    ];
    let allowed = [
        spec(false, None, (-1, -1), "rwm"),
        spec(true, c(), (1, 11), "ra"),
    ];
    // Device nodes may always be made: a default rule, and the last one counts.
    for access in [READ, WRITE] {
        assert!(!decide(&denied, Kind::Char, 1, 11, access), "{access}");
        let decided = decide(&allowed, Kind::Char, 1, 11, access);
        assert_eq!(decided, access == READ, "{access}");
    }
}

#[test]
fn the_last_rule_wins_for_each_access() {
    let all = spec(true, Some(LinuxDeviceType::A), (-1, -1), "rwm");
    let no_write = spec(false, Some(LinuxDeviceType::B), (8, -1), "w");
    let rules = [
        all,
        no_write,
        spec(true, Some(LinuxDeviceType::B), (8, 1), "w"),
    ];
    assert!(decide(&rules, Kind::Block, 8, 0, READ));
    assert!(!decide(&rules, Kind::Block, 8, 0, WRITE));
    assert!(
        !decide(&rules, Kind::Block, 8, 0, READ | WRITE),
        "a part that is denied denies the open"
    );
    assert!(decide(&rules, Kind::Block, 8, 1, READ | WRITE));
    assert!(decide(&rules, Kind::Block, 9, 0, READ | WRITE));
    let split = [
        spec(true, Some(LinuxDeviceType::C), (10, 229), "r"),
        spec(true, Some(LinuxDeviceType::C), (10, 229), "w"),
    ];
    assert!(
        decide(&split, Kind::Char, 10, 229, READ | WRITE),
        "two rules together allow"
    );
}

#[test]
fn wrong_rules_are_all_named_with_their_json_path() {
    let rules = [
        spec(true, Some(LinuxDeviceType::P), (1, 1), "r"),
        spec(true, Some(LinuxDeviceType::C), (-2, 1), "r"),
        spec(true, Some(LinuxDeviceType::C), (1, 1 << 40), "r"),
        spec(true, Some(LinuxDeviceType::C), (1, 1), "rx"),
        spec(true, None, (1, 1), ""),
    ];
    let problems = super::parse(&rules).unwrap_err();
    let paths: Vec<_> = problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "linux.resources.devices[0].type",
            "linux.resources.devices[1].major",
            "linux.resources.devices[2].minor",
            "linux.resources.devices[3].access",
            "linux.resources.devices[4].access",
        ]
    );
    let many = vec![spec(true, None, (1, 1), "r"); 3000];
    assert_eq!(super::parse(&many).unwrap_err().len(), 1);
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let kind = prop_oneof![Just(None), Just(Some(Kind::Char)), Just(Some(Kind::Block))];
    let number = || prop_oneof![Just(None), (0_u32..4).prop_map(Some), Just(Some(u32::MAX))];
    (any::<bool>(), kind, number(), number(), 1_u8..=ALL).prop_map(
        |(allow, kind, major, minor, access)| Rule {
            allow,
            kind,
            major,
            minor,
            access,
        },
    )
}

proptest! {
    #[test]
    fn the_program_decides_as_the_spec_says(rules in proptest::collection::vec(any_rule(), 0..12)) {
        let program = assemble(&rules).unwrap();
        for kind in [Kind::Char, Kind::Block] {
            for (major, minor, access) in (0..5).flat_map(|a| (0..5).flat_map(move |b| (1..=ALL).map(move |c| (a, b, c)))) {
                let ours = program.as_ref().is_none_or(|program| run(program, kind, major, minor, access));
                prop_assert_eq!(ours, model(&rules, kind, major, minor, access));
            }
        }
    }

    #[test]
    fn any_rule_of_a_configuration_is_parsed_or_refused(
        allow: bool, major: i64, minor: i64, access in "[rwmx]{0,4}",
    ) {
        let rule = spec(allow, None, (major, minor), &access);
        if let Err(problems) = super::parse(&[rule]) {
            prop_assert!(problems.iter().all(|p| p.path.starts_with("linux.resources.devices[0].")));
        }
    }
}
