//! What mounts show: new file systems, paths of the host, paths below the root.

use super::mounts::below;
use super::namespaces::{Kind, Namespaces};
use super::options::{self, Extensions, Options};
use super::refusal::Refusals;
use oci_spec::runtime::{Linux, Mount};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a mount shows.
#[derive(Debug)]
pub(crate) enum SourcePlan {
    /// A new file system.
    New {
        fstype: CString,
        device: CString,
        options: Vec<(CString, CString)>,
        inherit_mode: bool,
        copy_up: bool,
    },
    /// A path of the host.
    Bind {
        path: PathBuf,
        recursive: bool,
        links: Links,
    },
    /// A path below the new root, which earlier mounts may have covered.
    Inside { path: CString, recursive: bool },
    /// The container's own cgroup, without a cgroup namespace.
    CgroupLeaf,
    /// What is mounted there already, changed; with options for its file system.
    Remount {
        options: Option<Vec<(CString, CString)>>,
    },
}

/// What is done with a source that is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    Follow,
    /// The link is bound.
    Bind,
    /// The same link is made.
    Copy,
}

/// What all mounts have to do with.
pub(super) struct Scene<'a> {
    pub(super) linux: &'a Linux,
    pub(super) namespaces: &'a Namespaces,
    pub(super) bundle: &'a Path,
    /// Where the root is on the host, without a leading slash.
    pub(super) rootfs: PathBuf,
    /// The context of new file systems.
    pub(super) label: Option<&'a str>,
}

impl Scene<'_> {
    /// A destination may be written with the root's own path on the host in front, as runc takes it.
    pub(super) fn target(&self, destination: &Path) -> PathBuf {
        let target = below(destination);
        match target.strip_prefix(&self.rootfs) {
            Ok(inside) if !self.rootfs.as_os_str().is_empty() => inside.to_owned(),
            _ => target,
        }
    }
}

/// Reads what a mount shows.
pub(super) fn plan(
    mount: &Mount,
    options: &mut Options,
    scene: &Scene<'_>,
    json: &str,
    refusals: &mut Refusals,
) -> SourcePlan {
    let kind = mount.typ().as_deref().unwrap_or_default();
    let binds = options.bind.is_some() || kind == "bind";
    let mut data = std::mem::take(&mut options.data);
    if binds && let Some((key, _)) = data.first() {
        refusals.refuse(
            format!("{json}.options"),
            format!("{key:?}: bind mounts cannot have any filesystem-specific options applied"),
        );
    }
    if options.remount {
        data.append(&mut options.superblock);
        return SourcePlan::Remount {
            options: (!binds).then(|| pairs(data, json, refusals)),
        };
    }
    if binds {
        return bind(mount, options, scene, json, refusals);
    }
    data.append(&mut options.superblock);
    new(mount, kind, data, options, scene, json, refusals)
}

fn bind(
    mount: &Mount,
    options: &Options,
    scene: &Scene<'_>,
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
    let recursive = options.bind.unwrap_or(false);
    let path = scene.bundle.join(source);
    // What lies below the root is taken as it is when its turn comes, and its links lead nowhere
    // else than the container's own do.
    if let Ok(inside) = below(&path).strip_prefix(&scene.rootfs)
        && !scene.rootfs.as_os_str().is_empty()
    {
        return SourcePlan::Inside {
            path: refusals.c_string(format!("{json}.source"), inside.as_os_str().as_bytes()),
            recursive,
        };
    }
    let links = match options.extensions {
        Extensions {
            copy_symlink: true, ..
        } => Links::Copy,
        Extensions {
            source_nofollow: true,
            ..
        } => Links::Bind,
        _ => Links::Follow,
    };
    SourcePlan::Bind {
        path,
        recursive,
        links,
    }
}

fn pairs(
    data: Vec<(String, String)>,
    json: &str,
    refusals: &mut Refusals,
) -> Vec<(CString, CString)> {
    let pair = |pair| {
        let pair = options::c_pair(pair);
        if pair.is_none() {
            refusals.refuse(format!("{json}.options"), "contains a zero byte");
        }
        pair
    };
    data.into_iter().filter_map(pair).collect()
}

fn new(
    mount: &Mount,
    kind: &str,
    mut data: Vec<(String, String)>,
    options: &Options,
    scene: &Scene<'_>,
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
        return cgroup(scene.namespaces);
    }
    if kind == "sysfs" && scene.namespaces.own(Kind::User) && !scene.namespaces.own(Kind::Network) {
        // A user namespace may only mount the sysfs of a network namespace it owns.
        return SourcePlan::Bind {
            path: PathBuf::from("/sys"),
            recursive: true,
            links: Links::Follow,
        };
    }
    let inherit_mode = kind == "tmpfs" && !data.iter().any(|(key, _)| key == "mode");
    let device = mount
        .source()
        .as_deref()
        .unwrap_or(Path::new(kind))
        .as_os_str()
        .as_bytes();
    if kind == "devpts" {
        // Every one is, and the kernel knows the word no more.
        data.retain(|(key, _)| key != "newinstance");
    }
    // SELinux does not label these.
    let labelled = !["proc", "sysfs", "mqueue"].contains(&kind);
    if let Some(label) = scene.label.filter(|_| labelled) {
        data.push(("context".to_owned(), label.to_owned()));
    }
    SourcePlan::New {
        fstype: refusals.c_string(format!("{json}.type"), kind),
        device: refusals.c_string(format!("{json}.source"), device),
        options: pairs(data, json, refusals),
        inherit_mode,
        copy_up: kind == "tmpfs" && options.extensions.copy_up,
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
            copy_up: false,
        }
    } else {
        SourcePlan::CgroupLeaf
    }
}
