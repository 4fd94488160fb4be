//! A process of its own for work on what strangers made.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Runs work in another process that can do little else: [`LoadOptions::with_cell`].
///
/// A load reads, inflates, hashes and parses what came from strangers, and writes files with the
/// owners and modes those ask for. The kernel keeps it in its directory, and the decoders are in safe
/// Rust but for zstd's. A program that may fork can put a wall around all that: this library cannot
/// fork for its caller, who may have threads, handlers and secrets.
///
/// [`LoadOptions::with_cell`]: crate::LoadOptions::with_cell
pub trait Cell: fmt::Debug + Send + Sync {
    /// Runs `inside` in a process made for it, a copy of this one, and ends the process with it.
    ///
    /// `inside` is given the path that the directory `place` has there, and a pipe: what it writes is what
    /// `outside` reads here meanwhile. It needs that directory, the descriptors in `kept`, threads,
    /// and of the rights of root those over files: `CAP_CHOWN`, `CAP_DAC_OVERRIDE`, `CAP_FOWNER`,
    /// `CAP_FSETID`, `CAP_MKNOD` and `CAP_SETFCAP`.
    ///
    /// # Errors
    /// When the process cannot be made, or ended in any other way than by coming to its end. With
    /// [`io::ErrorKind::Unsupported`] the work is done without a cell instead, and a note tells so.
    fn run(
        &self,
        place: &Path,
        kept: &[BorrowedFd<'_>],
        inside: &mut (dyn FnMut(&Path, File) + Send),
        outside: &mut dyn FnMut(&mut dyn Read),
    ) -> io::Result<()>;
}
