//! The user namespaces whose maps idmapped mounts are shown with, and the mapping itself.

use crate::clone::Child;
use crate::error::{At, Error, ErrorKind, Result};
use crate::host::Host;
use crate::plan::Plan;
use crate::plan::idmaps::IdmapPlan;
use crate::plan::mounts::MountPlan;
use crate::plan::namespaces::{Choice, Kind, Maps};
use crate::sys;
use rustix::fs::{Mode, OFlags, openat};
use std::os::fd::{AsFd, OwnedFd};

/// One namespace for each set of maps; closed when the container stands.
#[derive(Debug, Default)]
pub(crate) struct Idmaps(Vec<(Option<Maps>, OwnedFd)>);

impl Idmaps {
    pub(crate) fn open(plan: &Plan, host: &Host) -> Result<Idmaps> {
        let mut opened = Idmaps::default();
        for idmap in plan
            .root
            .mounts
            .iter()
            .filter_map(|mount| mount.idmap.as_ref())
        {
            if opened.find(idmap).is_none() {
                let namespace = match (&idmap.maps, plan.namespaces.choice(Kind::User)) {
                    (Some(maps), _) => create(maps, host)?,
                    (None, Choice::Join(path)) => super::open_namespace(path)?,
                    (None, _) => continue,
                };
                opened.0.push((idmap.maps.clone(), namespace));
            }
        }
        Ok(opened)
    }

    fn find(&self, idmap: &IdmapPlan) -> Option<&OwnedFd> {
        let known = self.0.iter().find(|(maps, _)| *maps == idmap.maps);
        known.map(|(_, namespace)| namespace)
    }

    /// Gives a detached tree the ids its mount is to show.
    pub(crate) fn apply(&self, mount: &MountPlan, tree: impl AsFd) -> Result<()> {
        let Some(idmap) = &mount.idmap else {
            return Ok(());
        };
        let at = mount.destination.display().to_string();
        let Some(namespace) = self.find(idmap) else {
            return Err(Error::new(ErrorKind::System, "map the ids of mount", at));
        };
        match sys::set_mount_idmap(tree, namespace.as_fd(), idmap.recursive) {
            Err(rustix::io::Errno::INVAL) => Err(Error::new(
                ErrorKind::Unsupported,
                "map the ids of mount",
                at,
            )
            .because(format!(
                "invalid argument (EINVAL): maybe the file system of {} does not support idmap \
                 mounts on this kernel",
                mount.source_name()
            ))),
            // Maps are given once.
            Err(rustix::io::Errno::PERM) => {
                Err(Error::new(ErrorKind::Denied, "map the ids of mount", at)
                    .because("operation not permitted (EPERM): a mount in it is idmapped already"))
            }
            other => other.at("map the ids of mount", at),
        }
    }
}

/// A namespace lives as long as a descriptor of it, so the process that it was made with goes.
fn create(maps: &Maps, host: &Host) -> Result<OwnedFd> {
    with_maps(&maps.uids.text(), &maps.gids.text(), host)
}

/// The same by the lines of its maps, `user_namespaces(7)`.
pub(crate) fn with_maps(uids: &str, gids: &str, host: &Host) -> Result<OwnedFd> {
    holding(host, |pid| {
        host.write(&format!("{pid}/uid_map"), uids.as_bytes())?;
        host.write(&format!("{pid}/gid_map"), gids.as_bytes())
    })
}

/// The same for whoever can map the ids of the process with this number.
pub(crate) fn holding(host: &Host, map: impl FnOnce(i32) -> Result<()>) -> Result<OwnedFd> {
    let (pid, pidfd) =
        sys::clone_holder(libc::CLONE_NEWUSER).at("create", "a user namespace to map ids with")?;
    let holder = Child::new(pid, pidfd);
    map(pid)?;
    let path = format!("{pid}/ns/user");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace =
        openat(host.proc()?, &path, flags, Mode::empty()).at("open /proc file", &path)?;
    drop(holder);
    Ok(namespace)
}
