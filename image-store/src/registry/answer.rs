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

/// Most pauses in a row.
const PAUSES_MAX: u32 = 256;

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
        for _ in 0..PAUSES_MAX {
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
        Err(nonsense())
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

/// Messages that lie there already when the first is read, each behind two bytes of length.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(mut messages: &[u8]) -> usize {
    let Ok((ours, theirs)) = wire::pair() else {
        return 0;
    };
    while let Some(([low, high], rest)) = messages.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (message, rest) = rest.split_at(length);
        let flags = rustix::net::SendFlags::DONTWAIT;
        if rustix::net::send(&theirs, message, flags).is_err() {
            break;
        }
        messages = rest;
    }
    drop(theirs);
    let mut answer = Answer::new(ours, Duration::from_secs(1));
    let mut on_wait = |pause: Duration, _cause: &str| assert!(pause <= PAUSE_MAX);
    drop(answer.head::<wire::Document>(&mut on_wait));
    let whole = answer.whole(1 << 16, &mut on_wait);
    whole.map_or(0, |bytes| bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::wire::{Fault, Hint, pair, send, send_value};

    const SILENCE: Duration = Duration::from_millis(100);

    /// An answer, and the side it comes from.
    fn answer() -> (Answer, OwnedFd) {
        let (ours, theirs) = pair().unwrap();
        set_socket_timeout(&ours, Timeout::Recv, Some(SILENCE)).unwrap();
        (Answer::new(ours, SILENCE), theirs)
    }

    fn whole(answer: &mut Answer, limit: u64) -> Result<Vec<u8>> {
        answer.whole(limit, &mut |_pause, _cause| {})
    }

    #[test]
    fn data_comes_in_order_to_its_end() {
        let (mut answer, theirs) = answer();
        for part in ["one ", "two"] {
            send(&theirs, Kind::Data, part.as_bytes()).unwrap();
        }
        send(&theirs, Kind::End, b"").unwrap();
        assert_eq!(whole(&mut answer, 7).unwrap(), b"one two");
    }

    #[test]
    fn what_is_too_much_too_late_or_cut_off_is_refused() {
        let (mut answer, theirs) = answer();
        send(&theirs, Kind::Data, b"12345678").unwrap();
        assert_eq!(
            whole(&mut answer, 7).unwrap_err().kind(),
            ErrorKind::TooLarge
        );
        let error = whole(&mut answer, 7).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network);
        assert!(error.to_string().contains("nothing came"), "{error}");
        drop(theirs);
        let error = whole(&mut answer, 7).unwrap_err();
        assert!(error.to_string().contains("has ended"), "{error}");
    }

    #[test]
    fn nonsense_is_an_error_and_nothing_else() {
        let kinds = [
            Kind::Head,
            Kind::Data,
            Kind::Trouble,
            Kind::Wait,
            Kind::Sent,
        ];
        for kind in kinds {
            for bytes in [&b""[..], b"{", b"[]", b"\xff", &[b'['; 5000]] {
                let (mut answer, theirs) = answer();
                if kind == Kind::Data && !bytes.is_empty() {
                    continue;
                }
                send(&theirs, kind, bytes).unwrap();
                let error = whole(&mut answer, 100).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Network, "{kind:?} {bytes:?}");
            }
        }
        for raw in [vec![0], vec![7, b'x'], vec![2; 200 * 1024]] {
            let (mut answer, theirs) = answer();
            rustix::net::send(&theirs, &raw, rustix::net::SendFlags::empty()).unwrap();
            let error = whole(&mut answer, 1 << 20).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Network, "{} bytes", raw.len());
        }
    }

    #[test]
    fn pauses_are_told_and_bounded() {
        let (mut answer, theirs) = answer();
        let cause = "busy\u{1b}".to_owned();
        let pause = Duration::MAX;
        send_value(&theirs, Kind::Wait, &Wait { pause, cause }).unwrap();
        send(&theirs, Kind::End, b"").unwrap();
        let mut told = Vec::new();
        answer.end(&mut |pause, _cause| told.push(pause)).unwrap();
        assert_eq!(told, [PAUSE_MAX]);
    }

    #[test]
    fn what_a_registry_says_is_one_line_of_no_great_length() {
        let (mut answer, theirs) = answer();
        let trouble = Trouble {
            fault: Fault::Denied,
            cause: "\n\u{1b}[2J".repeat(1000),
            hint: Some(Hint::Login),
        };
        send_value(&theirs, Kind::Trouble, &trouble).unwrap();
        let error = whole(&mut answer, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.hint().is_some());
        let text = error.to_string();
        assert!(
            !text.contains(char::is_control) && text.len() < 500,
            "{text}"
        );
    }
}
