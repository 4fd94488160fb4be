//! An image found in a source, checked as far as its documents go; its layers are still unread.
//!
//! This is the seam between sources and the store: whatever a source is, it ends here.

use std::fs::File;
use std::path::Path;

use crate::blobs::Blobs;
use crate::config::{self, Config};
use crate::decode::Compression;
use crate::digest::Digest;
use crate::docker;
use crate::error::Result;
use crate::layout;
use crate::limits::Limits;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::source::Source;
use crate::trust::{Origin, Transport};

/// An image of a source.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) names: Vec<Reference>,
    /// What a layout calls it.
    pub(crate) label: Option<String>,
    /// Digests of the documents that led to the manifest, itself the last; each was verified, and
    /// names the next. None for docker archives.
    pub(crate) lineage: Vec<Digest>,
    /// Digest and bytes; docker archives have none.
    pub(crate) manifest: Option<Blob>,
    pub(crate) config_blob: Blob,
    pub(crate) config: Config,
    pub(crate) layers: Vec<LayerBlob>,
}

/// A small blob in memory, its bytes checked against its digest.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
}

/// A layer still in its source.
#[derive(Debug, Clone)]
pub(crate) struct LayerBlob {
    /// The file of the source that holds it.
    pub(crate) member: String,
    /// What the source says the blob is; docker archives may not say.
    pub(crate) digest: Option<Digest>,
    pub(crate) size: u64,
    pub(crate) compression: Compression,
    pub(crate) diff_id: Digest,
}

impl LayerBlob {
    /// Whether both are said to be the same bytes and to give the same layer.
    pub(crate) fn is_same_blob(&self, other: &Self) -> bool {
        self.digest.is_some()
            && self.digest == other.digest
            && self.size == other.size
            && self.compression == other.compression
            && self.diff_id == other.diff_id
    }
}

/// What the caller wants of a source.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    /// The host's platform unless another one was named.
    pub(crate) platform: Platform,
    pub(crate) limits: &'a Limits,
}

/// What a source has.
pub(crate) type Found = (Blobs, Vec<Candidate>, Origin);

/// Opens a source and finds its images.
pub(crate) fn find(source: &Source, wish: &Wish<'_>) -> Result<Found> {
    let base = source.base_name();
    let (blobs, candidates) = match source {
        Source::OciLayout { dir, tag } => {
            let blobs = Blobs::directory(dir)?;
            let found = layout::find(&blobs, &base, tag.as_deref(), wish);
            (blobs, found)
        }
        Source::OciArchive { file, tag } => {
            let blobs = Blobs::archive(file)?;
            let found = layout::find(&blobs, &base, tag.as_deref(), wish);
            (blobs, found)
        }
        Source::DockerArchive { file, reference } => {
            let blobs = Blobs::archive(file)?;
            let found = docker::find(&blobs, &base, reference.as_deref(), wish);
            (blobs, found)
        }
    };
    Ok((
        blobs,
        candidates.map_err(|error| error.within(&source.to_string()))?,
        Origin::of(source),
    ))
}

/// Finds the images of an archive of either kind: what it holds says which.
pub(crate) fn find_any(
    file: File,
    base: &str,
    at: Option<&Path>,
    wish: &Wish<'_>,
) -> Result<Found> {
    let blobs = Blobs::of_archive(file, Path::new(base))?;
    let (candidates, transport) = if blobs.has("oci-layout") {
        (
            layout::find(&blobs, base, None, wish)?,
            Transport::OciArchive,
        )
    } else {
        (
            docker::find(&blobs, base, None, wish)?,
            Transport::DockerArchive,
        )
    };
    Ok((blobs, candidates, Origin::new(transport, at)))
}

/// Parses and checks a configuration against the wish.
pub(crate) fn check_config(blob: &Blob, layers: usize, wish: &Wish<'_>) -> Result<Config> {
    let config = config::parse(&blob.bytes)?;
    config.check_platform(&wish.platform)?;
    config.check_layers(layers, wish.limits.layers)?;
    Ok(config)
}
