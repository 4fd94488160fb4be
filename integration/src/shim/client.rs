//! A ttrpc client: calls by name, answers as they come.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::message::{Decoded, Field, encode, text};

/// The service that most calls are made of.
pub const TASK_V3: &str = "containerd.task.v3.Task";

/// The same under its older name.
pub const TASK_V2: &str = "containerd.task.v2.Task";

/// How long any answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a call comes to: its answer, or a code and a sentence.
pub type Answer = Result<Decoded, (u64, String)>;

/// A connection to a shim.
#[derive(Debug)]
pub struct Client {
    socket: UnixStream,
    stream: u32,
    answers: HashMap<u32, Answer>,
    read: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(path: &Path) -> Result<Self> {
        let socket =
            UnixStream::connect(path).with_context(|| format!("connect to {}", path.display()))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            stream: 1,
            answers: HashMap::new(),
            read: Vec::new(),
        })
    }

    /// Makes a call; its number.
    ///
    /// # Errors
    /// When the shim is gone.
    pub fn send(&mut self, service: &str, method: &str, fields: &[(u64, Field)]) -> Result<u32> {
        self.send_within(service, method, fields, Duration::ZERO)
    }

    /// The same by a caller who waits only so long.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn send_within(
        &mut self,
        service: &str,
        method: &str,
        fields: &[(u64, Field)],
        limit: Duration,
    ) -> Result<u32> {
        let request = encode(&[
            (1, text(service)),
            (2, text(method)),
            (3, Field::Bytes(encode(fields))),
            (4, Field::Number(u64::try_from(limit.as_nanos())?)),
            (
                5,
                super::message::message(&[
                    (1, text("containerd-namespace-ttrpc")),
                    (2, text("test")),
                ]),
            ),
        ]);
        let stream = self.stream;
        self.stream += 2;
        self.socket.write_all(&frame(stream, 1, &request)?)?;
        Ok(stream)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the shim is gone.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.socket.write_all(bytes)?)
    }

    /// The answer to a call.
    ///
    /// # Errors
    /// When none comes.
    pub fn answer(&mut self, stream: u32) -> Result<Answer> {
        let answer = self.answer_within(stream, PATIENCE)?;
        answer.with_context(|| format!("no answer to call {stream} within {PATIENCE:?}"))
    }

    /// The answer, if it comes in time.
    ///
    /// # Errors
    /// When the shim hangs up, or says what is no answer.
    pub fn answer_within(&mut self, stream: u32, limit: Duration) -> Result<Option<Answer>> {
        let end = Instant::now() + limit;
        loop {
            if let Some(answer) = self.answers.remove(&stream) {
                return Ok(Some(answer));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            let mut buffer = [0; 4096];
            match self.socket.read(&mut buffer) {
                Ok(0) => bail!("the shim hung up"),
                Ok(length) => self.read.extend(buffer.iter().take(length)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            while let Some((stream, kind, body)) = next_frame(&mut self.read)? {
                anyhow::ensure!(kind == 2, "a frame of type {kind}");
                let response = Decoded::read(&body)?;
                let status = response.message(1)?;
                let answer = match status.number(1) {
                    0 => Ok(response.message(2)?),
                    code => Err((code, status.text(2))),
                };
                self.answers.insert(stream, answer);
            }
        }
    }

    /// A call of the task service and its answer.
    ///
    /// # Errors
    /// When there is none.
    pub fn call(&mut self, method: &str, fields: &[(u64, Field)]) -> Result<Answer> {
        let stream = self.send(TASK_V3, method, fields)?;
        self.answer(stream)
    }

    /// The same where it must go well.
    ///
    /// # Errors
    /// What the shim says.
    pub fn ok(&mut self, method: &str, fields: &[(u64, Field)]) -> Result<Decoded> {
        match self.call(method, fields)? {
            Ok(answer) => Ok(answer),
            Err((code, sentence)) => bail!("{method}: {code}: {sentence}"),
        }
    }

    /// The same where it must be refused; the code and the sentence.
    ///
    /// # Errors
    /// When it is not.
    pub fn refused(&mut self, method: &str, fields: &[(u64, Field)]) -> Result<(u64, String)> {
        match self.call(method, fields)? {
            Ok(answer) => bail!("{method} went well: {answer:?}"),
            Err(refusal) => Ok(refusal),
        }
    }
}

/// A frame around a message.
///
/// # Errors
/// When it is too long.
pub fn frame(stream: u32, kind: u8, body: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = u32::try_from(body.len())?.to_be_bytes().to_vec();
    bytes.extend(stream.to_be_bytes());
    bytes.extend([kind, 0]);
    bytes.extend(body);
    Ok(bytes)
}

/// Takes the first frame out of what was read, once all of it is there: stream, type, message.
pub(super) fn next_frame(read: &mut Vec<u8>) -> Result<Option<(u32, u8, Vec<u8>)>> {
    let Some((header, rest)) = read.split_first_chunk::<10>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    let stream = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let kind = header[8];
    let length = usize::try_from(length)?;
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    let body = body.to_vec();
    read.drain(..10 + length);
    Ok(Some((stream, kind, body)))
}
