//! What this runtime can do, runtime-spec "Features": read from the tables that the other modules
//! work by, so that what is said here is what is done there.

use crate::document;
use crate::plan::identities::KEEP_GROUPS;
use crate::plan::{self, options};
use crate::state::OCI_VERSION;
use hostrun_seccomp_profiles::{Abi, CAPABILITIES};
use oci_spec::runtime::{
    Apparmor, Arch, Cgroup, Features, IDMap, IntelRdt, LinuxFeature, LinuxNamespaceType,
    LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSeccompOperator, MemoryPolicy,
    MountExtensions, NetDevices, Seccomp, Selinux,
};
use serde::Serialize;
use std::collections::HashMap;

/// Hooks in the order of a container's life.
const HOOKS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// Options that runtimes act on themselves. Of these the document names those that our own parser
/// acts on; what it does not know it hands to the file system.
const MOUNT_OPTIONS: [&str; 66] = [
    "acl",
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noacl",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
    "src-nofollow",
    "dest-nofollow",
];

const NAMESPACES: [LinuxNamespaceType; 8] = [
    LinuxNamespaceType::Cgroup,
    LinuxNamespaceType::Ipc,
    LinuxNamespaceType::Mount,
    LinuxNamespaceType::Network,
    LinuxNamespaceType::Pid,
    LinuxNamespaceType::Time,
    LinuxNamespaceType::User,
    LinuxNamespaceType::Uts,
];

const ACTIONS: [LinuxSeccompAction; 9] = [
    LinuxSeccompAction::ScmpActAllow,
    LinuxSeccompAction::ScmpActErrno,
    LinuxSeccompAction::ScmpActKill,
    LinuxSeccompAction::ScmpActKillProcess,
    LinuxSeccompAction::ScmpActKillThread,
    LinuxSeccompAction::ScmpActLog,
    LinuxSeccompAction::ScmpActNotify,
    LinuxSeccompAction::ScmpActTrace,
    LinuxSeccompAction::ScmpActTrap,
];

const OPERATORS: [LinuxSeccompOperator; 7] = [
    LinuxSeccompOperator::ScmpCmpEq,
    LinuxSeccompOperator::ScmpCmpGe,
    LinuxSeccompOperator::ScmpCmpGt,
    LinuxSeccompOperator::ScmpCmpLe,
    LinuxSeccompOperator::ScmpCmpLt,
    LinuxSeccompOperator::ScmpCmpMaskedEq,
    LinuxSeccompOperator::ScmpCmpNe,
];

const FLAGS: [LinuxSeccompFilterFlag; 4] = [
    LinuxSeccompFilterFlag::SeccompFilterFlagLog,
    LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow,
    LinuxSeccompFilterFlag::SeccompFilterFlagTsync,
    LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv,
];

