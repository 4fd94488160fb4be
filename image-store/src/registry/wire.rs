//! What a store and `hostrun-remote` say to each other.
//!
//! Everything goes over sockets that keep the bounds of messages (`SOCK_SEQPACKET`). The program has one
//! as its standard input. On it the store sends a [`Setup`], gets an answer, and then sends one [`Ask`] for
//! each thing it wants, together with the socket on which the answer is to come: answers come side by
//! side without anybody sorting them, and the kernel holds back whoever is too fast.
//!
//! A message of an answer begins with one byte, its [`Kind`].

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Most bytes of a message, its first one included.
pub const MESSAGE_MAX: usize = 128 * 1024;

/// Descriptors a message may bring: the socket for the answer, and a file to send.
const DESCRIPTORS: usize = 2;

/// What a message of an answer is: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// JSON about what follows; at most one, and before any data.
    Head = 1,
    /// Bytes.
    Data = 2,
    /// That was all.
    End = 3,
    /// It failed: a [`Trouble`] as JSON. Nothing follows.
    Trouble = 4,
    /// It goes on later, and why, as a [`Wait`].
    Wait = 5,
    /// How many bytes of an upload are sent, as JSON.
    Sent = 6,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let all = [
            Self::Head,
            Self::Data,
            Self::End,
            Self::Trouble,
            Self::Wait,
            Self::Sent,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// The first message: what the program gets ready for while it still has its caller's rights. No byte of
/// the network was read before it has dropped them and said so.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Setup {
    /// The image as the caller wrote it, or the registry that is meant.
    pub image: String,
    /// What is to be done.
    pub purpose: Purpose,
    /// Where credentials are, in place of the usual files.
    pub authfile: Option<PathBuf>,
    /// Name and password, in place of all files.
    pub credentials: Option<(String, String)>,
    /// Where certificates are, in place of the usual folders.
    pub cert_dir: Option<PathBuf>,
    /// Whether the registry has to prove who it is; what the configuration says when unset.
    pub tls_verify: Option<bool>,
    /// How long nothing may come.
    pub patience: Duration,
    /// How often each thing is asked for before it is given up.
    pub attempts: u32,
}

/// What the program is started for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// To get an image.
    #[default]
    Pull,
    /// To send one.
    Push,
    /// To find out whether credentials are good.
    Login,
    /// To write credentials down, with the rights of the caller and without the network.
    Keep,
    /// To forget credentials, likewise.
    Forget,
}

/// The answer to a [`Setup`], in a message of the kind `Head`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ready {
    /// The image with its registry, whatever was short for it.
    pub image: String,
    /// What a person should know, each one line.
    pub warnings: Vec<String>,
}

/// A thing that is wanted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Ask {
    /// An index or manifest: head [`Document`], data, end.
    Manifest(Manifest),
    /// A blob from a byte on: data, end.
    Blob {
        /// Which.
        digest: Digest,
        /// How long all of it is.
        size: u64,
        /// Where to begin.
        offset: u64,
    },
    /// Whether the credentials are good: end.
    Login,
    /// A blob goes to the registry, whose file comes with the question, unless it is there: head
    /// [`Stored`], end.
    Upload {
        /// Which.
        digest: Digest,
        /// How long it is.
        size: u64,
        /// A repository of the same registry that may have it.
        mount: Option<String>,
    },
    /// Whether the registry has a blob: head [`Stored`], end.
    Exists {
        /// Which.
        digest: Digest,
        /// A repository of the same registry that may have it: then it is had from there.
        mount: Option<String>,
    },
    /// A manifest goes to the registry under the name of the setup, its bytes in the file that comes with
    /// the question: end.
    Publish {
        /// What it is.
        media_type: String,
        /// Its digest.
        digest: Digest,
        /// How long it is.
        size: u64,
    },
}

/// Which manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Manifest {
    /// The one the image's name means.
    Named,
    /// The one of another tag of the same repository.
    Tag(String),
    /// By digest.
    Digest(Digest),
}

