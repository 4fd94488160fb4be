//! A client of ttrpc, by hand: what a shim answers is read by other code than its own.
//!
//! A frame is ten bytes (length, number of the stream, both big endian, kind and flags) and a message.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use prost::Message;

use crate::runtime::PATIENCE;

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
/// What a server may answer at most.
const LIMIT: u32 = 4 << 20;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(bytes = "vec", tag = "3")]
    payload: Vec<u8>,
    #[prost(int64, tag = "4")]
    timeout_nano: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
}

/// Why a call failed: codes are those of gRPC.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// 5 not found, 6 there already, 9 not in this state, 12 not implemented.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
}

impl std::fmt::Display for Status {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "code {}: {}", self.code, self.message)
    }
}

impl std::error::Error for Status {}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    next: u32,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("connect to the shim")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, next: 1 })
    }

    /// Calls and waits for the answer, a [`Status`] when the server refuses.
    ///
    /// # Errors
    /// A [`Status`], or when there is no answer within a minute.
    pub fn call<R: Message + Default>(
        &mut self,
        service: &str,
        method: &str,
        request: &impl Message,
    ) -> Result<R> {
        let stream = self.send(service, method, request)?;
        let (answered, response) = self.receive()?;
        ensure!(answered == stream, "an answer to another call");
        R::decode(response?.as_slice()).context("an answer that is no such message")
    }

    /// Sends a call and returns its number; answers come in any order.
    ///
    /// # Errors
    /// When the server does not read.
    pub fn send(&mut self, service: &str, method: &str, request: &impl Message) -> Result<u32> {
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload: request.encode_to_vec(),
            timeout_nano: PATIENCE.as_nanos().try_into()?,
        };
        let body = request.encode_to_vec();
        let stream = self.next;
        self.next += 2;
        let mut frame = Vec::with_capacity(body.len() + 10);
        frame.extend(u32::try_from(body.len())?.to_be_bytes());
        frame.extend(stream.to_be_bytes());
        frame.extend([REQUEST, 0]);
        frame.extend(body);
        self.stream.write_all(&frame).context("send a call")?;
        Ok(stream)
    }

    /// The next answer: the number of its call, and what it is.
    ///
    /// # Errors
    /// When none comes within a minute.
    pub fn receive(&mut self) -> Result<(u32, Result<Vec<u8>, Status>)> {
        let mut head = [0_u8; 10];
        self.stream
            .read_exact(&mut head)
            .context("wait for an answer")?;
        let (length, rest) = head.split_first_chunk().context("no length")?;
        let (stream, rest) = rest.split_first_chunk().context("no number")?;
        let (length, stream) = (u32::from_be_bytes(*length), u32::from_be_bytes(*stream));
        let kind = *rest.first().context("no kind")?;
        ensure!(kind == RESPONSE, "a frame of kind {kind}");
        ensure!(length <= LIMIT, "an answer of {length} bytes");
        let mut body = vec![0; length.try_into()?];
        self.stream.read_exact(&mut body)?;
        let response = Response::decode(body.as_slice())?;
        let answer = match response.status {
            Some(status) if status.code != 0 => Err(status),
            _ => Ok(response.payload),
        };
        Ok((stream, answer))
    }

    /// How long the server may take to read, instead of a minute.
    ///
    /// # Errors
    /// When the time is none.
    pub fn give_up_after(&mut self, time: Duration) -> Result<()> {
        Ok(self.stream.set_write_timeout(Some(time))?)
    }

    /// Sends bytes that are whatever they are.
    ///
    /// # Errors
    /// When the server does not read.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Whether the server ends the connection within this time; what it sends is read and forgotten.
    ///
    /// # Errors
    /// When the connection cannot be read.
    pub fn is_closed_within(&mut self, time: Duration) -> Result<bool> {
        self.stream.set_read_timeout(Some(time))?;
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Ok(true);
                }
                Err(error) => bail!(error),
            }
        }
    }
}
