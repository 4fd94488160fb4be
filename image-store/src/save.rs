//! Images out of the store: one archive that both image tools and docker read, or an OCI layout.
//!
//! Layers are played back from their recipes, so what is saved has the diffIDs that were loaded,
//! and its configuration and id are the same; a layer that is not whole any more is an error and
//! not a different image.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::digest::{Algorithm, Digest};
use crate::error::{At, Error, ErrorKind, Result, quoted};
use crate::image::Image;
use crate::manifest::{FULL_NAME, REF_NAME};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// What our manifests are.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const BLOCK: u64 = 512;

/// Where an image goes.
pub(crate) enum Target<'a> {
    /// A tar: an OCI layout that has the list docker looks for, too.
    Archive(&'a mut (dyn Write + Send)),
    /// A directory, made here.
    Layout(PathBuf),
}

/// What of a layer is written, and how it is called.
pub(crate) struct LayerFile {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) gzip: bool,
}

/// Writes the parts of a layout one after the other.
pub(crate) struct Saver<'a> {
    target: Target<'a>,
    /// What was written before: images share layers.
    written: BTreeSet<Digest>,
    manifests: Vec<Value>,
    /// What docker reads instead.
    items: Vec<Value>,
}

impl<'a> Saver<'a> {
    pub(crate) fn new(target: Target<'a>) -> Result<Self> {
        if let Target::Layout(dir) = &target {
            for part in ["", "blobs", "blobs/sha256", "blobs/sha512"] {
                let path = dir.join(part);
                std::fs::create_dir(&path).at("make directory", &path)?;
            }
        }
        let mut saver = Self {
            target,
            written: BTreeSet::new(),
            manifests: Vec::new(),
            items: Vec::new(),
        };
        saver.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(saver)
    }

    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.written.contains(digest)
    }

    /// Writes a small blob.
    pub(crate) fn blob(&mut self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        if self.written.insert(digest.clone()) {
            self.file(&digest.layout_path(), bytes)?;
        }
        Ok(())
    }

    /// Writes a layer that is ready in a file.
    pub(crate) fn copy(&mut self, layer: &LayerFile, file: &mut File) -> Result<()> {
        file.rewind().at("read", "layer")?;
        self.stream(&layer.digest, layer.size, |sink| {
            io::copy(file, sink).map(drop).at("write", "layer")
        })
    }

    /// Writes a blob of this size as it is made.
    pub(crate) fn stream(
        &mut self,
        digest: &Digest,
        size: u64,
        fill: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        self.written.insert(digest.clone());
        let path = digest.layout_path();
        match &mut self.target {
            Target::Layout(dir) => {
                let path = dir.join(path);
                let mut file = File::create_new(&path).at("create", &path)?;
                fill(&mut file)?;
                file.sync_all().at("sync", path)
            }
            Target::Archive(out) => {
                header(out, &path, size)?;
                let mut counted = Counted {
                    inner: &mut **out,
                    count: 0,
                };
                fill(&mut counted)?;
                if counted.count != size {
                    let cause = format!("{} bytes, {size} expected", counted.count);
                    return Err(Error::corrupt("save", quoted(path), cause));
                }
                pad(out, size)
            }
        }
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        match &mut self.target {
            Target::Layout(dir) => {
                let path = dir.join(name);
                let mut file = File::create_new(&path).at("create", &path)?;
                file.write_all(bytes).at("write", &path)?;
                file.sync_all().at("sync", &path)
            }
            Target::Archive(out) => {
                header(out, name, bytes.len() as u64)?;
                out.write_all(bytes).at("write", "archive")?;
                pad(out, bytes.len() as u64)
            }
        }
    }

    /// Notes an image whose layers and configuration are written.
    pub(crate) fn image(&mut self, image: &Image, config: u64, layers: &[LayerFile]) -> Result<()> {
        let bytes = manifest_of(image.id(), config, layers);
        let digest = Digest::of(&bytes);
        self.blob(&digest, &bytes)?;
        let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
        let descriptor = |annotations: Value| {
            json!({
                "mediaType": MANIFEST,
                "digest": digest.to_string(),
                "size": bytes.len(),
                "annotations": annotations,
                "platform": {
                    "os": image.config.os().to_string(),
                    "architecture": image.config.architecture().to_string(),
                },
            })
        };
        match names.as_slice() {
            [] => self.manifests.push(descriptor(json!({}))),
            names => self.manifests.extend(names.iter().map(|name| {
                let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
                descriptor(json!({FULL_NAME: name, REF_NAME: tag}))
            })),
        }
        let path = |layer: &LayerFile| layer.digest.layout_path();
        self.items.push(json!({
            "Config": image.id().layout_path(),
            "RepoTags": names,
            "Layers": layers.iter().map(path).collect::<Vec<String>>(),
        }));
        Ok(())
    }

    /// Writes what leads to the images.
    pub(crate) fn finish(mut self) -> Result<()> {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": std::mem::take(&mut self.manifests),
        });
        let items = Value::Array(std::mem::take(&mut self.items)).to_string();
        if matches!(self.target, Target::Archive(_)) {
            self.file("manifest.json", items.as_bytes())?;
        }
        self.file("index.json", index.to_string().as_bytes())?;
        match &mut self.target {
            Target::Archive(out) => {
                let end = [0; 1024];
                out.write_all(&end).at("write", "archive")?;
                out.flush().at("write", "archive")
            }
            Target::Layout(dir) => sync_all(dir),
        }
    }
}

