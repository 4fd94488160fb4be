//! A layer of the store as the tar it was: to verify it, and to save it.

use std::fs::File;
use std::io::{self, BufRead, Write};

use super::disk::Folder;
use super::export::Count;
use super::shelf::Shelf;
use super::side::Seat;
use super::tree;
use super::workspace::{Workspace, empty};
use crate::decode::{Compression, LayerStream};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{At, Error, Result};
use crate::limits::Limits;
use crate::tape::Streamed;
use crate::unpack::{Site, compare, unpack};

/// The file with a layer's blob, kept where its directory alone cannot give back its tar.
pub(super) const fn kept_name(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "blob.tar",
        Compression::Gzip => "blob.gzip",
        Compression::Zstd => "blob.zstd",
    }
}

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
    pub(super) fn layer_size(&self, diff_id: &Digest, count: &mut Count) -> Result<()> {
        let folder = Folder::open(self.layer_path(diff_id))?;
        match folder.file("recipe")? {
            Some(recipe) => {
                count.0 = crate::recipe::length(recipe).at("read", "recipe")?;
                Ok(())
            }
            None => kept_tar(diff_id, &folder, None, count).map(drop),
        }
    }

    /// Writes the tar of a layer, compared on the way with what is in its directory; an error
    /// when they are not the same, or the tar is not that of the diffID.
    ///
    /// `anew` is needed for the few layers that must be unpacked anew to be compared.
    pub(super) fn layer_tar<W: Write>(
        &self,
        diff_id: &Digest,
        anew: Option<(&Workspace, Seat)>,
        sink: W,
    ) -> Result<W> {
        let folder = Folder::open(self.layer_path(diff_id))?;
        let sink = Hashing::new(diff_id.algorithm(), sink);
        let sink = match folder.file("recipe")? {
            Some(recipe) => {
                let fs = Folder::open(folder.path().join("fs"))?;
                compare(recipe, fs.fd(), sink)?
            }
            None => kept_tar(diff_id, &folder, anew, sink)?,
        };
        let (found, sink) = sink.finish();
        if found == *diff_id {
            return Ok(sink);
        }
        let cause = format!("content is {found}");
        Err(Error::corrupt("verify", format!("layer {diff_id}"), cause))
    }
}

fn kept_tar<W: Write>(
    diff_id: &Digest,
    folder: &Folder,
    anew: Option<(&Workspace, Seat)>,
    mut sink: W,
) -> Result<W> {
    if let Some((work, seat)) = anew {
        compare_anew(diff_id, folder, work, seat)?;
    }
    let mut stream = kept_stream(folder, diff_id)?;
    let failed = |error| Error::from_io("read", format!("layer {diff_id}"), error);
    loop {
        let bytes = stream.fill_buf().map_err(failed)?;
        if bytes.is_empty() {
            break;
        }
        sink.write_all(bytes).map_err(failed)?;
        let count = bytes.len();
        stream.consume(count);
    }
    stream.finish()?;
    Ok(sink)
}

/// Unpacks the kept blob once more and looks for differences.
fn compare_anew(diff_id: &Digest, folder: &Folder, work: &Workspace, seat: Seat) -> Result<()> {
    let anew = work.make_folder(&work.fresh_name())?;
    let scrap = work.make_folder(&work.fresh_name())?;
    rustix::fs::fchmod(anew.fd(), rustix::fs::Mode::from_raw_mode(0o755))
        .at("change mode", anew.path())?;
    let mut stream = kept_stream(folder, diff_id)?;
    let unlimited = unlimited();
    let site = Site {
        root: anew.fd(),
        scrap: scrap.fd(),
        seat,
    };
    unpack(Streamed(&mut stream), site, &unlimited)?;
    let fs = Folder::open(folder.path().join("fs"))?;
    let same = tree::fingerprint(anew.fd())? == tree::fingerprint(fs.fd())?;
    empty(&anew)?;
    empty(&scrap)?;
    if same {
        return Ok(());
    }
    let cause = "its directory is not what its blob gives";
    Err(Error::corrupt("verify", format!("layer {diff_id}"), cause))
}

/// It was let in under the limits of its time.
fn unlimited() -> Limits {
    Limits {
        entries: u64::MAX,
        directory_bytes: u64::MAX,
        layer_bytes: u64::MAX,
        ratio_free_bytes: u64::MAX,
        xattrs: usize::MAX,
        ..Limits::default()
    }
}

fn kept_stream(folder: &Folder, diff_id: &Digest) -> Result<LayerStream<File>> {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let Some(file) = folder.file(kept_name(compression))? else {
            continue;
        };
        let algorithms = (Algorithm::Sha256, diff_id.algorithm());
        return LayerStream::new(file, u64::MAX, compression, algorithms, &unlimited());
    }
    let cause = "neither its recipe nor its blob is there";
    Err(Error::corrupt("read", format!("layer {diff_id}"), cause))
}
