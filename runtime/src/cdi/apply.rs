//! From edits to a config: what CDI's own library does, key by key.

use super::document::{DeviceNode, Edits, Hook, Mount};
use crate::error::{At, Error, ErrorKind, Result};
use oci_spec::runtime::{
    Hook as OciHook, Hooks, Linux, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxNetDevice,
    Mount as OciMount, Process, Spec,
};
use rustix::fs::{FileType, lstat, major, minor};
use std::collections::HashMap;
use std::path::Path;

/// Makes the changes.
///
/// # Errors
/// `InvalidSpec` for a device that is another one on this host, or what the kernel answers.
pub(super) fn apply(edits: &Edits, spec: &mut Spec) -> Result<()> {
    let mut process = spec.process().clone().unwrap_or_default();
    let mut linux = spec.linux().clone().unwrap_or_default();
    set_variables(&mut process, &edits.env);
    for node in &edits.device_nodes {
        add_device(&mut linux, &process, node)?;
    }
    add_net_devices(&mut linux, edits)?;
    if let Some(rdt) = &edits.intel_rdt {
        linux.set_intel_rdt(Some(rdt.to_oci()));
    }
    add_groups(&mut process, &edits.additional_gids);
    spec.set_process(Some(process)).set_linux(Some(linux));
    if !edits.mounts.is_empty() {
        let mounts = spec.mounts().clone().unwrap_or_default();
        spec.set_mounts(Some(with_mounts(mounts, &edits.mounts)));
    }
    if !edits.hooks.is_empty() {
        let mut hooks = spec.hooks().clone().unwrap_or_default();
        edits
            .hooks
            .iter()
            .for_each(|hook| add_hook(&mut hooks, hook));
        spec.set_hooks(Some(hooks));
    }
    Ok(())
}

/// In the place of one of the same name, or behind all others.
fn set_variables(process: &mut Process, variables: &[String]) {
    if variables.is_empty() {
        return;
    }
    let mut env = process.env().clone().unwrap_or_default();
    let name = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
    for variable in variables {
        match env.iter_mut().find(|old| name(old) == name(variable)) {
            Some(old) => old.clone_from(variable),
            None => env.push(variable.clone()),
        }
    }
    process.set_env(Some(env));
}

fn add_groups(process: &mut Process, groups: &[u32]) {
    let mut user = process.user().clone();
    let mut all = user.additional_gids().clone().unwrap_or_default();
    for group in groups {
        // 0 stands for none, the specification says.
        if *group != 0 && !all.contains(group) {
            all.push(*group);
        }
    }
    if !all.is_empty() {
        user.set_additional_gids(Some(all));
        process.set_user(user);
    }
}

/// A device node as it is on this host.
#[derive(Clone, Copy)]
struct Node {
    kind: LinuxDeviceType,
    major: i64,
    minor: i64,
}

fn add_device(linux: &mut Linux, process: &Process, node: &DeviceNode) -> Result<()> {
    let Node { kind, major, minor } = resolve(node)?;
    let user = process.user();
    let mut device = LinuxDevice::default();
    device
        .set_path(node.path.clone().into())
        .set_typ(kind)
        .set_major(major)
        .set_minor(minor)
        .set_file_mode(node.file_mode)
        .set_uid(node.uid.or((user.uid() > 0).then(|| user.uid())))
        .set_gid(node.gid.or((user.gid() > 0).then(|| user.gid())));
    let mut devices = linux.devices().clone().unwrap_or_default();
    devices.retain(|old| old.path() != device.path());
    devices.push(device);
    linux.set_devices(Some(devices));
    if !matches!(kind, LinuxDeviceType::B | LinuxDeviceType::C) {
        return Ok(());
    }
    let access = if node.permissions.is_empty() {
        "rwm"
    } else {
        &node.permissions
    };
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true)
        .set_typ(Some(kind))
        .set_major(Some(major))
        .set_minor(Some(minor))
        .set_access(Some(access.to_owned()));
    let mut resources = linux.resources().clone().unwrap_or_default();
    let mut rules = resources.devices().clone().unwrap_or_default();
    rules.push(rule);
    resources.set_devices(Some(rules));
    linux.set_resources(Some(resources));
    Ok(())
}

