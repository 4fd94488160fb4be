//! The seccomp agent: a process of the host that answers the calls which a filter leaves open.
//!
//! The room installs the filter and sends us its listener; we hand it on with the state the spec
//! asks for. Neither the room nor the container ever sees the agent's socket.

use crate::error::{Error, ErrorKind, Result};
use crate::plan::filter::Listener;
use crate::state::{OCI_VERSION, Status};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with,
};
use serde::Serialize;
use std::collections::HashMap;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// What agents are told of the container.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentState {
    oci_version: &'static str,
    pub(crate) id: String,
    pub(crate) status: Status,
    /// Its first process; 0 where that is the one the listener is of, until it is known.
    pub(crate) pid: i32,
    pub(crate) bundle: String,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    pub(crate) annotations: HashMap<String, String>,
}

impl AgentState {
    pub(crate) fn new(
        id: &impl ToString,
        status: Status,
        pid: i32,
        bundle: &Path,
        annotations: Option<&HashMap<String, String>>,
    ) -> AgentState {
        AgentState {
            oci_version: OCI_VERSION,
            id: id.to_string(),
            status,
            pid,
            bundle: bundle.display().to_string(),
            annotations: annotations.cloned().unwrap_or_default(),
        }
    }
}

/// `ContainerProcessState` of the spec.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'static str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: &'a AgentState,
}

/// A connection to the agent, made before there is anything to ask: where nobody is there, nothing
/// runs.
#[derive(Debug)]
pub(crate) struct Agent {
    socket: OwnedFd,
    metadata: String,
    state: AgentState,
}

impl Agent {
    /// Connects, if there is anybody to connect to.
    ///
    /// # Errors
    /// Where nobody listens.
    pub(crate) fn connect(listener: Option<&Listener>, state: AgentState) -> Result<Option<Agent>> {
        let Some(listener) = listener else {
            return Ok(None);
        };
        let fail = |errno: rustix::io::Errno| failed(listener, errno);
        let kind = SocketType::STREAM;
        let socket =
            socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map_err(fail)?;
        let address = SocketAddrUnix::new(&listener.path).map_err(fail)?;
        connect(&socket, &address).map_err(fail)?;
        Ok(Some(Agent {
            socket,
            metadata: listener.metadata.clone(),
            state,
        }))
    }

    /// Hands over the listener of the process `pid`.
    ///
    /// # Errors
    /// Where the agent went away.
    pub(crate) fn hand_over(mut self, listener: &OwnedFd, pid: i32) -> Result<()> {
        let fail = |source: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(ErrorKind::System, "hand listener to", "the seccomp agent").caused_by(source)
        };
        if self.state.pid == 0 {
            self.state.pid = pid;
        }
        let state = ProcessState {
            oci_version: OCI_VERSION,
            fds: ["seccompFd"],
            pid,
            metadata: &self.metadata,
            state: &self.state,
        };
        let json = serde_json::to_vec(&state).map_err(|error| fail(error.into()))?;
        send_all(self.socket.as_fd(), &json, listener.as_fd()).map_err(|errno| fail(errno.into()))
    }
}

/// The descriptor goes with the first byte; a stream may take the rest in parts.
fn send_all(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    listener: BorrowedFd<'_>,
) -> rustix::io::Result<()> {
    let fds = [listener];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let mut rest = bytes;
    while !rest.is_empty() {
        let parts = [IoSlice::new(rest)];
        match sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL) {
            Ok(sent) => {
                rest = rest.get(sent..).unwrap_or_default();
                control.clear();
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Is there a socket where the agent is to be? What waits for its start is not there to be asked
/// about yet, so nobody is called up for it.
///
/// # Errors
/// Where there is none.
pub(crate) fn look_for(listener: Option<&Listener>) -> Result<()> {
    let Some(listener) = listener else {
        return Ok(());
    };
    match std::fs::metadata(&listener.path) {
        Ok(found) if found.file_type().is_socket() => Ok(()),
        Ok(_) => Err(failed(listener, rustix::io::Errno::NOTSOCK)),
        Err(error) => {
            let errno = rustix::io::Errno::from_io_error(&error);
            Err(failed(listener, errno.unwrap_or(rustix::io::Errno::IO)))
        }
    }
}

fn failed(listener: &Listener, errno: rustix::io::Errno) -> Error {
    let subject = format!("linux.seccomp.listenerPath {}", listener.path.display());
    Error::from_errno(
        errno.raw_os_error(),
        "failed to connect with seccomp agent specified in the seccomp profile:",
        subject,
    )
    .with_kind(ErrorKind::System)
}
