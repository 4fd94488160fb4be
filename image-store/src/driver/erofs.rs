//! A layer as its tar and an image of metadata, mounted together.
//!
//! The tar's digest is the diffID, so the layer is verified by reading one file; the image is made
//! anew from it and compared.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Cursor, Read, Write};
use std::path::Path;
use std::sync::Arc;

use super::{Driver, Job, Kept, Lower, Made, mounting};
use crate::blobs::{Bytes, Section};
use crate::decode::{Compression, LayerStream};
use crate::digest::{Algorithm, Digest};
use crate::erofs::{Index, Label};
use crate::error::{At, Error, Result};
use crate::limits::Limits;
use crate::store::{Folder, Seat, Workspace};
use crate::tape::{EntryStream, Streamed};
use crate::unpack::fill;

/// The layer's tar, untouched.
const TAR: &str = "data.tar";

/// The image of its metadata.
pub(super) const INDEX: &str = "index.erofs";

const BUFFER: usize = 64 * 1024;

/// The form that the kernel mounts.
#[derive(Debug)]
pub(crate) struct Erofs;

impl Driver for Erofs {
    fn unpack(&self, tar: &mut LayerStream<Bytes>, job: &Job<'_>) -> Result<Made> {
        let folder = job.folder;
        let data = folder.create(TAR)?;
        tar.copy_to(data.try_clone().at("open", TAR)?);
        let (mut index, entries) = index_of(tar, job.limits)?;
        tar.drain()
            .map_err(|error| Error::from_io("read", String::new(), error))?;
        let size = data.metadata().at("stat", TAR)?.len();
        if !size.is_multiple_of(512) {
            // The kernel reads whole blocks, and of the last one there is not enough.
            index.set_odd("a tar that ends within a block");
        }
        let unpacked = index.unpacked(entries);
        if let Some(image) = index.settle() {
            let file = folder.create(INDEX)?;
            let sink = BufWriter::with_capacity(BUFFER, &file);
            let path = folder.path().join(INDEX);
            image
                .write(&label(job.diff_id, size), sink)
                .at("write", &path)?;
            // The only writes that must be waited for: a tar and a little metadata, each in a row.
            data.sync_data().at("sync", folder.path().join(TAR))?;
            file.sync_data().at("sync", &path)?;
        }
        if let Some(why) = index.odd() {
            folder.unlink(TAR)?;
            return Ok(Made::Odd(why));
        }
        Ok(Made::Layer(unpacked))
    }

    fn complete(&self, _: &Folder, _: &[Vec<u8>]) -> Result<()> {
        Ok(())
    }

    fn is_synced(&self) -> bool {
        true
    }

    fn tar_size(&self, layer: Kept<'_>) -> Result<u64> {
        let file = open(layer.folder, TAR)?;
        Ok(file.metadata().at("stat", TAR)?.len())
    }

    fn tar(
        &self,
        layer: Kept<'_>,
        anew: Option<(&Workspace, Seat)>,
        sink: &mut dyn Write,
    ) -> Result<()> {
        if anew.is_some() {
            compare(layer)?;
        }
        let mut file = open(layer.folder, TAR)?;
        let copied = copy(&mut file, sink);
        copied.at("read", layer.folder.path().join(TAR))
    }

    fn root(&self, folder: &Path) -> Result<Lower> {
        mounting::erofs(&folder.join(INDEX), &folder.join(TAR)).map(Lower::Mount)
    }
}