/// What a file leaves out is looked up; what it says must be so.
fn resolve(node: &DeviceNode) -> Result<Node> {
    let given = match node.kind.as_str() {
        "b" => Some(LinuxDeviceType::B),
        "c" | "u" => Some(LinuxDeviceType::C),
        "p" => Some(LinuxDeviceType::P),
        _ => None,
    };
    let numbered = (node.major, node.minor) != (0, 0);
    if let (Some(kind), true) = (given, numbered || given == Some(LinuxDeviceType::P)) {
        return Ok(Node {
            kind,
            major: node.major,
            minor: node.minor,
        });
    }
    let path = node.source();
    let wrong =
        |why: String| Error::new(ErrorKind::InvalidSpec, "use CDI device node", path).because(why);
    let stat = lstat(Path::new(path)).at("look up CDI device node", path)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => LinuxDeviceType::B,
        FileType::CharacterDevice => LinuxDeviceType::C,
        FileType::Fifo => LinuxDeviceType::P,
        _ => return Err(wrong("it is not a device node".to_owned())),
    };
    if given.is_some_and(|given| given != kind) {
        return Err(wrong(format!(
            "host type mismatch ({}, {})",
            node.kind,
            kind.as_str()
        )));
    }
    let (major, minor) = if numbered || kind == LinuxDeviceType::P {
        (node.major, node.minor)
    } else {
        (major(stat.st_rdev).into(), minor(stat.st_rdev).into())
    };
    Ok(Node { kind, major, minor })
}

fn add_net_devices(linux: &mut Linux, edits: &Edits) -> Result<()> {
    if edits.net_devices.is_empty() {
        return Ok(());
    }
    let mut devices: HashMap<String, LinuxNetDevice> =
        linux.net_devices().clone().unwrap_or_default();
    for device in &edits.net_devices {
        let mut entry = LinuxNetDevice::default();
        entry.set_name(Some(device.name.clone()));
        let host = device.host_interface_name.clone();
        if devices.insert(host, entry).is_some() {
            let name = &device.host_interface_name;
            return Err(
                Error::new(ErrorKind::InvalidSpec, "use CDI network device", name)
                    .because("it is asked for twice"),
            );
        }
    }
    linux.set_net_devices(Some(devices));
    Ok(())
}

/// In the place of those at the same path, each below what it is in.
fn with_mounts(mut all: Vec<OciMount>, new: &[Mount]) -> Vec<OciMount> {
    for mount in new {
        all.retain(|old| *old.destination() != mount.container_path);
        let mut entry = OciMount::default();
        entry
            .set_destination(mount.container_path.clone())
            .set_source(Some(mount.host_path.clone()))
            .set_typ((!mount.kind.is_empty()).then(|| mount.kind.clone()))
            .set_options((!mount.options.is_empty()).then(|| mount.options.clone()));
        all.push(entry);
    }
    // Stable, so that what was ordered on purpose stays so among equals.
    all.sort_by_key(|mount| mount.destination().components().count());
    all
}

fn add_hook(hooks: &mut Hooks, hook: &Hook) {
    let mut entry = OciHook::default();
    entry
        .set_path(hook.path.clone())
        .set_args((!hook.args.is_empty()).then(|| hook.args.clone()))
        .set_env((!hook.env.is_empty()).then(|| hook.env.clone()))
        .set_timeout(hook.timeout);
    let with = |list: &Option<Vec<OciHook>>| {
        let mut list = list.clone().unwrap_or_default();
        list.push(entry.clone());
        Some(list)
    };
    match hook.moment.as_str() {
        "createRuntime" => drop(hooks.set_create_runtime(with(hooks.create_runtime()))),
        "createContainer" => drop(hooks.set_create_container(with(hooks.create_container()))),
        "startContainer" => drop(hooks.set_start_container(with(hooks.start_container()))),
        "poststart" => drop(hooks.set_poststart(with(hooks.poststart()))),
        "poststop" => drop(hooks.set_poststop(with(hooks.poststop()))),
        _ => add_prestart(hooks, with),
    }
}

fn add_prestart(hooks: &mut Hooks, with: impl Fn(&Option<Vec<OciHook>>) -> Option<Vec<OciHook>>) {
    let list = with(hooks.prestart());
    hooks.set_prestart(list);
}
