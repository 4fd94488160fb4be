//! What the room asks for while it mounts in a user namespace: sources that only we may open, and
//! ids that only we may map.

use crate::attend::Asked;
use crate::error::{At, Error, ErrorKind, Result};
use crate::host::Host;
use crate::netdevices;
use crate::prepare::{Prepared, Tree};
use hostrun_inside::byte;
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// Answers the child of a new container.
#[derive(Debug)]
pub(crate) struct Supply<'a> {
    prepared: &'a Prepared,
    host: &'a Host,
}

impl<'a> Supply<'a> {
    pub(crate) fn new(prepared: &'a Prepared, host: &'a Host) -> Supply<'a> {
        Supply { prepared, host }
    }

    /// Answers one question of the process with this pid.
    ///
    /// # Errors
    /// What the kernel refuses; the container cannot be made then.
    pub(crate) fn serve(&self, pid: i32, asked: Asked) -> Result<()> {
        match (asked.kind, asked.fd) {
            (byte::SOURCE, _) => {
                let place = self.source(pid, asked.index)?;
                self.answer(byte::SOURCE, place.as_ref())
            }
            (byte::IDMAP, Some(tree)) => {
                let plans = &self.prepared.plan.root.mounts;
                let mount = plans.get(usize::from(asked.index)).ok_or_else(strange)?;
                self.prepared.trees.idmaps.apply(mount, tree)?;
                self.answer(byte::IDMAP, None)
            }
            (byte::NET_DEVICES, _) => {
                let path = format!("{pid}/ns/net");
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let namespace = openat(self.host.proc()?, &path, flags, Mode::empty())
                    .at("open /proc file", &path)?;
                netdevices::attach(&self.prepared.plan.net_devices, namespace)?;
                self.answer(byte::NET_DEVICES, None)
            }
            (byte::CLASS, _) => {
                if let Some(class) = &self.prepared.rdt {
                    class.join(pid)?;
                }
                self.answer(byte::CLASS, None)
            }
            _ => Err(strange()),
        }
    }

    /// The place of a source in the child's mount namespace, a copy of ours in which the kernel has
    /// locked what the host restricts. `None` where we have no right to look into the child: it
    /// has our own user's rights then.
    fn source(&self, pid: i32, index: u16) -> Result<Option<OwnedFd>> {
        let trees = &self.prepared.trees;
        let (fd, path) = match (index, trees.mounts.get(usize::from(index))) {
            (byte::ROOT, _) => (&trees.root, trees.root_path.as_ref().ok_or_else(strange)?),
            (_, Some(Some(Tree::Host { fd, path, .. }))) => (fd, path),
            _ => return Err(strange()),
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = openat(
            self.host.proc()?,
            format!("{pid}/root"),
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let root = match root {
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => return Ok(None),
            root => root.at("look into", "the container's first process")?,
        };
        let at = path.to_string_lossy();
        // Links were resolved when it was opened first; one that is here now was put here since.
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let place = openat2(&root, path.as_c_str(), flags, Mode::empty(), inside)
            .at("failed to fulfil mount request: open", &at)?;
        let identity = |fd: &OwnedFd| {
            fstat(fd)
                .map(|stat| (stat.st_dev, stat.st_ino))
                .at("check mount source", &at)
        };
        if identity(&place)? == identity(fd)? {
            return Ok(Some(place));
        }
        Err(Error::new(
            ErrorKind::Denied,
            "failed to fulfil mount request: open",
            at.into_owned(),
        )
        .because("it was replaced while the container was made"))
    }

    fn answer(&self, kind: u8, fd: Option<&OwnedFd>) -> Result<()> {
        let fds: Vec<_> = fd.into_iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let bytes = [kind];
        let parts = [IoSlice::new(&bytes)];
        sendmsg(
            &self.prepared.line.parent,
            &parts,
            &mut control,
            SendFlags::NOSIGNAL,
        )
        .map(drop)
        .at("answer", "the container's first process")
    }
}

fn strange() -> Error {
    Error::new(
        ErrorKind::System,
        "understand",
        "the container's first process",
    )
}
