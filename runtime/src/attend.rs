//! The parent's half while the child follows its orders: identity maps, the terminal's master,
//! and the child's failure put into words.

use crate::agent::Agent;
use crate::clone::Child;
use crate::error::{At, Error, ErrorKind, Result};
use crate::host::Stat;
use crate::signal;
use hostrun_inside::{Failure, Said, byte};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A child that is parked or has become its program.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) child: Child,
    pub(crate) console: Option<OwnedFd>,
}

/// What happens to a child on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It has made the process that goes on in its place.
    Replaced,
    /// It waits for the hooks of the host.
    Hooks,
}

/// Serves the child until it is parked (`parks`) or runs its program. `serve` answers
/// what it asks for while it mounts, `on` hears of the rest.
///
/// # Errors
/// What the child reports, in the words of `explain`, or `on`; the child is dead and reaped then.
pub(crate) fn attend(
    mut child: Child,
    socket: &OwnedFd,
    parks: bool,
    mut agent: Option<Agent>,
    serve: impl Fn(&Child, Asked) -> Result<()>,
    explain: impl Fn(Failure) -> Error,
    mut on: impl FnMut(Event, &Child) -> Result<()>,
) -> Result<Ready> {
    let mut console = None;
    let mut listener = None;
    let mut said = Vec::new();
    let mut asked = None;
    let (mut waits, mut hooked) = (false, false);
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
                Err(failure) => Err(explain(failure).quoting(&said)),
            };
        }
        if std::mem::take(&mut waits) {
            if child.clones {
                waits = true;
            } else {
                on(Event::Hooks, &child)?;
                hooked = true;
                // A child that was killed meanwhile is found out below.
                send(socket, &[byte::HOOKED], SendFlags::NOSIGNAL).unwrap_or_default();
            }
        }
        if let Some(asked) = asked.take_if(|_| !child.clones) {
            serve(&child, asked)?;
        }
        match receive(socket.as_fd())? {
            Message::End if parks || child.clones => {
                return Err(match outcome {
                    Some(Err(failure)) => explain(failure),
                    _ => died(&mut child),
                });
            }
            // A hook may kill the child that waits for it.
            Message::End if hooked && !has_executed(child.pid) => return Err(died(&mut child)),
            Message::End | Message::Byte(byte::READY, _) => outcome = Some(Ok(())),
            Message::Byte(byte::HOOKS, _) => waits = true,
            Message::Said(text) => said = text,
            Message::Byte(byte::CONSOLE, Some(fd)) => console = Some(fd),
            Message::Byte(byte::LISTENER, Some(fd)) => listener = Some(fd),
            Message::Child(pid, pidfd) => {
                // The first child only made the second, which is ours as well.
                let second = Child::handed_over(pid, pidfd)?;
                child.reap();
                child = second;
                on(Event::Replaced, &child)?;
            }
            Message::Failure(failure) => outcome = Some(Err(failure)),
            Message::Asked(question) => asked = Some(question),
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
    /// The second child, which goes on in the place of the first.
    Child(i32, Option<OwnedFd>),
    Asked(Asked),
    /// What a hook wrote that is about to be reported.
    Said(Vec<u8>),
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

fn receive(socket: BorrowedFd<'_>) -> Result<Message> {
    let mut bytes = [0_u8; 1 + Said::MOST];
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
    let message = bytes.get(..received.bytes).unwrap_or_default();
    Ok(match (message, message.first_chunk()) {
        ([], _) => Message::End,
        ([byte::SAID, text @ ..], _) => Message::Said(text.to_vec()),
        ([byte::CHILD, a, b, c, d], None) => {
            Message::Child(i32::from_le_bytes([*a, *b, *c, *d]), fd)
        }
        (_, Some(failure)) => Message::Failure(Failure::from_bytes(*failure)),
        ([kind, low, high], None) => Message::Asked(Asked {
            kind: *kind,
            index: u16::from_le_bytes([*low, *high]),
            fd,
        }),
        ([first, ..], None) => Message::Byte(*first, fd),
    })
}

/// The child ended without a word: the kernel killed it.
fn died(child: &mut Child) -> Error {
    let cause = match child.reap() {
        Some(signal) => format!("signal: {}", signal::described(signal)),
        None => "ended without a report".to_owned(),
    };
    Error::new(ErrorKind::System, "start", "the container's first process")
        .because(cause)
        .with_hint("a memory limit may be too small for any process to start")
}

/// Has it become another program since it was cloned? Its remains tell, too.
fn has_executed(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    Stat::parse(&stat).is_some_and(|stat| stat.executed)
}

/// Hears of a parked child that was told its program whether it can be executed; false where the child
/// is dead.
///
/// # Errors
/// What the child reports, in the words of `explain`.
pub(crate) fn hear(line: &OwnedFd, explain: impl Fn(Failure) -> Error) -> Result<bool> {
    match receive(line.as_fd()) {
        Ok(Message::Byte(byte::READY, _)) => Ok(true),
        Ok(Message::Failure(failure)) => Err(explain(failure)),
        Err(error) if !is_hang_up(&error) => Err(error),
        _ => Ok(false),
    }
}

/// Is that because the other end of a socket is closed, or was before it read what we said?
pub(crate) fn is_hang_up(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::EPIPE | libc::ECONNRESET))
}

/// Tells a parked child to go, and hears whether its program runs.
///
/// # Errors
/// What the child reports, in general words: its plan is gone with the creator.
pub(crate) fn release(
    socket: &OwnedFd,
    agent: Option<Agent>,
    pid: i32,
    explain: impl Fn(Failure) -> Error,
) -> Result<()> {
    send(socket, &[byte::START], SendFlags::NOSIGNAL).at("start", "the parked process")?;
    heed(socket, agent, pid, explain)
}

/// Hears of a child that goes whether its program runs.
///
/// # Errors
/// As [`release`].
pub(crate) fn heed(
    socket: &OwnedFd,
    mut agent: Option<Agent>,
    pid: i32,
    explain: impl Fn(Failure) -> Error,
) -> Result<()> {
    let mut said = Vec::new();
    loop {
        match receive(socket.as_fd())? {
            Message::Failure(failure) => return Err(explain(failure).quoting(&said)),
            Message::Said(text) => said = text,
            Message::Byte(byte::LISTENER, Some(fd)) => hand_over(agent.take(), &fd, pid)?,
            _ => return Ok(()),
        }
    }
}
