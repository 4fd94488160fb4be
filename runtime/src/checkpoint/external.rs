//! What of a container comes from outside it: bind mounts and namespaces that were joined. criu is
//! told of them by name at a dump, and at a restore what stands behind each name.

use super::rpc::{ExternalMount, InheritFd, JoinNamespace, Options};
use crate::error::{At, Error, ErrorKind, Result};
use crate::lookup::find;
use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, open, readlinkat, stat};
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// What masks a file: criu knows it by this name.
const NULL: &str = "/dev/null";

/// The mounts of a spec that are binds.
pub(super) fn binds(spec: &Spec) -> impl Iterator<Item = &Mount> {
    spec.mounts()
        .iter()
        .flatten()
        .filter(|mount| is_bind(mount))
}

/// A bind has an option for it; its type says nothing.
pub(super) fn is_bind(mount: &Mount) -> bool {
    let options = mount.options().iter().flatten();
    let asked = options
        .into_iter()
        .any(|option| option == "bind" || option == "rbind");
    asked || mount.typ().as_deref() == Some("bind")
}

/// The names for a dump, `root` being the container's own.
pub(super) fn name(options: &mut Options, spec: &Spec, root: BorrowedFd<'_>) -> Result<()> {
    for mount in binds(spec) {
        let place = text(&resolved(root, mount.destination()));
        options.ext_mnt.push(ExternalMount {
            key: place.clone(),
            value: place,
        });
    }
    let linux = spec.linux().as_ref();
    let masked = linux.and_then(|linux| linux.masked_paths().as_ref());
    for path in masked.into_iter().flatten() {
        if is_file(root, Path::new(path)) {
            options.ext_mnt.push(ExternalMount {
                key: path.clone(),
                value: NULL.to_owned(),
            });
        }
    }
    for (kind, path) in joined(spec) {
        let Some((file, key)) = inherited(kind) else {
            continue;
        };
        let inode = stat(path).at("check namespace", path.display())?.st_ino;
        options.external.push(format!("{file}[{inode}]:{key}"));
    }
    Ok(())
}

/// What stands behind the names at a restore, `root` being the directory that becomes the
/// container's. The descriptors must stay open in criu under their numbers.
pub(super) fn resolve(
    options: &mut Options,
    spec: &Spec,
    bundle: &Path,
    root: BorrowedFd<'_>,
) -> Result<Vec<OwnedFd>> {
    for mount in binds(spec) {
        let source = mount.source().as_deref().unwrap_or(Path::new(""));
        options.ext_mnt.push(ExternalMount {
            key: text(&resolved(root, mount.destination())),
            value: text(&bundle.join(source)),
        });
    }
    options.ext_mnt.push(ExternalMount {
        key: NULL.to_owned(),
        value: NULL.to_owned(),
    });
    let mut opened = Vec::new();
    for (kind, path) in joined(spec) {
        if let Some((_file, key)) = inherited(kind) {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let fd = open(path, flags, Mode::empty()).at("open namespace", path.display())?;
            options.inherit_fd.push(InheritFd {
                key: key.to_owned(),
                fd: fd.as_raw_fd(),
            });
            opened.push(fd);
        } else if let Some(kind) = joinable(kind) {
            options.join_ns.push(JoinNamespace {
                kind: kind.to_owned(),
                file: text(path),
            });
        } else {
            let subject = path.display().to_string();
            return Err(
                Error::new(ErrorKind::Unsupported, "restore into namespace", subject)
                    .because("criu can join no namespace of this kind"),
            );
        }
    }
    Ok(opened)
}

/// Namespaces of a spec that are joined by path.
fn joined(spec: &Spec) -> impl Iterator<Item = (LinuxNamespaceType, &Path)> {
    let linux = spec.linux().as_ref();
    let all = linux.and_then(|linux| linux.namespaces().as_ref());
    all.into_iter()
        .flatten()
        .filter_map(|namespace| Some((namespace.typ(), namespace.path().as_deref()?)))
}

/// Those criu takes as a descriptor: its name of the kind, and the key both sides use.
fn inherited(kind: LinuxNamespaceType) -> Option<(&'static str, &'static str)> {
    match kind {
        LinuxNamespaceType::Network => Some(("net", "extRootNetNS")),
        LinuxNamespaceType::Pid => Some(("pid", "extRootPidNS")),
        _ => None,
    }
}

/// Those it joins by path.
fn joinable(kind: LinuxNamespaceType) -> Option<&'static str> {
    match kind {
        LinuxNamespaceType::Ipc => Some("ipc"),
        LinuxNamespaceType::Uts => Some("uts"),
        LinuxNamespaceType::User => Some("user"),
        LinuxNamespaceType::Mount => Some("mnt"),
        LinuxNamespaceType::Time => Some("time"),
        _ => None,
    }
}

fn is_file(root: BorrowedFd<'_>, path: &Path) -> bool {
    let mode = find(root, path).and_then(fstat).map(|stat| stat.st_mode);
    mode.is_ok_and(|mode| FileType::from_raw_mode(mode) != FileType::Directory)
}

/// A destination as the mount table has it: links of the image followed, inside its root. What is
/// not there yet is in a mount that comes before, under the name that was asked for.
fn resolved(root: BorrowedFd<'_>, destination: &Path) -> PathBuf {
    let at = |fd: BorrowedFd<'_>| {
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let path = readlinkat(CWD, link, Vec::new()).ok()?;
        Some(PathBuf::from(OsStr::from_bytes(path.to_bytes())))
    };
    let found = find(root, destination).ok().and_then(|fd| {
        let (path, root) = (at(std::os::fd::AsFd::as_fd(&fd))?, at(root)?);
        let below = path.strip_prefix(&root).ok()?;
        Some(Path::new("/").join(below))
    });
    found.unwrap_or_else(|| Path::new("/").join(destination))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
