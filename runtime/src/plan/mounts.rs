//! `root`, `mounts`, `linux.maskedPaths`, `linux.readonlyPaths`, `linux.rootfsPropagation`.

use super::Facts;
use super::idmaps::{self, IdmapPlan};
use super::namespaces::Namespaces;
use super::options::{self, Attributes, Own};
use super::refusal::Refusals;
use super::sources::{self, Scene, SourcePlan};
use oci_spec::runtime::{Linux, Mount, Spec};
use std::ffi::{CStr, CString, OsStr};
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
    /// Below the root, without a leading slash; empty for the root itself.
    pub(crate) target: CString,
    pub(crate) source: SourcePlan,
    pub(crate) own: Own,
    pub(crate) tree: Attributes,
    pub(crate) propagation: Vec<u64>,
    pub(crate) idmap: Option<IdmapPlan>,
    pub(crate) strict_target: bool,
    /// It may cover a file of procfs.
    pub(crate) over_proc: bool,
    /// A link at the target is covered itself.
    pub(crate) over_link: bool,
    pub(crate) late_readonly: bool,
}

impl MountPlan {
    /// Options of a file system, keys and values.
    pub(crate) fn options(&self) -> &[(CString, CString)] {
        match &self.source {
            SourcePlan::New { options, .. }
            | SourcePlan::Remount {
                options: Some(options),
            } => options,
            _ => &[],
        }
    }

    /// What it shows, as the spec names it, for messages.
    pub(crate) fn source_name(&self) -> String {
        match &self.source {
            SourcePlan::New { device, .. } => device.to_string_lossy().into_owned(),
            SourcePlan::Bind { path, .. } => path.display().to_string(),
            SourcePlan::Inside { path, .. } => {
                format!("/{} of the container", path.to_string_lossy())
            }
            SourcePlan::CgroupLeaf => "cgroup".to_owned(),
            SourcePlan::Remount { .. } => String::new(),
        }
    }
}

impl RootPlan {
    /// Does anything of the host cover /dev? Then it is not ours to fill.
    pub(crate) fn dev_is_bound(&self) -> bool {
        self.mounts.iter().any(|mount| {
            let bound = matches!(
                mount.source,
                SourcePlan::Bind { .. } | SourcePlan::Inside { .. }
            );
            mount.target.as_c_str() == c"dev" && bound
        })
    }
}

/// Reads the sections. `bundle` is what relative paths are relative to.
pub(crate) fn plan(
    spec: &Spec,
    linux: &Linux,
    namespaces: &Namespaces,
    bundle: &Path,
    facts: Facts,
    refusals: &mut Refusals,
) -> RootPlan {
    let root = spec.root().as_ref();
    if root.is_none() {
        refusals.refuse("root", "root must be specified");
    }
    let path = root
        .map(|root| bundle.join(root.path()))
        .unwrap_or_default();
    let label = facts.selinux.then(|| linux.mount_label().as_deref());
    let scene = Scene {
        linux,
        namespaces,
        bundle,
        rootfs: below(&path),
        label: label.flatten().filter(|label| !label.is_empty()),
    };
    let mounts = spec.mounts().iter().flatten().enumerate();
    let mounts = mounts
        .map(|(index, mount)| plan_mount(index, mount, &scene, refusals))
        .collect();
    RootPlan {
        path,
        readonly: root
            .and_then(oci_spec::runtime::Root::readonly)
            .unwrap_or(false),
        propagation: propagation(linux, namespaces, refusals),
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
fn propagation(linux: &Linux, namespaces: &Namespaces, refusals: &mut Refusals) -> Option<u64> {
    let text = linux
        .rootfs_propagation()
        .as_deref()
        .filter(|text| !text.is_empty())?;
    let flags = options::root_propagation(text);
    if flags.is_none() {
        refusals.refuse(
            "linux.rootfsPropagation",
            format!("rootfsPropagation={text} is not supported"),
        );
    }
    refuse_exchange(
        flags.as_slice(),
        namespaces,
        "linux.rootfsPropagation",
        refusals,
    );
    flags
}

/// What is in no mount namespace neither passes mounts on nor receives any.
fn refuse_exchange(
    propagation: &[u64],
    namespaces: &Namespaces,
    json: &str,
    refusals: &mut Refusals,
) {
    let exchanges = |flags: &u64| flags & (libc::MS_SHARED | libc::MS_SLAVE) != 0;
    if namespaces.returns_to_mounts() && propagation.iter().any(exchanges) {
        let why = "shared and slave need a mount namespace: list \"mount\" in linux.namespaces";
        refusals.refuse(json, why);
    }
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
    refusals.c_string(json, below(path).as_os_str().as_bytes())
}

pub(super) fn below(path: &Path) -> PathBuf {
    let mut parts: Vec<&OsStr> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(name),
            Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    parts.iter().collect()
}

fn plan_mount(
    index: usize,
    mount: &Mount,
    scene: &Scene<'_>,
    refusals: &mut Refusals,
) -> MountPlan {
    let json = format!("mounts[{index}]");
    let destination = mount.destination();
    if destination.as_os_str().is_empty() {
        refusals.refuse(format!("{json}.destination"), "is missing");
    }
    let target = scene.target(destination);
    let target = refusals.c_string(format!("{json}.destination"), target.as_os_str().as_bytes());
    let mut options = options::parse(mount.options().as_deref().unwrap_or_default());
    let idmap = idmaps::plan(
        mount,
        &options,
        scene.linux,
        scene.namespaces,
        &json,
        refusals,
    );
    let source = sources::plan(mount, &mut options, scene, &json, refusals);
    let over_proc = may_cover_proc(&target, &source);
    if !over_proc && is_below_proc(&target) {
        let why = if target.as_c_str() == c"proc" {
            "cannot be mounted because it is not of type proc"
        } else {
            "cannot be mounted because it is inside /proc"
        };
        refusals.refuse(format!("{json}.destination"), why);
    }
    let kind = mount.typ().as_deref().unwrap_or_default();
    let new = matches!(source, SourcePlan::New { .. });
    // Directories for later mounts are made in it first.
    let late = new && (kind == "tmpfs" || target.as_c_str() == c"dev");
    let mut own = options.own;
    let options_json = format!("{json}.options");
    refuse_exchange(
        &options.propagation,
        scene.namespaces,
        &options_json,
        refusals,
    );
    let late_readonly = late && (own.take_readonly() | options.tree.take_readonly());
    MountPlan {
        destination: destination.clone(),
        over_proc,
        // The host's own in place of a new sysfs is no different.
        strict_target: options.bind.is_none() && ["proc", "sysfs"].contains(&kind),
        target,
        source,
        own,
        tree: options.tree,
        propagation: options.propagation,
        idmap,
        over_link: options.extensions.target_nofollow,
        late_readonly,
    }
}

/// Files of procfs that may be covered, as lxcfs does.
const COVERABLE: [&CStr; 11] = [
    c"proc/cpuinfo",
    c"proc/diskstats",
    c"proc/meminfo",
    c"proc/stat",
    c"proc/swaps",
    c"proc/uptime",
    c"proc/loadavg",
    c"proc/slabinfo",
    c"proc/net/dev",
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
        // Of a procfs of the host, for containers that share its pid namespace: what it is, is seen
        // when it is opened.
        SourcePlan::Bind { .. } => whole,
        // By its name only: an image's link may lead there, too.
        SourcePlan::Remount { .. } => is_below_proc(target),
        SourcePlan::Inside { .. } | SourcePlan::CgroupLeaf => false,
    };
    is_proc || COVERABLE.contains(&target)
}