impl Erofs {
    /// Whether such layers can be mounted from here: one with a file in it is made, mounted, and put
    /// below an overlay.
    pub(crate) fn probe(work: &Workspace) -> Result<()> {
        let folder = work.make_folder(&work.fresh_name())?;
        let mut tar = tar::Header::new_gnu();
        tar.set_path("probe").at("write", "probe")?;
        tar.set_mode(0o644);
        tar.set_uid(0);
        tar.set_gid(0);
        tar.set_mtime(0);
        tar.set_size(5);
        tar.set_cksum();
        let mut bytes = tar.as_bytes().to_vec();
        bytes.extend_from_slice(b"probe");
        bytes.resize(1024, 0);
        folder.write(TAR, &bytes)?;
        let mut index = Index::new();
        let mut tape = Streamed(Cursor::new(&bytes));
        let mut stream = EntryStream::new(&mut tape);
        fill(&mut index, &mut stream, &Limits::default())?;
        let mut image = Vec::new();
        if let Some(settled) = index.settle() {
            let digest = Digest::of(&bytes);
            let written = settled.write(&label(&digest, 1024), &mut image);
            written.at("write", INDEX)?;
        }
        folder.write(INDEX, &image)?;
        let mount = mounting::erofs(&folder.path().join(INDEX), &folder.path().join(TAR))?;
        let root = mounting::overlay_of(&mount, &folder)?;
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::openat(&root, "probe", flags, rustix::fs::Mode::empty());
        let mut text = String::new();
        File::from(file.at("open", "probe")?)
            .read_to_string(&mut text)
            .at("read", "probe")?;
        if text == "probe" {
            return Ok(());
        }
        Err(Error::corrupt(
            "read",
            "probe",
            "the file is not what was put in",
        ))
    }
}

/// What becomes of the entries of a tar; the stream need not be at its end.
fn index_of(tar: &mut LayerStream<Bytes>, limits: &Limits) -> Result<(Index, u64)> {
    let mut index = Index::new();
    let mut tape = Streamed(tar);
    let mut stream = EntryStream::new(&mut tape);
    let entries = fill(&mut index, &mut stream, limits)?;
    if !stream.is_clean() {
        // The end of a file's last block shows in mapped memory.
        index.set_odd("bytes between a file's end and the next block");
    }
    Ok((index, entries))
}

fn label(diff_id: &Digest, tar_bytes: u64) -> Label<'_> {
    Label {
        digest: diff_id.hex(),
        tar_bytes,
    }
}

/// Makes the image anew and looks for differences.
fn compare(layer: Kept<'_>) -> Result<()> {
    let file = open(layer.folder, TAR)?;
    let size = file.metadata().at("stat", TAR)?.len();
    let blob = Bytes::Held(Section::whole(Arc::new(file), size));
    let algorithms = (Algorithm::Sha256, layer.diff_id.algorithm());
    let none = Limits::none();
    let mut tar = LayerStream::new(blob, size, Compression::None, algorithms, &none)?;
    let (mut index, _) = index_of(&mut tar, &none)?;
    let different = |cause| Error::corrupt("verify", format!("layer {}", layer.diff_id), cause);
    let Some(image) = index.settle() else {
        return Err(different("its tar is none that takes this form"));
    };
    let known = open(layer.folder, INDEX)?;
    let mut same = Same {
        known: BufReader::with_capacity(BUFFER, known),
        is_same: true,
    };
    let written = image.write(&label(layer.diff_id, size), &mut same);
    written.at("read", layer.folder.path().join(INDEX))?;
    let mut rest = [0; 1];
    let at_end = same.known.read(&mut rest).at("read", INDEX)? == 0;
    if same.is_same && at_end {
        return Ok(());
    }
    Err(different("its metadata is not what its tar gives"))
}

/// Takes what is written to be what a file has.
struct Same<R> {
    known: R,
    is_same: bool,
}

impl<R: Read> Write for Same<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut known = vec![0; bytes.len()];
        match self.known.read_exact(&mut known) {
            Ok(()) => self.is_same &= known == bytes,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.is_same = false,
            Err(error) => return Err(error),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(folder: &Folder, name: &str) -> Result<File> {
    let missing = || {
        Error::corrupt(
            "open",
            folder.path().join(name).display().to_string(),
            "it is missing",
        )
    };
    folder.file(name)?.ok_or_else(missing)
}

fn copy(file: &mut File, sink: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        sink.write_all(buffer.get(..count).unwrap_or_default())?;
    }
}
