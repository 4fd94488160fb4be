//! `linux.namespaces`, `linux.uidMappings`, `linux.gidMappings`, `linux.timeOffsets`.

use super::maps::IdMap;
use super::refusal::Refusals;
use crate::host::Caller;
use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxTimeOffset};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// The kinds, in the order they are joined: the user namespace last, because joining it gives up
/// the privileges that joining the others takes, `setns(2)`.
pub(crate) const JOIN_ORDER: [Kind; 8] = [
    Kind::Cgroup,
    Kind::Ipc,
    Kind::Uts,
    Kind::Network,
    Kind::Pid,
    Kind::Mount,
    Kind::Time,
    Kind::User,
];

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Cgroup,
    Ipc,
    Uts,
    Network,
    Pid,
    Mount,
    Time,
    User,
}

impl Kind {
    /// `CLONE_NEW*`.
    pub(crate) fn flag(self) -> i32 {
        match self {
            Kind::Cgroup => libc::CLONE_NEWCGROUP,
            Kind::Ipc => libc::CLONE_NEWIPC,
            Kind::Uts => libc::CLONE_NEWUTS,
            Kind::Network => libc::CLONE_NEWNET,
            Kind::Pid => libc::CLONE_NEWPID,
            Kind::Mount => libc::CLONE_NEWNS,
            Kind::Time => 0x80,
            Kind::User => libc::CLONE_NEWUSER,
        }
    }

    /// Its file below `/proc/PID/ns`.
    pub(crate) fn file_name(self) -> &'static str {
        match self {
            Kind::Cgroup => "cgroup",
            Kind::Ipc => "ipc",
            Kind::Uts => "uts",
            Kind::Network => "net",
            Kind::Pid => "pid",
            Kind::Mount => "mnt",
            Kind::Time => "time",
            Kind::User => "user",
        }
    }

    fn from_spec(kind: LinuxNamespaceType) -> Kind {
        match kind {
            LinuxNamespaceType::Mount => Kind::Mount,
            LinuxNamespaceType::Cgroup => Kind::Cgroup,
            LinuxNamespaceType::Uts => Kind::Uts,
            LinuxNamespaceType::Ipc => Kind::Ipc,
            LinuxNamespaceType::User => Kind::User,
            LinuxNamespaceType::Pid => Kind::Pid,
            LinuxNamespaceType::Network => Kind::Network,
            LinuxNamespaceType::Time => Kind::Time,
        }
    }
}

/// What becomes of one kind of namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The caller's.
    Keep,
    /// A new one.
    Create,
    /// The one this path names.
    Join(PathBuf),
}

/// All kinds.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    choices: Vec<(Kind, Choice)>,
    /// Lines for `uid_map` and `gid_map` of a new user namespace, `user_namespaces(7)`.
    pub(crate) maps: Option<Maps>,
    /// Lines for `timens_offsets`.
    pub(crate) time_offsets: Option<Vec<u8>>,
}

/// Identity maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Maps {
    pub(crate) uids: IdMap,
    pub(crate) gids: IdMap,
    /// The kernel takes the groups from us only when nobody can drop any in there.
    pub(crate) deny_setgroups: bool,
}

impl Namespaces {
    pub(crate) fn choice(&self, kind: Kind) -> &Choice {
        self.choices
            .iter()
            .find(|(listed, _)| *listed == kind)
            .map_or(&Choice::Keep, |(_, choice)| choice)
    }

    /// New or joined: not the caller's, so what is set there does not reach the caller.
    pub(crate) fn own(&self, kind: Kind) -> bool {
        *self.choice(kind) != Choice::Keep
    }

    pub(crate) fn creates(&self, kind: Kind) -> bool {
        *self.choice(kind) == Choice::Create
    }

    /// Kinds with a path, in the order they are joined.
    pub(crate) fn joins(&self) -> impl Iterator<Item = (Kind, &PathBuf)> {
        JOIN_ORDER
            .into_iter()
            .filter_map(|kind| match self.choice(kind) {
                Choice::Join(path) => Some((kind, path)),
                _ => None,
            })
    }

    /// Is the container to end up in the caller's mount namespace? Its mounts are made in one of its
    /// own all the same, which it leaves with a copy of them.
    pub(crate) fn returns_to_mounts(&self) -> bool {
        !self.own(Kind::Mount)
    }

    /// `CLONE_NEW*` of all that `clone3(2)` creates.
    pub(crate) fn clone_flags(&self) -> i32 {
        JOIN_ORDER
            .into_iter()
            .filter(|kind| self.creates(*kind) || *kind == Kind::Mount && self.returns_to_mounts())
            // A namespace with offsets is made by the child: offsets are taken only before the
            // first process is in it.
            .filter(|kind| *kind != Kind::Time || self.time_offsets.is_none())
            .fold(0, |flags, kind| flags | kind.flag())
    }
}