/// A manifest of an image's configuration, which has this size, and its layers.
pub(crate) fn manifest_of(id: &Digest, config: u64, layers: &[LayerFile]) -> Vec<u8> {
    let layer = |layer: &LayerFile| {
        let suffix = if layer.gzip { "+gzip" } else { "" };
        json!({"mediaType": format!("{LAYER}{suffix}"), "digest": layer.digest.to_string(), "size": layer.size})
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": id.to_string(), "size": config},
        "layers": layers.iter().map(layer).collect::<Vec<Value>>(),
    });
    manifest.to_string().into_bytes()
}

/// Makes the entries of a layout's directories last.
fn sync_all(dir: &Path) -> Result<()> {
    for part in ["blobs/sha256", "blobs/sha512", "blobs", ""] {
        let path = dir.join(part);
        let opened = File::open(&path).and_then(|dir| dir.sync_all());
        opened.at("sync", path)?;
    }
    Ok(())
}

fn header(out: &mut (dyn Write + Send), name: &str, size: u64) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).at("name", name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    out.write_all(header.as_bytes()).at("write", "archive")
}

fn pad(out: &mut (dyn Write + Send), size: u64) -> Result<()> {
    let zeros = (BLOCK - size % BLOCK) % BLOCK;
    let copied = io::copy(&mut io::repeat(0).take(zeros), &mut &mut *out);
    copied.map(drop).at("write", "archive")
}

struct Counted<'a> {
    inner: &'a mut (dyn Write + Send),
    count: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// How images are saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SaveOptions {
    /// Layers are compressed with gzip, which takes long and room for the largest in the store.
    pub gzip: bool,
}

impl SaveOptions {
    /// Compresses layers.
    #[must_use]
    pub fn with_gzip(mut self, yes: bool) -> Self {
        self.gzip = yes;
        self
    }
}

/// What an algorithm's layer digests are made with when they are saved.
pub(crate) const ALGORITHM: Algorithm = Algorithm::Sha256;

/// An archive of nothing helps nobody.
pub(crate) fn refuse_nothing<T>(images: &[T]) -> Result<()> {
    if images.is_empty() {
        let cause = "no image named";
        return Err(Error::new(ErrorKind::Invalid, "save", "images", cause));
    }
    Ok(())
}
