//! `root`, `mounts`, `linux.maskedPaths`, `linux.readonlyPaths`, `linux.rootfsPropagation`.

use super::namespaces::{Kind, Namespaces};
use super::options::{self, Attributes, Options, RDONLY};
use super::refusal::Refusals;
use oci_spec::runtime::{Linux, Mount, Spec};
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The new root and what is mounted below it.
#[derive(Debug)]
pub(crate) struct RootPlan {
    /// Where it is, absolute.
    pub(crate) path: PathBuf,
    pub(crate) readonly: bool,
    /// What the new root becomes last.
    pub(crate) propagation: Option<u64>,
    pub(crate) mounts: Vec<MountPlan>,
    pub(crate) masked: Vec<CString>,
    pub(crate) readonly_paths: Vec<CString>,
}

/// One mount.
#[derive(Debug)]
pub(crate) struct MountPlan {
    /// As in the spec, for messages.
    pub(crate) destination: PathBuf,
    /// Below the root, without a leading slash.
    pub(crate) target: CString,
    pub(crate) source: SourcePlan,
    pub(crate) own: Attributes,
    pub(crate) tree: Attributes,
    pub(crate) propagation: u64,
    pub(crate) strict_target: bool,
    /// It may cover a file of procfs.
    pub(crate) over_proc: bool,
    pub(crate) late_readonly: bool,
}

impl MountPlan {
    /// Options of a new file system, keys and values.
    pub(crate) fn options(&self) -> &[(CString, CString)] {
        match &self.source {
            SourcePlan::New { options, .. } => options,
            _ => &[],
        }
    }
}

/// What a mount shows.
#[derive(Debug)]
pub(crate) enum SourcePlan {
    /// A new file system.
    New {
        fstype: CString,
        device: CString,
        options: Vec<(CString, CString)>,
        inherit_mode: bool,
    },
    /// A path of the host.
    Bind { path: PathBuf, recursive: bool },
    /// The container's own cgroup, without a cgroup namespace.
    CgroupLeaf,
}

impl RootPlan {
    /// Does anything of the host cover /dev? Then it is not ours to fill.
    pub(crate) fn dev_is_bound(&self) -> bool {
        self.mounts.iter().any(|mount| {
            mount.target.as_c_str() == c"dev" && matches!(mount.source, SourcePlan::Bind { .. })
        })
    }
}

/// Reads the sections. `bundle` is what relative paths are relative to.
pub(crate) fn plan(
    spec: &Spec,
    linux: &Linux,
    namespaces: &Namespaces,
    bundle: &Path,
    refusals: &mut Refusals,
) -> RootPlan {
    let root = spec.root().as_ref();
    if root.is_none() {
        refusals.refuse("root", "is missing");
    }
    let mounts = spec.mounts().iter().flatten().enumerate();
    let mounts = mounts
        .map(|(index, mount)| plan_mount(index, mount, namespaces, bundle, refusals))
        .collect();
    RootPlan {
        path: root
            .map(|root| bundle.join(root.path()))
            .unwrap_or_default(),
        readonly: root
            .and_then(oci_spec::runtime::Root::readonly)
            .unwrap_or(false),
        propagation: propagation(linux, refusals),
        mounts,
        masked: hidden(
            "linux.maskedPaths",
            linux.masked_paths().as_deref(),
            refusals,
        ),
        readonly_paths: hidden(
            "linux.readonlyPaths",
            linux.readonly_paths().as_deref(),
            refusals,
        ),
    }
}

/// What the root becomes in the end. While it is built the old tree is always a slave of the host's
/// at most, so that nothing of ours reaches the host.
fn propagation(linux: &Linux, refusals: &mut Refusals) -> Option<u64> {
    let text = linux
        .rootfs_propagation()
        .as_deref()
        .filter(|text| !text.is_empty())?;
    let flags = options::root_propagation(text);
    if flags.is_none() {
        refusals.refuse("linux.rootfsPropagation", format!("{text:?} is unknown"));
    }
    flags
}