const MEMORY_MODES: [&str; 7] = [
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

const MEMORY_FLAGS: [&str; 3] = [
    "MPOL_F_NUMA_BALANCING",
    "MPOL_F_RELATIVE_NODES",
    "MPOL_F_STATIC_NODES",
];

/// Annotations of a config that change what happens outside of the container.
const UNSAFE_ANNOTATIONS: [&str; 4] = [
    "bundle",
    "org.systemd.property.",
    "org.criu.config",
    KEEP_GROUPS,
];

/// What this runtime can do, on any host: a host may lack what it needs for some of it. Asks the
/// kernel nothing.
pub fn features() -> Features {
    let mut features = Features::default();
    features
        .set_oci_version_min("1.0.0".to_owned())
        .set_oci_version_max(OCI_VERSION.to_owned())
        .set_hooks(Some(hooks()))
        .set_mount_options(Some(mount_options()))
        .set_linux(Some(linux()))
        .set_annotations(Some(annotations()))
        .set_potentially_unsafe_config_annotations(Some(texts(&UNSAFE_ANNOTATIONS)));
    features
}

fn annotations() -> HashMap<String, String> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    [
        ("org.opencontainers.runc.version", version.clone()),
        (
            "org.opencontainers.runc.commit",
            format!("hostrun-{version}"),
        ),
        (
            "org.opencontainers.runc.checkpoint.enabled",
            "true".to_owned(),
        ),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn linux() -> LinuxFeature {
    let mut apparmor = Apparmor::default();
    apparmor.set_enabled(Some(true));
    let mut selinux = Selinux::default();
    selinux.set_enabled(Some(true));
    let mut rdt = IntelRdt::default();
    rdt.set_enabled(Some(true))
        .set_schemata(Some(true))
        .set_monitoring(Some(true));
    let mut policy = MemoryPolicy::default();
    policy
        .set_modes(Some(texts(&MEMORY_MODES)))
        .set_flags(Some(texts(&MEMORY_FLAGS)));
    let mut idmap = IDMap::default();
    idmap.set_enabled(Some(options::acts_on("idmap")));
    let mut mounts = MountExtensions::default();
    mounts.set_idmap(Some(idmap));
    let mut devices = NetDevices::default();
    devices.set_enabled(Some(supports(r#"{"linux":{"netDevices":{"eth0":{}}}}"#)));
    let mut linux = LinuxFeature::default();
    linux
        .set_namespaces(Some(NAMESPACES.to_vec()))
        .set_capabilities(Some(CAPABILITIES.iter().map(word).collect()))
        .set_cgroup(Some(cgroup()))
        .set_seccomp(Some(seccomp()))
        .set_apparmor(Some(apparmor))
        .set_selinux(Some(selinux))
        .set_intel_rdt(Some(rdt))
        .set_memory_policy(Some(policy))
        .set_mount_extensions(Some(mounts))
        .set_net_devices(Some(devices));
    linux
}

fn cgroup() -> Cgroup {
    let mut cgroup = Cgroup::default();
    cgroup
        .set_v1(Some(false))
        .set_v2(Some(true))
        .set_systemd(Some(true))
        .set_systemd_user(Some(true))
        .set_rdma(Some(true));
    cgroup
}

fn seccomp() -> Seccomp {
    let mut archs: Vec<Arch> = Abi::ALL.iter().map(|abi| abi.to_oci()).collect();
    archs.sort_unstable_by_key(word);
    let flags: Vec<String> = FLAGS.iter().map(word).collect();
    let mut seccomp = Seccomp::default();
    seccomp
        .set_enabled(Some(true))
        .set_actions(Some(ACTIONS.to_vec()))
        .set_operators(Some(OPERATORS.iter().map(word).collect()))
        .set_archs(Some(archs))
        .set_known_flags(Some(flags.clone()))
        .set_supported_flags(Some(flags));
    seccomp
}

/// Asks the plan itself: a key it refuses is not named.
fn supports(json: &str) -> bool {
    document::spec(json.as_bytes()).is_ok_and(|(spec, _unknown)| plan::supports(&spec))
}

fn hooks() -> Vec<String> {
    let known = HOOKS.iter().filter(|name| {
        let hook = format!(r#"{{"hooks":{{"{name}":[{{"path":"/bin/true"}}]}}}}"#);
        supports(&hook)
    });
    known.map(ToString::to_string).collect()
}

fn mount_options() -> Vec<String> {
    let known = MOUNT_OPTIONS
        .into_iter()
        .filter(|option| options::acts_on(option));
    let mut known: Vec<String> = known.map(str::to_owned).collect();
    known.sort_unstable();
    known
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// As JSON writes it.
fn word<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_complete() {
        let json = serde_json::to_value(features()).unwrap();
        assert_eq!(json["ociVersionMin"], "1.0.0");
        assert_eq!(json["ociVersionMax"], "1.3.0");
        for (pointer, count) in [
            ("/linux/namespaces", 8),
            ("/linux/capabilities", 41),
            ("/linux/seccomp/actions", 9),
            ("/linux/seccomp/operators", 7),
            ("/linux/seccomp/knownFlags", 4),
        ] {
            let list = json.pointer(pointer).unwrap().as_array().unwrap();
            assert_eq!(list.len(), count, "{pointer}");
            assert!(
                list.iter()
                    .all(|word| word.as_str().is_some_and(|word| !word.is_empty()))
            );
        }
        assert!(json["mountOptions"].as_array().unwrap().len() >= 50);
    }

    #[test]
    fn no_key_is_null() {
        fn check(value: &serde_json::Value) {
            assert!(!value.is_null());
            match value {
                serde_json::Value::Object(map) => map.values().for_each(check),
                serde_json::Value::Array(list) => list.iter().for_each(check),
                _ => {}
            }
        }
        check(&serde_json::to_value(features()).unwrap());
    }
}
