//! A conversation with `criu swrk`: one request, notifications that want an answer, one response.

use super::rpc::{Kind, Notify, Options, Request, Response};
use crate::error::{At, Error, ErrorKind, Result};
use crate::prepare::Streams;
use crate::sys::spawn::{Surroundings, spawn};
use prost::Message as _;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags,
    SocketFlags, SocketType, recvmsg, send, socketpair,
};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command};

/// Larger than any answer of criu.
const ANSWER_BYTES: usize = 64 << 10;

/// criu, waiting for its request.
#[derive(Debug)]
pub(super) struct Criu {
    child: Child,
    socket: OwnedFd,
    /// Where it writes what went wrong.
    log: PathBuf,
}

impl Criu {
    /// Starts it, with standard streams that what it restores inherits.
    pub(super) fn start(
        log: PathBuf,
        streams: Option<Streams>,
        surroundings: &Surroundings<'_>,
    ) -> Result<Criu> {
        let kind = SocketType::SEQPACKET;
        let (socket, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
            .at("create", "the pair of sockets to criu")?;
        let mut command = Command::new("criu");
        command.arg("swrk").arg(theirs.as_raw_fd().to_string());
        let null = std::process::Stdio::null;
        command.stdin(null()).stdout(null()).stderr(null());
        if let Some(streams) = streams {
            streams.give(&mut command);
        }
        let child = spawn(&mut command, theirs.as_fd(), surroundings).map_err(|error| {
            let failure = Error::new(ErrorKind::System, "run", "\"criu\"");
            match error.kind() {
                std::io::ErrorKind::NotFound => failure
                    .because("executable file not found in $PATH")
                    .with_hint("checkpoint and restore need the program criu"),
                _ => failure.caused_by(error),
            }
        })?;
        Ok(Criu { child, socket, log })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks, answers what criu wants to know meanwhile, and returns the response.
    pub(super) fn ask(
        mut self,
        kind: Kind,
        options: Options,
        mut notified: impl FnMut(&str, &Notify, Option<OwnedFd>) -> Result<()>,
    ) -> Result<Response> {
        self.send(&Request {
            kind: kind as i32,
            options: Some(options),
            notify_success: None,
        })?;
        loop {
            let (response, passed) = self.receive(kind)?;
            if !response.success {
                return Err(self.failed(response.kind(), &response));
            }
            if response.kind() != Kind::Notify {
                self.finish(kind)?;
                return Ok(response);
            }
            let notify = response.notify.unwrap_or_default();
            notified(notify.script(), &notify, passed)?;
            self.send(&Request {
                kind: Kind::Notify as i32,
                options: None,
                notify_success: Some(true),
            })?;
        }
    }

    fn send(&self, request: &Request) -> Result<()> {
        let bytes = request.encode_to_vec();
        loop {
            match send(&self.socket, &bytes, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => {
                    return Err(self.explained("criu failed: it ended before it was asked"));
                }
                other => return other.map(drop).at("talk to", "criu"),
            }
        }
    }

    fn receive(&self, asked: Kind) -> Result<(Response, Option<OwnedFd>)> {
        let mut bytes = vec![0_u8; ANSWER_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let message = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            match recvmsg(&self.socket, &mut parts, &mut control, flags) {
                Err(Errno::INTR) => {}
                // It ended without having read what it was asked.
                Err(Errno::CONNRESET) => return Err(self.failed(asked, &Response::default())),
                other => break other.at("hear from", "criu")?,
            }
        };
        let cut = message.flags.contains(ReturnFlags::TRUNC);
        let answer = bytes
            .get(..message.bytes)
            .filter(|bytes| !bytes.is_empty() && !cut);
        let Some(answer) = answer else {
            return Err(self.failed(asked, &Response::default()));
        };
        let response = Response::decode(answer).map_err(|error| {
            Error::new(ErrorKind::System, "understand", "criu").caused_by(error)
        })?;
        let passed = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        Ok((response, passed))
    }

    /// It ends by itself when it has answered; only a pre-dump leaves it waiting for more.
    fn finish(&mut self, kind: Kind) -> Result<()> {
        if rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write).is_err() {
            // It is gone already.
        }
        let status = self
            .child
            .wait()
            .map_err(|error| Error::new(ErrorKind::System, "wait for", "criu").caused_by(error))?;
        if status.success() || kind == Kind::PreDump {
            return Ok(());
        }
        Err(self.explained(&format!("criu failed: {status}")))
    }

    fn failed(&self, kind: Kind, response: &Response) -> Error {
        let (name, errno) = (kind.name(), response.errno.unwrap_or(0));
        let message = response
            .message
            .as_deref()
            .map_or_else(String::new, |text| format!(" ({})", text.trim_end()));
        self.explained(&format!("criu failed: type {name} errno {errno}{message}"))
    }

    fn explained(&self, why: &str) -> Error {
        let log = self.log.display();
        let error = Error::new(ErrorKind::System, "checkpoint or restore", "container")
            .because(format!("{why}; log file: {log}"));
        match self.last_error() {
            Some(line) => error.with_hint(format!("criu says: {line}")),
            None => error,
        }
    }

    /// The first line of its log that tells of an error: the others follow from it.
    fn last_error(&self) -> Option<String> {
        let log = std::fs::read_to_string(&self.log).ok()?;
        let line = log.lines().find(|line| line.contains("Error"))?;
        Some(line.chars().take(300).collect())
    }
}

impl Drop for Criu {
    /// Nothing of criu outlives a conversation that was cut short.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.child.kill().is_ok() {
            self.child.wait().map(drop).unwrap_or_default();
        }
    }
}