/// About a document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Document {
    /// What the registry says it is.
    pub media_type: Option<String>,
}

/// About a blob that was sent, or was to be.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Stored {
    /// The registry has it and had it before.
    pub was_there: bool,
}

/// Why nothing comes for a while.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wait {
    /// How long.
    pub pause: Duration,
    /// Why, as one line.
    pub cause: String,
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What sort of failure.
    pub fault: Fault,
    /// As one line; it quotes what a registry said.
    pub cause: String,
    /// What a person can do.
    pub hint: Option<Hint>,
}

/// What sort of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The caller's words or the configuration make no sense.
    Invalid,
    /// The registry does not have it.
    NotFound,
    /// The registry, or the configuration, does not let us.
    Denied,
    /// The registry cannot be reached, broke off, or answers nonsense.
    Network,
    /// Something this program does not do.
    Unsupported,
    /// More than is let in.
    TooLarge,
}

/// What a person can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hint {
    /// Log in.
    Login,
    /// Have a certificate, or go without.
    Certificate,
    /// It speaks no TLS.
    Plain,
    /// Name the registry.
    Qualify,
    /// Write the configuration anew.
    Configuration,
}

/// A pair of connected sockets.
///
/// # Errors
/// When there are no descriptors left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok((ours, theirs))
}

/// Sends a message of a kind.
///
/// # Errors
/// When nobody listens any more.
pub fn send(socket: impl AsFd, kind: Kind, payload: &[u8]) -> io::Result<()> {
    send_parts(socket, Some(kind), payload, &[])
}

/// Sends a value as JSON.
///
/// # Errors
/// When nobody listens any more.
pub fn send_value(socket: impl AsFd, kind: Kind, value: &impl Serialize) -> io::Result<()> {
    send(socket, kind, &serde_json::to_vec(value)?)
}

/// Sends a question or a setup, with descriptors.
///
/// # Errors
/// When nobody listens any more.
pub fn ask(
    socket: impl AsFd,
    question: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    send_parts(socket, None, &serde_json::to_vec(question)?, descriptors)
}

fn send_parts(
    socket: impl AsFd,
    kind: Option<Kind>,
    payload: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let first = [kind.map_or(0, |kind| kind as u8)];
    let first = if kind.is_some() { &first[..] } else { &[] };
    let parts = [IoSlice::new(first), IoSlice::new(payload)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let flags = SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(&socket, &parts, &mut control, flags))?;
    Ok(())
}

/// Receives a message of an answer into `buffer`, as many bytes as that has from the first on; none at the
/// end. The buffer must take [`MESSAGE_MAX`].
///
/// # Errors
/// When the other side is gone without an end, is silent for too long, or breaks the rules.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(Kind, usize)> {
    let mut first = [0];
    let (count, flags) = {
        let mut parts = [IoSliceMut::new(&mut first), IoSliceMut::new(buffer)];
        // No room for descriptors: what is sent is closed by the kernel.
        let mut control = RecvAncillaryBuffer::default();
        let message = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
        });
        let message = message.map_err(|errno| match errno {
            Errno::WOULDBLOCK => io::ErrorKind::TimedOut.into(),
            errno => io::Error::from(errno),
        })?;
        (message.bytes, message.flags)
    };
    if flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "message too long",
        ));
    }
    let Some(payload) = count.checked_sub(1) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let unknown = || io::Error::new(io::ErrorKind::InvalidData, "message of an unknown kind");
    let kind = Kind::of(first[0]).ok_or_else(unknown)?;
    Ok((kind, payload))
}

/// Receives a question and its descriptors; none when the other side is gone.
///
/// # Errors
/// When the message makes no sense.
pub fn listen<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; MESSAGE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let count = {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(&socket, &mut parts, &mut control, flags)
        })?
        .bytes
    };
    if count == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    let value = serde_json::from_slice(buffer.get(..count).unwrap_or_default())?;
    Ok(Some((value, descriptors)))
}
