//! A socket that never blocks, with what is still to be written to it.

use super::frame::{Read, Reader};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What may wait for a client that does not read. Answers are small; whoever lets this much wait is gone
/// or wants harm, and loses the connection.
pub(crate) const MOST_WAITING: usize = 8 << 20;

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The other side hung up, or the kernel says so.
    Closed,
    /// It does not read.
    TooMuchWaiting,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    reader: Reader,
    waiting: Vec<u8>,
    /// How much of `waiting` is written.
    written: usize,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> Connection {
        Connection {
            socket,
            reader: Reader::default(),
            waiting: Vec::new(),
            written: 0,
        }
    }

    /// Reads once; level-triggered polling brings us back for the rest, after everybody else's turn.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Result<(), End> {
        match recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Err(End::Closed),
            Ok((length, _)) => {
                self.reader.take(buffer.get(..length).unwrap_or_default());
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(_broken) => Err(End::Closed),
        }
    }

    /// The next frame that is there.
    pub(crate) fn next(&mut self) -> Option<Read> {
        self.reader.next()
    }

    /// Sends as much as goes now, and keeps the rest.
    pub(crate) fn send(&mut self, frame: &[u8]) -> Result<(), End> {
        if self.is_waiting() {
            if self.waiting.len() - self.written + frame.len() > MOST_WAITING {
                return Err(End::TooMuchWaiting);
            }
            self.waiting.extend_from_slice(frame);
            return Ok(());
        }
        let sent = self.write(frame)?;
        self.waiting
            .extend_from_slice(frame.get(sent..).unwrap_or_default());
        Ok(())
    }

    /// Sends what waits, as much as goes.
    pub(crate) fn flush(&mut self) -> Result<(), End> {
        let rest = self.waiting.get(self.written..).unwrap_or_default();
        self.written += self.write(rest)?;
        if !self.is_waiting() {
            self.waiting = Vec::new();
            self.written = 0;
        }
        Ok(())
    }

    fn write(&self, mut bytes: &[u8]) -> Result<usize, End> {
        let mut sent = 0;
        while !bytes.is_empty() {
            match send(
                &self.socket,
                bytes,
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(length) => {
                    sent += length;
                    bytes = bytes.get(length..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_broken) => return Err(End::Closed),
            }
        }
        Ok(sent)
    }

    /// Is there anything that the other side has yet to take?
    pub(crate) fn is_waiting(&self) -> bool {
        self.written < self.waiting.len()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
