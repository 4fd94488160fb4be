//! A layer as a directory, with what it takes to make its tar again.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::Mode;

use super::{Driver, Job, Kept, Lower, Made};
use crate::blobs::{Bytes, Section};
use crate::decode::{Compression, LayerStream};
use crate::digest::Algorithm;
use crate::error::{At, Error, Result};
use crate::limits::Limits;
use crate::recipe::{self, Recorder};
use crate::store::{Folder, Seat, Workspace, empty, fingerprint};
use crate::tape::Streamed;
use crate::unpack::{Site, compare, mark_opaque, unpack};

/// The directory itself.
const ROOT: &str = "fs";

/// The default form.
#[derive(Debug)]
pub(crate) struct Dirs;

impl Driver for Dirs {
    fn unpack(&self, tar: &mut LayerStream<Bytes>, job: &Job<'_>) -> Result<Made> {
        let folder = job.folder;
        let root = make_root(folder.path())?;
        let mut recipe = Recorder::new(Streamed(tar), folder.create("recipe")?);
        let site = Site {
            root: root.fd(),
            scrap: job.scrap.fd(),
            seat: job.seat,
        };
        let unpacked = unpack(&mut recipe, site, job.limits)?;
        recipe.finish().at("write", folder.path().join("recipe"))?;
        Ok(Made::Layer(unpacked))
    }

    fn complete(&self, folder: &Folder, opaque: &[Vec<u8>]) -> Result<()> {
        if opaque.is_empty() {
            return Ok(());
        }
        let root = Folder::open(folder.path().join(ROOT))?;
        mark_opaque(root.fd(), opaque)
    }

    fn is_synced(&self) -> bool {
        false
    }

    fn tar_size(&self, layer: Kept<'_>) -> Result<u64> {
        if let Some(recipe) = layer.folder.file("recipe")? {
            return recipe::length(recipe).at("read", "recipe");
        }
        let mut count = Count(0);
        kept_tar(layer, None, &mut count)?;
        Ok(count.0)
    }

    fn tar(
        &self,
        layer: Kept<'_>,
        anew: Option<(&Workspace, Seat)>,
        sink: &mut dyn Write,
    ) -> Result<()> {
        match layer.folder.file("recipe")? {
            Some(recipe) => {
                let fs = Folder::open(layer.folder.path().join(ROOT))?;
                compare(recipe, fs.fd(), sink).map(drop)
            }
            None => kept_tar(layer, anew, sink),
        }
    }

    fn root(&self, folder: &Path) -> Result<Lower> {
        Ok(Lower::Directory(folder.join(ROOT)))
    }
}

fn make_root(folder: &Path) -> Result<Folder> {
    let root = Folder::open_or_make(folder.join(ROOT))?;
    rustix::fs::fchmod(root.fd(), Mode::from_raw_mode(0o755)).at("change mode", root.path())?;
    Ok(root)
}

/// The file with a layer's blob, kept where its directory alone cannot give back its tar.
pub(crate) const fn kept_name(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "blob.tar",
        Compression::Gzip => "blob.gzip",
        Compression::Zstd => "blob.zstd",
    }
}

fn kept_tar(layer: Kept<'_>, anew: Option<(&Workspace, Seat)>, sink: &mut dyn Write) -> Result<()> {
    if let Some((work, seat)) = anew {
        compare_anew(layer, work, seat)?;
    }
    let mut stream = kept_stream(layer)?;
    let failed = |error| Error::from_io("read", format!("layer {}", layer.diff_id), error);
    loop {
        let bytes = stream.fill_buf().map_err(failed)?;
        if bytes.is_empty() {
            break;
        }
        sink.write_all(bytes).map_err(failed)?;
        let count = bytes.len();
        stream.consume(count);
    }
    stream.finish().map(drop)
}

/// Unpacks the kept blob once more and looks for differences.
fn compare_anew(layer: Kept<'_>, work: &Workspace, seat: Seat) -> Result<()> {
    let anew = work.make_folder(&work.fresh_name())?;
    let scrap = work.make_folder(&work.fresh_name())?;
    rustix::fs::fchmod(anew.fd(), Mode::from_raw_mode(0o755)).at("change mode", anew.path())?;
    let mut stream = kept_stream(layer)?;
    let unlimited = Limits::none();
    let site = Site {
        root: anew.fd(),
        scrap: scrap.fd(),
        seat,
    };
    let unpacked = unpack(&mut Streamed(&mut stream), site, &unlimited)?;
    mark_opaque(anew.fd(), &unpacked.opaque)?;
    let fs = Folder::open(layer.folder.path().join(ROOT))?;
    let same = fingerprint(anew.fd())? == fingerprint(fs.fd())?;
    empty(&anew)?;
    empty(&scrap)?;
    if same {
        return Ok(());
    }
    let cause = "its directory is not what its blob gives";
    let subject = format!("layer {}", layer.diff_id);
    Err(Error::corrupt("verify", subject, cause))
}

fn kept_stream(layer: Kept<'_>) -> Result<LayerStream<Bytes>> {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let Some(file) = layer.folder.file(kept_name(compression))? else {
            continue;
        };
        let size = file.metadata().at("stat", "layer")?.len();
        let blob = Bytes::Held(Section::whole(Arc::new(file), size));
        let algorithms = (Algorithm::Sha256, layer.diff_id.algorithm());
        return LayerStream::new(blob, size, compression, algorithms, &Limits::none());
    }
    let cause = "neither its recipe nor its blob is there";
    let subject = format!("layer {}", layer.diff_id);
    Err(Error::corrupt("read", subject, cause))
}

/// Counts bytes.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
