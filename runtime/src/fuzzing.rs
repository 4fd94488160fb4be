//! Doors for the fuzzers in `fuzz/`: the parsers that read what others wrote. Each takes any bytes and
//! gives what its answer can be judged by. Only there with the feature `fuzzing`, and no part of the
//! library's promises.

use crate::cgroup::{CgroupPath, Resources, overlay, systemd};
use crate::document;
use crate::host::Caller;
use crate::id::ContainerId;
use crate::plan::rdt::RdtFacts;
use crate::plan::{Facts, Plan};
use crate::state::Record;
use crate::{checkpoint, program, users};
use oci_spec::runtime::Spec;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const FACTS: Facts = Facts {
    last_capability: 40,
    kcore: true,
    apparmor: true,
    selinux: true,
    landlock: 7,
    caller: Caller {
        uid: 0,
        gid: 0,
        capabilities: u64::MAX,
    },
    systemd: false,
    rdt: RdtFacts {
        mounted: true,
        cache: true,
        bandwidth: true,
        monitoring: true,
    },
};

/// Where below its root the container of a config.json gets mounts and devices; `None` where the
/// config is refused.
pub fn config(json: &[u8]) -> Option<Vec<CString>> {
    let (spec, _unknown) = document::spec(json).ok()?;
    let id = ContainerId::new("fuzz").ok()?;
    let plan = Plan::from_spec(&id, &spec, Path::new("/bundle"), FACTS, None).ok()?;
    let targets = plan.root.mounts.iter().map(|mount| mount.target.clone());
    let directories = plan.devices.iter().map(|device| device.directory.clone());
    Some(targets.chain(directories).collect())
}

/// A process.json, planned for a container that says nothing of its own.
pub fn process(json: &[u8]) -> bool {
    let Ok((process, _unknown)) = document::process(json, "process.json") else {
        return false;
    };
    drop(document::warnings(&process));
    Plan::for_exec(&Spec::default(), &process, FACTS, None).is_ok()
}

/// Limits as `update` takes them, laid over themselves.
pub fn resources(json: &[u8]) -> bool {
    let Ok((resources, _unknown)) = document::resources(json, "resources") else {
        return false;
    };
    let laid = overlay(&resources, &resources);
    Resources::for_update(&laid.change).is_ok() && Resources::from_spec(Some(&laid.merged)).is_ok()
}

/// The cgroup of a `linux.cgroupsPath`, and that of its scope where it names one.
pub fn cgroups_path(bytes: &[u8]) -> Vec<String> {
    let path = Path::new(OsStr::from_bytes(bytes));
    let plain = CgroupPath::for_container(Some(path), "fuzz").map(|path| path.as_str().to_owned());
    plain
        .ok()
        .into_iter()
        .chain(systemd::doors::cgroup(path))
        .collect()
}

/// The uid of a user in these databases.
pub fn user(passwd: &str, group: &str, user: &str) -> Option<u32> {
    users::lookup(passwd, group, user, &[])
        .ok()
        .map(|user| user.uid)
}

/// A record read and written again.
pub fn record(json: &[u8]) -> Option<Vec<u8>> {
    Record::from_bytes("fuzz", json).ok()?.to_bytes().ok()
}

/// An answer or a notification of criu's.
pub fn criu(message: &[u8]) -> bool {
    checkpoint::doors::is_answer(message)
}

/// The list of streams in a directory of images: what of it reaches criu.
pub fn streams(json: &[u8]) -> Vec<(i32, String)> {
    checkpoint::doors::pipes(json)
}

/// What the service manager sent over the bus.
pub fn bus(message: &[u8]) -> bool {
    systemd::doors::is_message(message)
}

/// The value of an annotation that becomes a property of a unit.
pub fn property(text: &str) -> bool {
    systemd::doors::is_property(text)
}

/// The head of a program.
pub fn program(head: &[u8]) {
    drop(program::read(head));
}
