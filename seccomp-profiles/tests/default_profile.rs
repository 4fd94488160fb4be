//! The default profile decides every call as intended, on every interface.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests and their helpers may panic"
)]

mod machine;
mod reference;

use hostrun_seccomp_profiles::{
    Abi, DEFAULT_CAPABILITIES, Filter, Kernel, NATIVE, OLDEST_KERNEL, Target, compile, compile_for,
    default_profile, load_for,
};
use machine::{ALLOW, Call, EAFNOSUPPORT, ENOSYS, EPERM, KILL, decide, run, verify};
use oci_spec::runtime::Capability;
use std::borrow::Cow;
use std::fmt::Write as _;

const JSON: &[u8] = include_bytes!("../profiles/default.json");

/// Capabilities that rules of the profile ask for.
const ASKED: [Capability; 14] = [
    Capability::SysAdmin,
    Capability::DacReadSearch,
    Capability::SysBoot,
    Capability::SysChroot,
    Capability::SysModule,
    Capability::SysPacct,
    Capability::SysPtrace,
    Capability::SysRawio,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::SysNice,
    Capability::Syslog,
    Capability::Bpf,
    Capability::Perfmon,
];

fn filter(abi: Abi, capabilities: &[Capability]) -> Filter {
    let target = Target {
        capabilities,
        kernel: OLDEST_KERNEL,
        abi,
    };
    compile_for(&load_for(JSON, &target).unwrap(), abi).unwrap()
}

fn number(abi: Abi, name: &str) -> u32 {
    reference::number(abi, name).unwrap_or_else(|| panic!("{name} on {abi:?}"))
}

/// Where an interface runs.
fn host(abi: Abi) -> Abi {
    match abi {
        Abi::X86_64 | Abi::X86 | Abi::X32 => Abi::X86_64,
        Abi::Aarch64 | Abi::Arm => Abi::Aarch64,
    }
}

#[test]
fn default_profile_is_compiled_ahead_and_borrowed() {
    let profile = default_profile(&DEFAULT_CAPABILITIES);
    let ahead = compile(&profile).unwrap();
    let now = compile_for(&profile, NATIVE).unwrap();
    assert_eq!(
        machine::disassemble(ahead.program()),
        machine::disassemble(now.program())
    );
    assert_eq!(ahead.flags(), now.flags());
    assert!(matches!(ahead.into_program(), Cow::Borrowed(_)));
}

#[test]
fn anything_but_the_default_profile_is_compiled_anew() {
    let profile = default_profile(&DEFAULT_CAPABILITIES);
    let mut changed = vec![profile.clone(); 4];
    changed[0].set_default_errno_ret(Some(2));
    changed[1].set_architectures(None);
    let mut rules = profile.syscalls().clone().unwrap();
    let mut names = rules[0].names().clone();
    names[0].push('x');
    rules[0].set_names(names);
    changed[2].set_syscalls(Some(rules.clone()));
    rules = profile.syscalls().clone().unwrap();
    rules.pop();
    changed[3].set_syscalls(Some(rules));
    changed.push(default_profile(&[Capability::SysAdmin]));
    for profile in &changed {
        assert!(matches!(
            compile(profile).unwrap().into_program(),
            Cow::Owned(_)
        ));
    }
}

#[test]
fn built_in_profile_is_the_file_for_any_capabilities() {
    let mut sets = vec![DEFAULT_CAPABILITIES.to_vec(), vec![], ASKED.to_vec()];
    sets.extend(ASKED.map(|capability| vec![capability]));
    for capabilities in sets {
        let target = Target {
            capabilities: &capabilities,
            kernel: OLDEST_KERNEL,
            abi: NATIVE,
        };
        assert_eq!(
            default_profile(&capabilities),
            load_for(JSON, &target).unwrap()
        );
    }
}

