//! Sockets a caller holds for a runtime: one that is sent a descriptor.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::runtime::PATIENCE;

/// A listening socket.
#[derive(Debug)]
pub struct Receiver {
    listener: UnixListener,
    path: PathBuf,
}

impl Receiver {
    /// Listens at `path`.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(path: &Path) -> Result<Self> {
        Ok(Self {
            listener: UnixListener::bind(path)?,
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Whether nobody has connected.
    ///
    /// # Errors
    /// When the kernel cannot tell.
    pub fn is_idle(&self) -> Result<bool> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        Ok(poll(
            &mut [PollFd::new(&self.listener, PollFlags::IN)],
            Some(&now),
        )? == 0)
    }

    /// The words and the descriptor that were sent first.
    ///
    /// # Errors
    /// When nobody sent one in time.
    pub fn receive(&self) -> Result<(String, OwnedFd)> {
        let limit = Timespec::try_from(PATIENCE)?;
        let came = poll(
            &mut [PollFd::new(&self.listener, PollFlags::IN)],
            Some(&limit),
        )?;
        anyhow::ensure!(came > 0, "nobody connected to {}", self.path.display());
        let (stream, _) = self.listener.accept()?;
        let mut bytes = [0_u8; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(
            &stream,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fd = fds.flatten().next().context("no descriptor was sent")?;
        let words = bytes.get(..got.bytes).unwrap_or_default();
        Ok((String::from_utf8_lossy(words).into_owned(), fd))
    }
}
