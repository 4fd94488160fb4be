//! `linux.devices`, and the devices and links every container has (config-linux "Default Devices").

use super::Facts;
use super::mounts::RootPlan;
use super::namespaces::{Kind, Namespaces};
use super::refusal::Refusals;
use crate::host::Caller;
use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType};
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One device node.
#[derive(Debug)]
pub(crate) struct DevicePlan {
    /// As in the spec, absolute.
    pub(crate) path: PathBuf,
    /// The same, for the room.
    pub(crate) host_path: CString,
    pub(crate) directory: CString,
    pub(crate) name: CString,
    /// Type and permissions.
    pub(crate) mode: u32,
    pub(crate) number: u64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Bound from the host instead of made: user namespaces cannot make nodes.
    pub(crate) bind: bool,
    /// Made outside instead, if we may: the owner and group that are `uid` and `gid` in there.
    pub(crate) owner_outside: Option<(u32, u32)>,
    /// Whatever stands there already stays, as with runc; not for the devices every container has,
    /// for others rely on them.
    pub(crate) lenient: bool,
}

/// One link.
#[derive(Debug)]
pub(crate) struct LinkPlan {
    pub(crate) name: &'static CStr,
    pub(crate) target: &'static CStr,
    pub(crate) replace: bool,
}

const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [LinkPlan; 6] = [
    LinkPlan {
        name: c"fd",
        target: c"/proc/self/fd",
        replace: false,
    },
    LinkPlan {
        name: c"stdin",
        target: c"/proc/self/fd/0",
        replace: false,
    },
    LinkPlan {
        name: c"stdout",
        target: c"/proc/self/fd/1",
        replace: false,
    },
    LinkPlan {
        name: c"stderr",
        target: c"/proc/self/fd/2",
        replace: false,
    },
    LinkPlan {
        name: c"ptmx",
        target: c"pts/ptmx",
        replace: true,
    },
    // Last: kernels without /proc/kcore would have it point nowhere.
    LinkPlan {
        name: c"core",
        target: c"/proc/kcore",
        replace: false,
    },
];

/// Nodes and links. A /dev that is the host's is left alone.
pub(crate) fn plan(
    linux: &Linux,
    root: &RootPlan,
    namespaces: &Namespaces,
    facts: Facts,
    refusals: &mut Refusals,
) -> (Vec<DevicePlan>, &'static [LinkPlan]) {
    let listed = linux.devices().as_deref().unwrap_or_default();
    if root.dev_is_bound() {
        return (Vec::new(), &[]);
    }
    let bind = namespaces.own(Kind::User);
    let mut devices: Vec<DevicePlan> = Vec::with_capacity(DEFAULTS.len() + listed.len());
    let given = |path: &str| listed.iter().any(|device| device.path() == Path::new(path));
    for (path, major, minor) in DEFAULTS.into_iter().filter(|(path, ..)| !given(path)) {
        let node = Node {
            mode: libc::S_IFCHR | 0o666,
            number: libc::makedev(major, minor),
            uid: 0,
            gid: 0,
            bind,
            // The host has these, with the mode they are to have.
            owner_outside: None,
            lenient: false,
        };
        devices.extend(place(Path::new(path), &node, "linux.devices", refusals));
    }
    for (index, device) in listed.iter().enumerate() {
        let json = format!("linux.devices[{index}]");
        // The multiplexer is a link into the container's own devpts.
        let multiplexer = device.path() == Path::new("/dev/ptmx");
        if let Some(node) = node(device, bind, &json, refusals).filter(|_| !multiplexer) {
            let node = Node {
                owner_outside: owner_outside(&node, namespaces, facts.caller),
                ..node
            };
            devices.extend(place(device.path(), &node, &json, refusals));
        }
    }
    let without_core = LINKS.split_last().map_or(&LINKS[..], |(_core, rest)| rest);
    (devices, if facts.kcore { &LINKS } else { without_core })
}

struct Node {
    mode: u32,
    number: u64,
    uid: u32,
    gid: u32,
    bind: bool,
    owner_outside: Option<(u32, u32)>,
    lenient: bool,
}

/// `None` where the host's node is bound, whoever owns it: an ordinary user makes none, and ids
/// that are not mapped own none.
fn owner_outside(node: &Node, namespaces: &Namespaces, caller: Caller) -> Option<(u32, u32)> {
    let maps = namespaces.maps.as_ref()?;
    let may = node.bind && caller.may(Caller::MKNOD);
    let owner = maps.uids.outside(node.uid).zip(maps.gids.outside(node.gid));
    owner.filter(|_| may)
}

fn node(device: &LinuxDevice, bind: bool, json: &str, refusals: &mut Refusals) -> Option<Node> {
    let kind = match device.typ() {
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => {
            refusals.refuse(format!("{json}.type"), "\"a\" is for cgroup rules only");
            return None;
        }
    };
    let part = |value: i64| u32::try_from(value).ok();
    let number = match (part(device.major()), part(device.minor())) {
        _ if kind == libc::S_IFIFO => 0,
        (Some(major), Some(minor)) => libc::makedev(major, minor),
        _ => {
            refusals.refuse(json, "major and minor must be numbers from 0 to 2^32-1");
            return None;
        }
    };
    let permissions = device.file_mode().unwrap_or(0o666) & 0o7777;
    Some(Node {
        mode: kind | permissions,
        number,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        // A FIFO may be made anywhere.
        bind: bind && kind != libc::S_IFIFO,
        owner_outside: None,
        lenient: true,
    })
}

fn place(path: &Path, node: &Node, json: &str, refusals: &mut Refusals) -> Option<DevicePlan> {
    let clean = super::mounts::below_root(path, json, refusals).into_bytes();
    let slash = clean.iter().rposition(|byte| *byte == b'/');
    let (directory, name) = match slash {
        Some(at) => (clean.get(..at)?, clean.get(at + 1..)?),
        None => (&b"."[..], &clean[..]),
    };
    if !path.is_absolute() || name.is_empty() {
        refusals.refuse(format!("{json}.path"), "must be absolute and name a file");
        return None;
    }
    Some(DevicePlan {
        path: path.to_owned(),
        host_path: refusals.c_string(json, path.as_os_str().as_bytes()),
        directory: refusals.c_string(json, directory),
        name: refusals.c_string(json, name),
        mode: node.mode,
        number: node.number,
        uid: node.uid,
        gid: node.gid,
        bind: node.bind,
        owner_outside: node.owner_outside,
        lenient: node.lenient,
    })
}
