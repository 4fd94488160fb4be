//! One answer, message by message, with a bound on each.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use serde::de::DeserializeOwned;

use super::wire::{self, Kind, Trouble, Wait};
use super::{failure, gone, is_aside};
use crate::error::{Error, ErrorKind, Result};

/// Longest pause the program may announce.
const PAUSE_MAX: Duration = Duration::from_mins(10);

/// The socket an answer comes on.
pub(crate) struct Answer {
    socket: OwnedFd,
    silence: Duration,
    buffer: Vec<u8>,
    filled: usize,
    ended: bool,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl Answer {
    pub(super) fn new(socket: OwnedFd, silence: Duration) -> Self {
        Self {
            socket,
            silence,
            buffer: Vec::new(),
            filled: 0,
            ended: false,
        }
    }

    /// The next message that is no pause; pauses are told.
    fn next(&mut self, on_wait: &mut dyn FnMut(Duration, &str)) -> Result<Kind> {
        self.buffer.resize(wire::MESSAGE_MAX, 0);
        loop {
            self.filled = 0;
            let (kind, count) = wire::receive(&self.socket, &mut self.buffer)
                .map_err(|error| self.broken(&error))?;
            self.filled = count;
            if kind == Kind::Trouble {
                return Err(failure(&self.value::<Trouble>()?));
            }
            if !is_aside(kind) {
                return Ok(kind);
            }
            let wait: Wait = self.value()?;
            let pause = wait.pause.min(PAUSE_MAX);
            let bound = Some(self.silence.saturating_add(pause));
            set_socket_timeout(self.socket.as_fd(), Timeout::Recv, bound)
                .map_err(|_errno| gone())?;
            on_wait(pause, &wait.cause);
        }
    }

    fn broken(&self, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::TimedOut => {
                let cause = format!("nothing came for {} s", self.silence.as_secs());
                Error::new(ErrorKind::Network, "ask", "", cause)
            }
            io::ErrorKind::InvalidData => nonsense(),
            _ => gone(),
        }
    }

    fn payload(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    fn value<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(self.payload()).map_err(|_json| nonsense())
    }

    /// The head of the answer.
    pub(super) fn head<T: DeserializeOwned>(
        &mut self,
        on_wait: &mut dyn FnMut(Duration, &str),
    ) -> Result<T> {
        match self.next(on_wait)? {
            Kind::Head => self.value(),
            _ => Err(nonsense()),
        }
    }

    /// Some bytes of the data; none at its end.
    pub(crate) fn data(&mut self, on_wait: &mut dyn FnMut(Duration, &str)) -> Result<&[u8]> {
        if self.ended {
            return Ok(&[]);
        }
        match self.next(on_wait)? {
            Kind::Data if self.filled > 0 => Ok(self.payload()),
            Kind::End => {
                self.ended = true;
                Ok(&[])
            }
            _ => Err(nonsense()),
        }
    }

    /// All of the data, if it is not more than so many bytes.
    pub(super) fn whole(
        &mut self,
        limit: u64,
        on_wait: &mut dyn FnMut(Duration, &str),
    ) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let data = self.data(on_wait)?;
            if data.is_empty() {
                return Ok(bytes);
            }
            bytes.extend_from_slice(data);
            if bytes.len() as u64 > limit {
                let cause = format!("more than {limit} bytes, which is the limit");
                return Err(Error::new(ErrorKind::TooLarge, "read", "", cause));
            }
        }
    }

    /// The end, with nothing before it.
    pub(crate) fn end(&mut self, on_wait: &mut dyn FnMut(Duration, &str)) -> Result<()> {
        match self.next(on_wait)? {
            Kind::End => Ok(()),
            _ => Err(nonsense()),
        }
    }

    /// What comes of an upload: its head; how far it is on the way there is told.
    pub(crate) fn sent<T: DeserializeOwned>(
        &mut self,
        on_sent: &mut dyn FnMut(u64),
        on_wait: &mut dyn FnMut(Duration, &str),
    ) -> Result<T> {
        loop {
            match self.next(on_wait)? {
                Kind::Sent => on_sent(self.value()?),
                Kind::Head => return self.value(),
                _ => return Err(nonsense()),
            }
        }
    }
}

fn nonsense() -> Error {
    let cause = "hostrun-remote answers what was not asked";
    Error::new(ErrorKind::Network, "ask", "", cause)
}