fn hidden(name: &str, paths: Option<&[String]>, refusals: &mut Refusals) -> Vec<CString> {
    let mut hidden = Vec::new();
    for (index, path) in paths.unwrap_or_default().iter().enumerate() {
        let json = format!("{name}[{index}]");
        if !path.starts_with('/') {
            refusals.refuse(&json, "must be absolute");
        }
        let path = below_root(Path::new(path), &json, refusals);
        // Twice the same is once.
        if !hidden.contains(&path) && !path.is_empty() {
            hidden.push(path);
        }
    }
    hidden
}

/// The path without its leading slash and without `.`; `..` ends at the root, as in a path lookup.
pub(crate) fn below_root(path: &Path, json: &str, refusals: &mut Refusals) -> CString {
    let mut parts: Vec<&[u8]> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(name.as_bytes()),
            Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    refusals.c_string(json, parts.join(&b'/'))
}

fn plan_mount(
    index: usize,
    mount: &Mount,
    namespaces: &Namespaces,
    bundle: &Path,
    refusals: &mut Refusals,
) -> MountPlan {
    let json = format!("mounts[{index}]");
    let destination = mount.destination();
    let target = below_root(destination, &format!("{json}.destination"), refusals);
    if target.is_empty() {
        refusals.refuse(format!("{json}.destination"), "must be below the root");
    }
    let mut options = options::parse(mount.options().as_deref().unwrap_or_default());
    refuse_unsupported(mount, &options, &json, refusals);
    let kind = mount.typ().as_deref().unwrap_or_default();
    let data = std::mem::take(&mut options.data);
    let source = if options.bind.is_some() || kind == "bind" {
        // What acts on a whole file system is not a bind mount's to say, mount(8).
        let superblock = ["sync", "dirsync", "lazytime", "mand"];
        let data = data
            .iter()
            .find(|(key, _)| !superblock.contains(&key.as_str()));
        if let Some((key, _)) = data {
            refusals.refuse(
                format!("{json}.options"),
                format!("{key:?} means nothing to a bind mount"),
            );
        }
        bind(
            mount,
            options.bind.unwrap_or(false),
            bundle,
            &json,
            refusals,
        )
    } else {
        new(mount, kind, data, namespaces, &json, refusals)
    };
    let over_proc = may_cover_proc(&target, &source);
    if !over_proc && is_below_proc(&target) {
        refusals.refuse(
            format!("{json}.destination"),
            "nothing but a procfs may be mounted over /proc",
        );
    }
    let is_new = matches!(source, SourcePlan::New { .. });
    let fstype = match &source {
        SourcePlan::New { fstype, .. } => fstype.as_c_str(),
        _ => c"",
    };
    // Directories for later mounts are made in it first.
    let late_readonly = fstype == c"tmpfs" && options.own.over(options.tree).set & RDONLY != 0;
    if late_readonly {
        options.own.set &= !RDONLY;
        options.tree.set &= !RDONLY;
    }
    MountPlan {
        destination: destination.clone(),
        over_proc,
        strict_target: is_new && [c"proc", c"sysfs"].contains(&fstype),
        target,
        source,
        own: options.own,
        tree: options.tree,
        propagation: options.propagation,
        late_readonly,
    }
}

/// What the spec has and this version does not do yet.
fn refuse_unsupported(mount: &Mount, options: &Options, json: &str, refusals: &mut Refusals) {
    let maps = [
        ("uidMappings", mount.uid_mappings()),
        ("gidMappings", mount.gid_mappings()),
    ];
    for (name, maps) in maps {
        if maps.as_ref().is_some_and(|maps| !maps.is_empty()) {
            refusals.unsupported(
                format!("{json}.{name}"),
                "idmapped mounts are not supported yet",
            );
        }
    }
    for option in &options.unsupported {
        refusals.unsupported(
            format!("{json}.options"),
            format!("{option:?} is not supported yet"),
        );
    }
}