/// Reads the section.
pub(crate) fn plan(linux: &Linux, caller: Caller, refusals: &mut Refusals) -> Namespaces {
    let mut choices: Vec<(Kind, Choice)> = Vec::with_capacity(8);
    for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let path = format!("linux.namespaces[{index}]");
        let kind = Kind::from_spec(namespace.typ());
        if choices.iter().any(|(listed, _)| *listed == kind) {
            refusals.refuse(&path, "duplicated ns: this type is listed twice");
        }
        let choice = match namespace.path() {
            Some(file) if file.as_os_str().is_empty() => Choice::Create,
            Some(file) if !file.is_absolute() => {
                refusals.refuse(format!("{path}.path"), "must be absolute");
                Choice::Create
            }
            Some(file) => Choice::Join(file.clone()),
            None => Choice::Create,
        };
        choices.push((kind, choice));
    }
    let mut namespaces = Namespaces {
        choices,
        maps: None,
        time_offsets: None,
    };
    if !namespaces.own(Kind::Mount) && namespaces.own(Kind::User) {
        let why = "a user namespace has no power over the caller's mount namespace: list \"mount\"";
        refusals.refuse("linux.namespaces", why);
    }
    if !namespaces.own(Kind::User) && !caller.may(Caller::SYS_ADMIN) {
        let why = "rootless container requires user namespaces";
        refusals.refuse("linux.namespaces", why);
    }
    namespaces.maps = maps(linux, &namespaces, caller, refusals);
    namespaces.time_offsets = offsets(linux, &namespaces, refusals);
    namespaces
}

fn maps(
    linux: &Linux,
    namespaces: &Namespaces,
    caller: Caller,
    refusals: &mut Refusals,
) -> Option<Maps> {
    let uids = linux.uid_mappings().as_deref().unwrap_or_default();
    let gids = linux.gid_mappings().as_deref().unwrap_or_default();
    if namespaces.creates(Kind::User) {
        if uids.is_empty() && gids.is_empty() {
            return Some(maps_of(caller));
        }
        for (name, listed) in [("linux.uidMappings", uids), ("linux.gidMappings", gids)] {
            if listed.is_empty() {
                refusals.refuse(name, "a new user namespace needs at least one mapping");
            }
        }
        let uids = IdMap::plan("linux.uidMappings", uids, refusals);
        let gids = IdMap::plan("linux.gidMappings", gids, refusals);
        return Some(Maps {
            uids,
            // What an ordinary user may map without a helper; with it goes setgroups(2),
            // user_namespaces(7).
            deny_setgroups: !caller.may(Caller::SETGID) && gids.is_only(caller.gid),
            gids,
        });
    }
    // With a joined namespace its own maps count; without one a map would be silently lost.
    let mapped = !uids.is_empty() || !gids.is_empty();
    if mapped && !namespaces.own(Kind::User) {
        refusals.refuse("linux.uidMappings", "mappings need a user namespace");
    }
    None
}

/// Nobody is named: whoever asks is root in there, alone, as crun has it.
fn maps_of(caller: Caller) -> Maps {
    Maps {
        uids: IdMap::to_root(caller.uid),
        gids: IdMap::to_root(caller.gid),
        deny_setgroups: !caller.may(Caller::SETGID),
    }
}

fn offsets(linux: &Linux, namespaces: &Namespaces, refusals: &mut Refusals) -> Option<Vec<u8>> {
    let offsets = linux
        .time_offsets()
        .as_ref()
        .filter(|offsets| !offsets.is_empty())?;
    if !namespaces.creates(Kind::Time) {
        refusals.refuse("linux.timeOffsets", "offsets need a new time namespace");
    }
    // To write its own offsets in a user namespace a process must be seen in /proc; whoever is
    // root outside that namespace could look through it at the host meanwhile.
    if namespaces.creates(Kind::User) && matches!(namespaces.choice(Kind::Pid), Choice::Join(_)) {
        refusals.refuse(
            "linux.timeOffsets",
            "cannot be set with a new user namespace in a pid namespace that is joined",
        );
    }
    Some(offset_lines(offsets, refusals))
}

fn offset_lines(offsets: &HashMap<String, LinuxTimeOffset>, refusals: &mut Refusals) -> Vec<u8> {
    let mut clocks: Vec<_> = offsets.iter().collect();
    clocks.sort_unstable_by_key(|(clock, _)| *clock);
    let mut text = String::new();
    for (clock, offset) in clocks {
        let path = format!("linux.timeOffsets.{clock}");
        if !["monotonic", "boottime"].contains(&clock.as_str()) {
            refusals.refuse(&path, "only monotonic and boottime can be set");
        }
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if nanoseconds > 999_999_999 {
            refusals.refuse(&path, "nanosecs must be below one second");
        }
        if writeln!(text, "{clock} {} {nanoseconds}", offset.secs().unwrap_or(0)).is_err() {
            break;
        }
    }
    text.into_bytes()
}
