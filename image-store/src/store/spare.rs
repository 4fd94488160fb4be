//! Room kept back, so that a full disk does not keep anybody from removing images.
//!
//! Taking a name away writes a new generation; on a disk that is full to the last block or inode it
//! could not. `spare/` holds a few of both, given up for such a removal and made anew by the next
//! load.

use super::Store;
use super::disk::Folder;
use super::workspace::empty;
use crate::error::{ErrorKind, Result};

/// Bytes in the one file of some size: room for the names of some thousand images.
const BYTES: usize = 256 * 1024;

/// Files without content: a removal makes two directories, a file and a link.
const NODES: usize = 6;

impl Store {
    /// Does what removes, and once more with the spare room if there is no other.
    pub(super) fn with_spare<T>(&self, act: impl Fn() -> Result<T>) -> Result<T> {
        match act() {
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                empty(&Folder::open(self.top.path().join("spare"))?)?;
                act()
            }
            done => done,
        }
    }

    /// Keeps room back where there is none kept.
    pub(super) fn fill_spare(&self) -> Result<()> {
        let spare = Folder::open_or_make(self.top.path().join("spare"))?;
        if spare.contains("room")? {
            return Ok(());
        }
        // Several may open a new store at once.
        let write = |name: &str, bytes: &[u8]| match spare.write(name, bytes) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            written => written,
        };
        for node in 0..NODES {
            let name = format!("node{node}");
            if !spare.contains(&name)? {
                write(&name, b"")?;
            }
        }
        // Last: its name says that all is there. Not zeros, which some file systems do not store.
        let noise = (0..BYTES).map(|at| u8::try_from(at * 31 % 251).unwrap_or(1));
        write("room", &noise.collect::<Vec<u8>>())
    }
}