fn bind(
    mount: &Mount,
    recursive: bool,
    bundle: &Path,
    json: &str,
    refusals: &mut Refusals,
) -> SourcePlan {
    let Some(source) = mount
        .source()
        .as_ref()
        .filter(|source| !source.as_os_str().is_empty())
    else {
        refusals.refuse(format!("{json}.source"), "a bind mount needs one");
        return SourcePlan::CgroupLeaf;
    };
    SourcePlan::Bind {
        path: bundle.join(source),
        recursive,
    }
}

fn new(
    mount: &Mount,
    kind: &str,
    data: Vec<(String, String)>,
    namespaces: &Namespaces,
    json: &str,
    refusals: &mut Refusals,
) -> SourcePlan {
    if kind.is_empty() || kind == "none" {
        refusals.refuse(
            format!("{json}.type"),
            "a mount that is no bind mount needs one",
        );
    }
    if kind == "cgroup" || kind == "cgroup2" {
        return cgroup(namespaces);
    }
    if kind == "sysfs" && namespaces.own(Kind::User) && !namespaces.own(Kind::Network) {
        // A user namespace may only mount the sysfs of a network namespace it owns.
        return SourcePlan::Bind {
            path: PathBuf::from("/sys"),
            recursive: true,
        };
    }
    let inherit_mode = kind == "tmpfs" && !data.iter().any(|(key, _)| key == "mode");
    let device = mount
        .source()
        .as_deref()
        .unwrap_or(Path::new(kind))
        .as_os_str()
        .as_bytes();
    let options = data
        .into_iter()
        .filter(|(key, _)| !(kind == "devpts" && key == "newinstance"));
    let options = options.filter_map(|pair| {
        let pair = options::c_pair(pair);
        if pair.is_none() {
            refusals.refuse(format!("{json}.options"), "contains a zero byte");
        }
        pair
    });
    let options = options.collect();
    SourcePlan::New {
        fstype: refusals.c_string(format!("{json}.type"), kind),
        device: refusals.c_string(format!("{json}.source"), device),
        options,
        inherit_mode,
    }
}

/// In a cgroup namespace the file system shows the leaf as its root by itself; without one only
/// the leaf is shown, by a bind mount (CVE-2023-25809 mounted the whole hierarchy).
fn cgroup(namespaces: &Namespaces) -> SourcePlan {
    if namespaces.own(Kind::Cgroup) {
        SourcePlan::New {
            fstype: CString::from(c"cgroup2"),
            device: CString::from(c"cgroup"),
            options: Vec::new(),
            inherit_mode: false,
        }
    } else {
        SourcePlan::CgroupLeaf
    }
}

/// Files of procfs that may be covered, as lxcfs does.
const COVERABLE: [&CStr; 10] = [
    c"proc/cpuinfo",
    c"proc/diskstats",
    c"proc/meminfo",
    c"proc/stat",
    c"proc/swaps",
    c"proc/uptime",
    c"proc/loadavg",
    c"proc/slabinfo",
    c"proc/sys/kernel/ns_last_pid",
    c"proc/sys/crypto/fips_enabled",
];

fn is_below_proc(target: &CStr) -> bool {
    let bytes = target.to_bytes();
    bytes == b"proc" || bytes.starts_with(b"proc/")
}

/// A volume over /proc would make our writes to it go elsewhere (CVE-2019-16884).
fn may_cover_proc(target: &CStr, source: &SourcePlan) -> bool {
    let whole = target.to_bytes() == b"proc";
    let is_proc = match source {
        SourcePlan::New { fstype, .. } => whole && fstype.as_c_str() == c"proc",
        // Of the host's own /proc, for containers that share its pid namespace.
        SourcePlan::Bind { path, .. } => whole && path == Path::new("/proc"),
        SourcePlan::CgroupLeaf => false,
    };
    is_proc || COVERABLE.contains(&target)
}