/// Every call of every interface: `+` allowed, `-` EPERM, `?` ENOSYS, `a` by its arguments, a
/// dot where it is missing. The file
/// is the list to read when the profile changes; with `BLESS=1` the test writes it anew.
#[test]
fn decisions_are_those_of_the_golden_table() {
    let mut text = String::from("# name x86_64 x86 x32 aarch64 arm\n");
    let filters = Abi::ALL.map(|abi| filter(host(abi), &DEFAULT_CAPABILITIES));
    let names = include_str!("../tables/syscalls.txt").lines().skip(1);
    for name in names.filter_map(|line| line.split(' ').next()) {
        write!(text, "{name}").unwrap();
        for (abi, filter) in Abi::ALL.into_iter().zip(&filters) {
            let number = reference::number(abi, name);
            let sign = number.map_or('.', |number| sign(filter, abi, number));
            write!(text, " {sign}").unwrap();
        }
        text.push('\n');
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/default.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    let mut lines = golden.lines().zip(text.lines());
    assert_eq!(lines.find(|(golden, now)| golden != now), None);
    assert_eq!(golden.lines().count(), text.lines().count());
}

fn sign(filter: &Filter, abi: Abi, number: u32) -> char {
    let samples = [0, 1, 38, 40, 0x1000_0000, u64::MAX];
    let mut actions = samples.map(|value| decide(filter, abi, number, &[value, value]));
    actions.sort_unstable();
    match (actions[0], actions[5]) {
        (first, last) if first != last => 'a',
        (ALLOW, _) => '+',
        (EPERM, _) => '-',
        (ENOSYS, _) => '?',
        (other, _) => panic!("{abi:?} {number}: {other:#x}"),
    }
}

#[test]
fn numbers_newer_than_the_profile_are_missing_and_not_forbidden() {
    let x86 = filter(Abi::X86_64, &DEFAULT_CAPABILITIES);
    let arm = filter(Abi::Aarch64, &DEFAULT_CAPABILITIES);
    for number in (467..2000).chain([0x3fff_ffff]) {
        for (filter, abi) in [
            (&x86, Abi::X86_64),
            (&x86, Abi::X86),
            (&arm, Abi::Aarch64),
            (&arm, Abi::Arm),
        ] {
            assert_eq!(decide(filter, abi, number, &[]), ENOSYS, "{abi:?} {number}");
        }
    }
    // The old numbers of x32 from 512 on are its own; what is new stands below them.
    for number in (467..512).chain(548..2000) {
        assert_eq!(
            decide(&x86, Abi::X32, 0x4000_0000 + number, &[]),
            ENOSYS,
            "{number}"
        );
    }
    // What a tracer leaves to skip a call.
    for abi in [Abi::X86_64, Abi::X86] {
        assert_eq!(decide(&x86, abi, u32::MAX, &[]), ENOSYS);
    }
}

#[test]
fn other_machines_are_killed() {
    let filter = filter(Abi::X86_64, &DEFAULT_CAPABILITIES);
    for abi in [Abi::Arm, Abi::Aarch64] {
        assert_eq!(decide(&filter, abi, 0, &[]), KILL);
    }
}

#[test]
fn cve_2026_31431_af_alg_and_vsock_are_closed() {
    for abi in Abi::ALL {
        let filter = filter(host(abi), &DEFAULT_CAPABILITIES);
        let socket = number(abi, "socket");
        assert_eq!(
            decide(&filter, abi, socket, &[38, 5]),
            EAFNOSUPPORT,
            "{abi:?}"
        );
        assert_eq!(
            decide(&filter, abi, socket, &[40, 1]),
            EAFNOSUPPORT,
            "{abi:?}"
        );
        for open in [1, 2, 10, 16, 17, 44] {
            assert_eq!(
                decide(&filter, abi, socket, &[open, 1]),
                ALLOW,
                "{abi:?} {open}"
            );
        }
        for closed in [12, 19, 20, 23, 25, 34, 37, 46, 1000] {
            assert_eq!(
                decide(&filter, abi, socket, &[closed, 1]),
                EPERM,
                "{abi:?} {closed}"
            );
        }
        // The kernel would see 38, 40 and 2 here; on 32-bit interfaces there is no upper half.
        let narrow = matches!(abi, Abi::X86 | Abi::Arm);
        for hidden in [0x1_0000_0026, 0x1_0000_0028, 0xffff_ffff_0000_0002] {
            let action = decide(&filter, abi, socket, &[hidden, 5]);
            assert!(narrow || action == EPERM, "{abi:?} {hidden:#x} {action:#x}");
        }
    }
}

#[test]
fn the_multiplexer_of_sockets_is_closed_for_every_call() {
    let filter = filter(Abi::X86_64, &DEFAULT_CAPABILITIES);
    for selector in 0..30 {
        let socketcall = number(Abi::X86, "socketcall");
        assert_eq!(decide(&filter, Abi::X86, socketcall, &[selector]), EPERM);
    }
}

#[test]
fn new_namespaces_need_sys_admin() {
    for abi in Abi::ALL {
        let without = filter(host(abi), &DEFAULT_CAPABILITIES);
        let with = filter(host(abi), &[Capability::SysAdmin]);
        let clone = number(abi, "clone");
        for bit in [
            0x2000_0000,
            0x1000_0000_u64,
            0x0002_0000,
            0x0200_0000,
            0x4000_0000,
        ] {
            assert_eq!(
                decide(&without, abi, clone, &[bit + 17]),
                EPERM,
                "{abi:?} {bit:#x}"
            );
            assert_eq!(
                decide(&with, abi, clone, &[bit + 17]),
                ALLOW,
                "{abi:?} {bit:#x}"
            );
        }
        assert_eq!(
            decide(&without, abi, clone, &[0x003d_0f00]),
            ALLOW,
            "a thread on {abi:?}"
        );
        let clone3 = number(abi, "clone3");
        assert_eq!(decide(&without, abi, clone3, &[]), ENOSYS);
        assert_eq!(decide(&with, abi, clone3, &[]), ALLOW);
        for denied in [
            "unshare",
            "mount",
            "setns",
            "bpf",
            "io_uring_setup",
            "userfaultfd",
        ] {
            assert_eq!(
                decide(&without, abi, number(abi, denied), &[]),
                EPERM,
                "{denied}"
            );
        }
    }
}

/// A rule that could go without any effect is a rule nobody understands.
#[test]
fn no_rule_and_no_name_is_redundant() {
    let document: serde_json::Value = serde_json::from_slice(JSON).unwrap();
    let rules = document["syscalls"].as_array().unwrap();
    let mut redundant = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        assert!(
            rule["comment"].as_str().is_some_and(|text| text.len() > 10),
            "rule {index}"
        );
        let names = rule["names"].as_array().unwrap();
        for (position, name) in names.iter().enumerate() {
            let mut without = document.clone();
            if names.len() > 1 {
                without["syscalls"][index]["names"]
                    .as_array_mut()
                    .unwrap()
                    .remove(position);
            } else {
                without["syscalls"].as_array_mut().unwrap().remove(index);
            }
            let without = serde_json::to_vec(&without).unwrap();
            if !has_effect(&without, rule, name.as_str().unwrap()) {
                redundant.push(format!("rule {index}: {name}"));
            }
        }
    }
    // Two spellings of one call; libraries and other profiles use both.
    redundant.retain(|line| !line.contains("sync_file_range2") && !line.contains("arm_sync_file"));
    assert_eq!(redundant, Vec::<String>::new());
}

