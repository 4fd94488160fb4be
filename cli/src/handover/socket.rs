//! Sockets of the caller that get a descriptor from us: the master of a terminal, or a pidfd.

use anyhow::{Context, Result};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The name that goes with a terminal's master, as runc sends it.
const MASTER: &str = "/dev/ptmx";

/// Connects to a caller's socket: before anything is made, for a socket that is not there is no
/// reason to make a container.
///
/// # Errors
/// When nobody listens.
pub(crate) fn connect(path: &Path) -> Result<UnixStream> {
    UnixStream::connect(path).with_context(|| format!("dial unix {}", path.display()))
}

/// Sends a terminal's master.
///
/// # Errors
/// When the other side went away.
pub(crate) fn send_master(socket: &UnixStream, master: BorrowedFd<'_>) -> Result<()> {
    send(socket, MASTER, master).context("cannot send the terminal to the console socket")
}

/// Sends a pidfd; `what` says whose it is: `standard` for a container, `setns` for a process that
/// was executed in one.
///
/// # Errors
/// When nobody listens, or the process is gone.
pub(crate) fn send_pidfd(path: &Path, what: &str, pidfd: Option<BorrowedFd<'_>>) -> Result<()> {
    let pidfd = pidfd.context("the process has ended before its pidfd could be sent")?;
    send(&connect(path)?, what, pidfd).context("cannot send the pidfd to the pidfd socket")
}

fn send(socket: &UnixStream, name: &str, fd: BorrowedFd<'_>) -> Result<()> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let parts = [IoSlice::new(name.as_bytes())];
    sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
