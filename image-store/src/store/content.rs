//! A layer of the store as the tar it was: to verify it, and to save it.

use std::io::{self, Write};

use super::disk::Folder;
use super::shelf::Shelf;
use super::side::Seat;
use super::workspace::Workspace;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::driver::{self, Kept};
use crate::error::{Error, Result};

/// Writes through a hash.
pub(super) struct Hashing<W> {
    hasher: Hasher,
    inner: W,
}

impl<W: Write> Hashing<W> {
    pub(super) fn new(algorithm: Algorithm, inner: W) -> Self {
        Self {
            hasher: Hasher::new(algorithm),
            inner,
        }
    }

    pub(super) fn finish(self) -> (Digest, W) {
        (self.hasher.finish(), self.inner)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Shelf {
    /// How many bytes the tar of a layer has.
    pub(super) fn layer_size(&self, diff_id: &Digest) -> Result<u64> {
        let folder = Folder::open(self.layer_path(diff_id))?;
        let layer = Kept {
            folder: &folder,
            diff_id,
        };
        driver::of(folder.path()).tar_size(layer)
    }

    /// Writes the tar of a layer; an error when it is not that of the diffID, or not what the layer
    /// shows. With `anew`, a place to work in, everything is compared.
    pub(super) fn layer_tar<W: Write>(
        &self,
        diff_id: &Digest,
        anew: Option<(&Workspace, Seat)>,
        sink: W,
    ) -> Result<W> {
        let folder = Folder::open(self.layer_path(diff_id))?;
        let layer = Kept {
            folder: &folder,
            diff_id,
        };
        let mut sink = Hashing::new(diff_id.algorithm(), sink);
        driver::of(folder.path()).tar(layer, anew, &mut sink)?;
        let (found, sink) = sink.finish();
        if found == *diff_id {
            return Ok(sink);
        }
        let cause = format!("content is {found}");
        Err(Error::corrupt("verify", format!("layer {diff_id}"), cause))
    }
}
