//! Bytes between a terminal and containerd's pipes.

use rustix::io::{Errno, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Reads from one descriptor and writes to another, neither of which blocks. It reads on only when all it
/// has read is written: whoever writes too fast waits.
#[derive(Debug)]
pub(crate) struct Pump {
    from: OwnedFd,
    to: OwnedFd,
    pending: Vec<u8>,
    written: usize,
}

/// What it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    ToRead,
    ToWrite,
    /// Nothing more comes.
    Nothing,
}

impl Pump {
    pub(crate) fn new(from: OwnedFd, to: OwnedFd) -> Pump {
        Pump {
            from,
            to,
            pending: Vec::new(),
            written: 0,
        }
    }

    /// Where it reads.
    pub(crate) fn from(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }

    /// Where it writes.
    pub(crate) fn to(&self) -> BorrowedFd<'_> {
        self.to.as_fd()
    }

    /// Moves what can be moved now, at most one buffer.
    pub(crate) fn step(&mut self, buffer: &mut [u8]) -> Wants {
        if self.written < self.pending.len() {
            let rest = self.pending.get(self.written..).unwrap_or_default();
            self.written += push(self.to.as_fd(), rest);
            if self.written < self.pending.len() {
                return Wants::ToWrite;
            }
            self.pending = Vec::new();
            self.written = 0;
            return Wants::ToRead;
        }
        let length = match read(&self.from, &mut *buffer) {
            Err(Errno::AGAIN | Errno::INTR) => return Wants::ToRead,
            // EIO is how a terminal says that its last user is gone.
            Ok(0) | Err(_) => return Wants::Nothing,
            Ok(length) => length,
        };
        let bytes = buffer.get(..length).unwrap_or_default();
        let written = push(self.to.as_fd(), bytes);
        if written == bytes.len() {
            return Wants::ToRead;
        }
        self.pending = bytes.get(written..).unwrap_or_default().to_vec();
        Wants::ToWrite
    }
}

/// Writes what goes. Where nobody reads any more, all of it goes nowhere: that is no business of whoever
/// writes.
fn push(to: BorrowedFd<'_>, mut bytes: &[u8]) -> usize {
    let mut written = 0;
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(length) => {
                written += length;
                bytes = bytes.get(length..).unwrap_or_default();
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(_gone) => return written + bytes.len(),
        }
    }
    written
}
