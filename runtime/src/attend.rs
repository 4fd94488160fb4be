//! The parent's half while the child follows its orders: identity maps, the terminal's master,
//! and the child's failure put into words.

use crate::agent::Agent;
use crate::clone::Child;
use crate::error::{At, Error, ErrorKind, Result};
use crate::grant::Grant;
use hostrun_inside::{Failure, byte};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A child that is parked or has become its program.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) child: Child,
    pub(crate) console: Option<OwnedFd>,
}

/// Serves the child until it is parked (`parks`) or runs its program; `serve` answers what it asks
/// for while it mounts. A child that makes the one that goes on has its `grant` given to that one.
///
/// # Errors
/// What the child reports, in the words of `explain`; the child is dead and reaped then.
pub(crate) fn attend(
    mut child: Child,
    socket: &OwnedFd,
    parks: bool,
    mut agent: Option<Agent>,
    grant: Option<&Grant<'_>>,
    serve: impl Fn(&Child, Asked) -> Result<()>,
    explain: impl Fn(Failure) -> Error,
) -> Result<Ready> {
    let mut console = None;
    let mut listener = None;
    // The second process may be through before the first has handed it to us.
    let mut outcome = None;
    loop {
        if let Some(listener) = listener.take_if(|_| !child.clones) {
            // At once: the program may have to wait for the agent to be executed at all.
            hand_over(agent.take(), &listener, child.pid)?;
        }
        if let Some(outcome) = outcome.take_if(|_| !child.clones) {
            return match outcome {
                Ok(()) => Ok(Ready { child, console }),
                Err(failure) => Err(explain(failure)),
            };
        }
        match receive(socket.as_fd())? {
            Message::End if parks || child.clones => {
                return Err(match outcome {
                    Some(Err(failure)) => explain(failure),
                    _ => died(&mut child),
                });
            }
            Message::End | Message::Byte(byte::READY, _) => outcome = Some(Ok(())),
            Message::Byte(byte::CONSOLE, Some(fd)) => console = Some(fd),
            Message::Byte(byte::LISTENER, Some(fd)) => listener = Some(fd),
            Message::Byte(byte::CHILD, Some(pidfd)) => {
                // The first child only made the second, which is ours as well.
                child.reap();
                child = Child::new(pid_of(pidfd.as_fd())?, pidfd);
                if let Some(grant) = grant {
                    grant.give(&child, socket)?;
                }
            }
            Message::Failure(failure) => outcome = Some(Err(failure)),
            Message::Asked(asked) => serve(&child, asked)?,
            Message::Byte(..) => {
                return Err(Error::new(
                    ErrorKind::System,
                    "understand",
                    "the container's first process",
                ));
            }
        }
    }
}

fn hand_over(agent: Option<Agent>, listener: &OwnedFd, pid: i32) -> Result<()> {
    match agent {
        Some(agent) => agent.hand_over(listener, pid),
        // Nobody was to be asked, so nobody is: without its listener the calls are ENOSYS.
        None => Ok(()),
    }
}

/// What came over the socket.
enum Message {
    /// The other end is closed: by `execve(2)`, or by death.
    End,
    Byte(u8, Option<OwnedFd>),
    Failure(Failure),
    Asked(Asked),
}

/// What a child asks for about one of its mounts.
#[derive(Debug)]
pub(crate) struct Asked {
    /// One of [`byte`].
    pub(crate) kind: u8,
    /// Index of the mount.
    pub(crate) index: u16,
    pub(crate) fd: Option<OwnedFd>,
}

const ASKED_LENGTH: usize = 3;

fn receive(socket: BorrowedFd<'_>) -> Result<Message> {
    let mut bytes = [0_u8; Failure::LENGTH];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received = loop {
        match recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.at("listen to", "the container's first process")?,
        }
    };
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fd = fds.flatten().next();
    let [first, low, high, ..] = bytes;
    Ok(match received.bytes {
        0 => Message::End,
        Failure::LENGTH => Message::Failure(Failure::from_bytes(bytes)),
        ASKED_LENGTH => Message::Asked(Asked {
            kind: first,
            index: u16::from_le_bytes([low, high]),
            fd,
        }),
        _ => Message::Byte(first, fd),
    })
}

/// The child ended without a word: the kernel killed it.
fn died(child: &mut Child) -> Error {
    let cause = match child.reap() {
        Some(signal) => format!("killed by signal {signal}"),
        None => "ended without a report".to_owned(),
    };
    Error::new(ErrorKind::System, "start", "the container's first process")
        .because(cause)
        .with_hint("a memory limit may be too small for any process to start")
}

fn pid_of(pidfd: BorrowedFd<'_>) -> Result<i32> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let pid = text
        .lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.ok_or_else(|| Error::new(ErrorKind::System, "read pid from", path))
}

/// Tells a parked child to go, and hears whether its program runs.
///
/// # Errors
/// What the child reports, in general words: its plan is gone with the creator.
pub(crate) fn release(
    socket: &OwnedFd,
    mut agent: Option<Agent>,
    pid: i32,
    explain: impl Fn(Failure) -> Error,
) -> Result<()> {
    send(socket, &[byte::START], SendFlags::NOSIGNAL).at("start", "the parked process")?;
    loop {
        match receive(socket.as_fd())? {
            Message::Failure(failure) => return Err(explain(failure)),
            Message::Byte(byte::LISTENER, Some(fd)) => hand_over(agent.take(), &fd, pid)?,
            _ => return Ok(()),
        }
    }
}
