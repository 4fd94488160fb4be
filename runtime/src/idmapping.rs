//! Files of the host shown under other ids: for whoever mounts the root of a container in a user namespace
//! before there is a container.

use crate::error::{At, Error, ErrorKind, Result};
use crate::host::Host;
use crate::prepare::with_maps;
use crate::sys;
use oci_spec::runtime::LinuxIdMapping;
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Maps of ids, held by a user namespace that nobody is in.
#[derive(Debug)]
pub struct IdMapping(OwnedFd);

impl IdMapping {
    /// From the maps of a config: what is `host_id` on disk is shown as `container_id` maps it.
    ///
    /// # Errors
    /// `InvalidSpec` where one of them is empty; what the kernel answers to maps that overlap.
    pub fn new(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<IdMapping> {
        if uids.is_empty() || gids.is_empty() {
            let refusal = Error::new(ErrorKind::InvalidSpec, "map ids", "");
            return Err(refusal.because("maps of users and of groups are both needed"));
        }
        let host = Host::default();
        Ok(IdMapping(with_maps(&lines(uids), &lines(gids), &host)?))
    }

    /// A detached copy of the mount that a path is in, from there, under these ids, `mount_setattr(2)`. It goes
    /// with its descriptor unless it is attached.
    ///
    /// # Errors
    /// `NotFound`; `Unsupported` where the file system knows no such mounts.
    pub fn tree(&self, path: &Path) -> Result<OwnedFd> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, path, flags).at("clone", path.display())?;
        let mapped = sys::set_mount_idmap(&tree, self.0.as_fd(), false);
        match mapped.at("map the ids of", path.display()) {
            Err(error) if error.errno() == Some(libc::EINVAL) => Err(error
                .with_kind(ErrorKind::Unsupported)
                .with_hint("its file system may know no idmapped mounts")),
            other => other.map(|()| tree),
        }
    }
}

fn lines(maps: &[LinuxIdMapping]) -> String {
    maps.iter().fold(String::new(), |mut text, map| {
        let (inside, outside) = (map.container_id(), map.host_id());
        // A string takes whatever is written to it.
        writeln!(text, "{inside} {outside} {}", map.size()).unwrap_or_default();
        text
    })
}
