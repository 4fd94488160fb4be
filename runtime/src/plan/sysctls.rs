//! `linux.sysctl`: only what belongs to a namespace the container has of its own.

use super::namespaces::{Kind, Namespaces};
use super::refusal::Refusals;
use oci_spec::runtime::Linux;
use std::ffi::CString;

/// A file below `/proc` and its new content.
#[derive(Debug)]
pub(crate) struct SysctlPlan {
    pub(crate) key: String,
    pub(crate) path: CString,
    pub(crate) value: Vec<u8>,
    /// The namespace it belongs to.
    pub(crate) owner: Option<Kind>,
}

/// Reads the section, in order of keys.
pub(crate) fn plan(
    linux: &Linux,
    namespaces: &Namespaces,
    refusals: &mut Refusals,
) -> Vec<SysctlPlan> {
    let mut keys: Vec<_> = linux.sysctl().iter().flatten().collect();
    keys.sort_unstable();
    let mut sysctls = Vec::with_capacity(keys.len());
    for (key, value) in keys {
        let json = format!("linux.sysctl.{key}");
        let Some(path) = normalise(key) else {
            refusals.refuse(&json, "is no name of a sysctl");
            continue;
        };
        match owner(&path) {
            // It has a key of its own; two of them would be a matter of order.
            Some(_) if path == "kernel/hostname" => refusals.refuse(
                &json,
                "is not allowed: it conflicts with the OCI \"hostname\" field",
            ),
            Some(kind) if namespaces.own(kind) => {}
            Some(kind) => {
                refusals.refuse(
                    &json,
                    format!("needs a {kind:?} namespace of its own").to_lowercase(),
                );
            }
            None => refusals.refuse(
                &json,
                format!(
                    "sysctl {key:?} is not in a separate kernel namespace: it would change the host"
                ),
            ),
        }
        sysctls.push(SysctlPlan {
            key: key.clone(),
            path: refusals.c_string(&json, format!("sys/{path}")),
            value: value.clone().into_bytes(),
            owner: owner(&path),
        });
    }
    sysctls
}

/// Slash form of a key. Where the first separator is a dot, dots separate and slashes stand for
/// dots in names, as in `sysctl(8)`. Anything but plain name characters is refused: a `+` once
/// smuggled a second sysctl past a check like this (CVE-2022-0811).
fn normalise(key: &str) -> Option<String> {
    let dotted = match key.find(['.', '/']) {
        Some(at) => key.as_bytes().get(at) == Some(&b'.'),
        None => return None,
    };
    let path: String = if dotted {
        key.chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect()
    } else {
        key.to_owned()
    };
    let plain = |name: &str| {
        !matches!(name, "" | "." | "..")
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-.:@".contains(c))
    };
    path.split('/').all(plain).then_some(path)
}

/// The namespace a sysctl belongs to, `ipc_namespaces(7)`, `network_namespaces(7)`.
fn owner(path: &str) -> Option<Kind> {
    const IPC: [&str; 10] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
        "kernel/msg_next_id",
        "kernel/sem_next_id",
    ];
    if path.starts_with("net/") {
        Some(Kind::Network)
    } else if path.starts_with("fs/mqueue/") || IPC.contains(&path) {
        Some(Kind::Ipc)
    } else if path == "kernel/domainname" || path == "kernel/hostname" {
        Some(Kind::Uts)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_spellings_name_the_same_file() {
        assert_eq!(
            normalise("net.ipv4.ip_forward").as_deref(),
            Some("net/ipv4/ip_forward")
        );
        assert_eq!(
            normalise("net/ipv4/ip_forward").as_deref(),
            Some("net/ipv4/ip_forward")
        );
        assert_eq!(
            normalise("net.ipv4.conf.eth0/1.mtu").as_deref(),
            Some("net/ipv4/conf/eth0.1/mtu")
        );
    }

    #[test]
    fn cve_2022_0811_no_second_sysctl_in_a_name() {
        for key in [
            "kernel.shm_rmid_forced+kernel.core_pattern",
            "net/../kernel/core_pattern",
            "net..ip",
            "kernel",
            "",
            "/net/x",
        ] {
            assert_eq!(normalise(key), None, "{key}");
        }
    }

    proptest! {
        #[test]
        fn no_key_leaves_its_directory(key in ".*") {
            if let Some(path) = normalise(&key) {
                prop_assert!(path.split('/').all(|part| !part.is_empty() && part != ".." && part != "."));
            }
        }
    }
}
