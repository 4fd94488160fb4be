//! Tar archives as a strict stream of entries.
//!
//! The `tar` crate gives us the header layouts; numbers, extended headers, sparse maps and the
//! rules of what may follow what are ours, because an archive two programs read differently is an
//! attack (docs/decisions/0004). Nothing here touches a file system: bytes in, entries out.

mod header;
mod pax;
mod sparse;
mod stream;

pub(crate) use sparse::{Segment, SparseMap};
pub(crate) use stream::EntryStream;

use std::io::{self, BufRead, Read};

/// What an [`EntryStream`] reads from.
pub(crate) trait Tape: BufRead {
    /// Passes over `count` bytes; fewer than that is an error.
    fn skip(&mut self, count: u64) -> io::Result<()>;

    /// [`BufRead::consume`] of what is data of a file, and no header.
    fn consume_data(&mut self, amount: usize) {
        self.consume(amount);
    }
}

/// A tape that can only be read: what is passed over still goes through decoder and hash.
pub(crate) struct Streamed<R>(pub(crate) R);

impl<R: BufRead> Tape for Streamed<R> {
    fn skip(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let ready = self.fill_buf()?.len();
            if ready == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let part = ready.min(usize::try_from(count).unwrap_or(usize::MAX));
            self.consume(part);
            count -= part as u64;
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Streamed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: BufRead> BufRead for Streamed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

/// One member of an archive, header and extensions resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name as written: any bytes but NUL, not empty, not yet cleaned.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// `size` bytes of data follow in the archive.
    File {
        size: u64,
        sparse: Option<SparseMap>,
    },
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
}

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// Seconds and nanoseconds since 1970; the nanoseconds count forward, also before 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}
