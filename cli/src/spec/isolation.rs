//! Namespaces, masks, devices, filter, sysctls: the `linux` section.

use super::host::HostDevice;
use super::{Facts, defaults, limits};
use crate::args::run::Run;
use crate::flags::namespace::Sharing;
use crate::flags::security::SecurityOption;
use oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceCgroup, LinuxNamespace, LinuxNamespaceType, LinuxResources,
};
use std::path::PathBuf;

/// Whether the container has a host name of its own.
pub(super) fn own_hostname(flags: &Run) -> bool {
    flags
        .isolation
        .uts
        .as_ref()
        .is_none_or(|uts| *uts == Sharing::Own)
}

/// Builds the section.
pub(super) fn linux(flags: &Run, facts: &Facts) -> Linux {
    let isolation = &flags.isolation;
    let open_paths = isolation.privileged
        || isolation
            .security_opt
            .contains(&SecurityOption::SystemPathsUnconfined);
    let paths = |paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
        Some(if open_paths { Vec::new() } else { paths })
    };
    let sysctl = isolation
        .sysctls
        .iter()
        .map(|pair| (pair.key.replace('/', "."), pair.value.clone()));
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces(flags, facts)))
        .set_masked_paths(paths(&defaults::MASKED))
        .set_readonly_paths(paths(&defaults::READONLY))
        .set_sysctl((!isolation.sysctls.is_empty()).then(|| sysctl.collect()))
        .set_devices((!facts.devices.is_empty()).then(|| facts.devices.iter().map(node).collect()))
        .set_resources(Some(resources(flags, facts)))
        .set_mount_label(facts.labels.as_ref().map(|labels| labels.files.clone()))
        .set_seccomp(facts.seccomp.clone());
    linux
}

fn namespaces(flags: &Run, facts: &Facts) -> Vec<LinuxNamespace> {
    use LinuxNamespaceType as Type;
    let isolation = &flags.isolation;
    let shared = &facts.namespaces;
    let own = &None;
    let wanted = [
        (Type::Mount, own, None),
        (Type::Network, &isolation.network, shared.network.as_ref()),
        (Type::Uts, &isolation.uts, None),
        (Type::Pid, &isolation.pid, shared.pid.as_ref()),
        (Type::Ipc, &isolation.ipc, shared.ipc.as_ref()),
        (Type::Cgroup, own, None),
    ];
    let kept = wanted
        .into_iter()
        .filter(|(_, sharing, _)| **sharing != Some(Sharing::Host));
    kept.map(|(kind, _, path): (_, _, Option<&PathBuf>)| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind).set_path(path.cloned());
        namespace
    })
    .collect()
}

fn resources(flags: &Run, facts: &Facts) -> LinuxResources {
    let mut rules = vec![rule(flags.isolation.privileged, None, "rwm")];
    if !flags.isolation.privileged {
        rules.extend(
            facts
                .devices
                .iter()
                .map(|device| rule(true, Some(device), &device.access)),
        );
    }
    let mut resources = limits::resources(&flags.limits);
    resources.set_devices(Some(rules));
    resources
}

/// A rule about one device, or about all of them.
fn rule(allow: bool, device: Option<&HostDevice>, access: &str) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(device.map(|device| device.kind))
        .set_major(device.map(|device| device.major))
        .set_minor(device.map(|device| device.minor))
        .set_access(Some(access.to_owned()));
    rule
}

fn node(device: &HostDevice) -> LinuxDevice {
    let mut node = LinuxDevice::default();
    node.set_path(device.path.clone())
        .set_typ(device.kind)
        .set_major(device.major)
        .set_minor(device.minor)
        .set_file_mode(Some(device.mode))
        .set_uid(Some(device.uid))
        .set_gid(Some(device.gid));
    node
}