/// Whether some machine, kernel and set of capabilities sees the difference.
fn has_effect(without: &[u8], rule: &serde_json::Value, name: &str) -> bool {
    let mut sets = vec![DEFAULT_CAPABILITIES.to_vec()];
    sets.extend(ASKED.map(|capability| vec![capability]));
    let mut values: Vec<u64> = (0..21).chain([u64::MAX]).collect();
    for arg in rule["args"].as_array().into_iter().flatten() {
        let value = arg["value"].as_u64().unwrap();
        values.extend([value.saturating_sub(1), value, value.saturating_add(1)]);
    }
    let kernels = [OLDEST_KERNEL, Kernel(4, 4)];
    let hosts = [Abi::X86_64, Abi::Aarch64];
    let kernels_and_hosts = kernels
        .iter()
        .flat_map(|kernel| hosts.map(|abi| (*kernel, abi)));
    let mut targets = kernels_and_hosts.flat_map(|(kernel, abi)| {
        sets.iter().map(move |capabilities| Target {
            capabilities,
            kernel,
            abi,
        })
    });
    targets.any(|target| {
        let compiled = |json| compile_for(&load_for(json, &target).unwrap(), target.abi).unwrap();
        let (with, without) = (compiled(JSON), compiled(without));
        let abis = Abi::ALL.into_iter().filter(|abi| host(*abi) == target.abi);
        let mut numbers = abis.filter_map(|abi| Some((abi, reference::number(abi, name)?)));
        numbers.any(|(abi, number)| {
            let differs = |value: &u64| {
                decide(&with, abi, number, &[*value]) != decide(&without, abi, number, &[*value])
            };
            values.iter().any(differs)
        })
    })
}

/// The promise: at most 400 instructions, 20 for any number of the native interface, 12 for a common
/// call without arguments.
#[test]
fn program_is_short_and_flat() {
    for native in [Abi::X86_64, Abi::Aarch64] {
        let filter = filter(native, &DEFAULT_CAPABILITIES);
        verify(filter.program());
        assert!(filter.program().len() <= 400, "{}", filter.program().len());
        let steps = |number| run(filter.program(), &Call::new(native, number, &[2])).1;
        let most = (0..1000).map(steps).max();
        assert!(most <= Some(20), "{most:?}");
        for name in [
            "read",
            "write",
            "close",
            "mmap",
            "futex",
            "openat",
            "epoll_pwait",
            "execve",
        ] {
            assert!(
                steps(number(native, name)) <= 12,
                "{name}: {}",
                steps(number(native, name))
            );
        }
    }
}

#[test]
fn a_clone_is_allowed_by_its_flags_and_not_where_they_are_unknown() {
    let profile = default_profile(&[]);
    let allows =
        |arguments: &[u64]| hostrun_seccomp_profiles::allows_call(&profile, "clone", arguments);
    assert!(allows(&[0x9000]));
    assert!(!allows(&[0x1000_0000]));
    assert!(!allows(&[]));
}
