//! Files: both formats, every unknown word refused by its place, and no input that panics.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests and their helpers may panic"
)]

use hostrun_seccomp_profiles::{Abi, ErrorKind, Kernel, Target, compile, load, load_for};
use oci_spec::runtime::{Arch, Capability, LinuxSeccomp};
use proptest::prelude::*;
use serde_json::{Value, json};

fn load_value(value: &Value) -> Result<LinuxSeccomp, hostrun_seccomp_profiles::Error> {
    load(&serde_json::to_vec(value).unwrap(), &[])
}

#[test]
fn the_seccomp_object_of_a_config_is_read_as_it_is() {
    let value = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_MIPS"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "listenerPath": "/run/agent.sock",
        "listenerMetadata": "m",
        "syscalls": [{
            "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22,
            "args": [{ "index": 2, "value": 3, "valueTwo": 4, "op": "SCMP_CMP_MASKED_EQ" }],
        }],
    });
    let expected: LinuxSeccomp = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(load_value(&value).unwrap(), expected);
}

#[test]
fn conditions_of_moby_profiles_are_evaluated() {
    let rule = |name: &str, key: &str, condition: Value| json!({ "name": name, "action": "SCMP_ACT_ALLOW", "comment": "c", key: condition });
    let value = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [
            { "architecture": "SCMP_ARCH_S390X", "subArchitectures": ["SCMP_ARCH_S390"] },
            { "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"] },
            { "architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null },
        ],
        "syscalls": [
            rule("a", "includes", json!({ "caps": ["CAP_KILL", "CAP_CHOWN"] })),
            rule("b", "includes", json!({ "caps": ["CAP_KILL", "CAP_BPF"] })),
            rule("c", "excludes", json!({ "caps": ["CAP_KILL", "CAP_BPF"] })),
            rule("d", "includes", json!({ "arches": ["amd64", "ppc64le"] })),
            rule("e", "excludes", json!({ "arches": ["amd64"] })),
            rule("f", "includes", json!({ "minKernel": "5.10" })),
            rule("g", "includes", json!({ "minKernel": "5.9" })),
            rule("h", "excludes", json!({ "minKernel": "4.8" })),
        ],
    });
    let json = serde_json::to_vec(&value).unwrap();
    let capabilities = [Capability::Kill, Capability::Chown];
    let names = |abi| {
        let target = Target {
            capabilities: &capabilities,
            kernel: Kernel(5, 9),
            abi,
        };
        let profile = load_for(&json, &target).unwrap();
        let rules = profile.syscalls().clone().unwrap();
        let names: String = rules.iter().flat_map(|rule| rule.names().clone()).collect();
        (names, profile.architectures().clone().unwrap())
    };
    let x86 = vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86];
    assert_eq!(names(Abi::X86_64), ("adg".to_owned(), x86));
    assert_eq!(
        names(Abi::Aarch64),
        ("aeg".to_owned(), vec![Arch::ScmpArchAarch64])
    );
}

#[test]
fn error_names_of_podman_profiles_agree_with_their_numbers() {
    let rule = |errno: Value, number: Value| {
        json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS",
            "syscalls": [{
                "names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errno": errno, "errnoRet": number,
                "args": [], "includes": {}, "excludes": {},
            }],
        })
    };
    let profile = load_value(&rule(json!("EPERM"), json!(1))).unwrap();
    assert_eq!(profile.default_errno_ret(), Some(38));
    let profile = load_value(&rule(json!("EINVAL"), Value::Null)).unwrap();
    assert_eq!(
        profile.syscalls().as_ref().unwrap()[0].errno_ret(),
        Some(22)
    );
    let error = load_value(&rule(json!("EINVAL"), json!(1))).unwrap_err();
    assert_eq!(
        (error.kind(), error.path()),
        (ErrorKind::Contradiction, "syscalls[0].errno")
    );
    let error = load_value(&rule(json!("EWHAT"), Value::Null)).unwrap_err();
    assert_eq!(
        (error.kind(), error.path()),
        (ErrorKind::Unknown, "syscalls[0].errno")
    );
}

#[test]
fn unknown_words_are_refused_by_their_place() {
    let good = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [{
            "names": ["read"], "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": 0, "value": 0, "op": "SCMP_CMP_EQ" }],
            "includes": { "caps": ["CAP_KILL"], "minKernel": "4.8" },
        }],
    });
    load_value(&good).unwrap();
    for (pointer, path) in [
        ("/defaultAction", "defaultAction"),
        ("/architectures/0", "architectures[0]"),
        ("/flags/0", "flags[0]"),
        ("/syscalls/0/action", "syscalls[0].action"),
        ("/syscalls/0/args/0/op", "syscalls[0].args[0].op"),
        (
            "/syscalls/0/includes/caps/0",
            "syscalls[0].includes.caps[0]",
        ),
        (
            "/syscalls/0/includes/minKernel",
            "syscalls[0].includes.minKernel",
        ),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = json!("scmp_act\nwhat");
        let error = load_value(&bad).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Unknown, path));
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    for pointer in [
        "",
        "/syscalls/0",
        "/syscalls/0/args/0",
        "/syscalls/0/includes",
    ] {
        let mut bad = good.clone();
        bad.pointer_mut(pointer).unwrap()["what"] = json!(1);
        let error = load_value(&bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Syntax);
        assert!(
            error.to_string().contains("unknown field `what`"),
            "{error}"
        );
        assert!(error.path().starts_with("line 1 column "), "{error}");
    }
    let mut both = good;
    both["archMap"] = json!([]);
    assert_eq!(
        load_value(&both).unwrap_err().kind(),
        ErrorKind::Contradiction
    );
}

#[test]
fn broken_text_is_one_line() {
    for text in [
        "",
        "{",
        "[]",
        "{\"defaultAction\":\n7}",
        "\u{feff}{}",
        "{\"a\nb\": 1}",
    ] {
        let error = load(text.as_bytes(), &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Syntax);
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
}

const WORDS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"defaultAction\"",
    "\"SCMP_ACT_ERRNO\"",
    "\"SCMP_ACT_ALLOW\"",
    "\"syscalls\"",
    "\"names\"",
    "\"read\"",
    "\"action\"",
    "\"args\"",
    "\"index\"",
    "\"value\"",
    "\"op\"",
    "\"SCMP_CMP_EQ\"",
    "0",
    "7",
    "18446744073709551615",
    "-1",
    "null",
    "\"archMap\"",
];

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(load(&bytes, &[]));
    }

    #[test]
    fn arbitrary_words_never_panic(
        words in proptest::collection::vec(proptest::sample::select(WORDS.to_vec()), 0..60),
    ) {
        drop(load(words.concat().as_bytes(), &[]));
    }

    /// The default profile with one byte changed: reads or not, compiles or not, never panics.
    #[test]
    fn damaged_profiles_never_panic(at in 0..21_000_usize, byte in any::<u8>()) {
        let mut bytes = include_bytes!("../profiles/default.json").to_vec();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        if let Ok(profile) = load(&bytes, &[]) {
            drop(compile(&profile));
        }
    }
}
