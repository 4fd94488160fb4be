//! Signatures that lie beside an image: images of their own, whose layers are what was signed.
//!
//! cosign gives them the tag `sha256-<hex>.sig`, or lets them refer to the image; `cosign save` marks
//! them in `index.json`. However they are found, it is what is signed that says for which image.

use crate::blobs::Blobs;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::read_blob;
use crate::limits::Limits;
use crate::manifest::{self, Descriptor, Document, DocumentKind, REF_NAME};

use super::{Signature, Signatures};

/// The media type of what is signed.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Its annotation with the signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What a manifest of signatures calls itself where it refers to its image.
const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// What `cosign save` says of an entry, and in which annotation.
const KIND: (&str, &str) = ("kind", "dev.cosignproject.cosign/sigs");

/// Largest payload in bytes.
const PAYLOAD_MAX: u64 = 64 << 10;
/// Most signatures of an image, and most documents they may be spread over.
const SIGNATURES_MAX: usize = 64;

/// Whether an entry of an `index.json` is something about an image, not an image.
pub(crate) fn is_attachment(descriptor: &Descriptor) -> bool {
    let kind = descriptor.annotation(KIND.0).unwrap_or_default();
    let about = ["/sigs", "/atts"].iter().any(|end| kind.ends_with(end));
    let label = descriptor.annotation(REF_NAME).map(tag_of);
    let is_tag = |tag: &str| {
        let tag = tag.split_once('.').map_or(tag, |(stem, _)| stem);
        Digest::from_file_name(tag).is_some()
    };
    (about && kind.starts_with("dev.cosignproject.cosign"))
        || descriptor.artifact_type() == Some(ARTIFACT)
        || label.is_some_and(is_tag)
}

/// The tag of a label that may be a whole name.
fn tag_of(label: &str) -> &str {
    label.rsplit(':').next().unwrap_or(label)
}

/// What a source has beside its images: all of a layout's list, or what a registry has under the tags
/// that signatures get.
fn entries(blobs: &Blobs, lineage: &[Digest], limits: &Limits) -> Result<Vec<Descriptor>> {
    if let Blobs::Registry(arrivals) = blobs {
        let mut entries = Vec::new();
        for stem in lineage.iter().map(Digest::file_name) {
            for tag in [format!("{stem}.sig"), stem] {
                entries.extend(arrivals.tagged(&tag, limits.document_bytes)?);
            }
        }
        return Ok(entries);
    }
    let bytes = blobs.read("index.json", limits.document_bytes)?;
    match manifest::parse(&bytes, None)? {
        Document::Index(entries) => Ok(entries),
        Document::Manifest(_) => Ok(Vec::new()),
    }
}

/// The signatures a source has for an image of this lineage.
pub(crate) fn signatures(blobs: &Blobs, lineage: &[Digest], limits: &Limits) -> Result<Signatures> {
    let entries = entries(blobs, lineage, limits)?;
    let mut found = Vec::new();
    let mut documents = 0;
    for entry in entries.iter().filter(|entry| may_sign(entry, lineage)) {
        for manifest in of_referrers(blobs, entry, limits) {
            documents += 1;
            if documents > SIGNATURES_MAX {
                return Err(too_many());
            }
            match manifest.and_then(|manifest| payloads(blobs, &manifest, limits)) {
                Ok(more) => found.extend(more.into_iter().map(Ok)),
                Err(error) => found.push(Err(error)),
            }
            if found.len() > SIGNATURES_MAX {
                return Err(too_many());
            }
        }
    }
    Ok(found)
}

fn too_many() -> Error {
    let cause = format!("more than {SIGNATURES_MAX}");
    Error::new(
        ErrorKind::TooLarge,
        "read",
        "signatures of the image",
        cause,
    )
}

/// Whether an entry can hold signatures of this image.
fn may_sign(entry: &Descriptor, lineage: &[Digest]) -> bool {
    let tag = entry.annotation(REF_NAME).map(tag_of).unwrap_or_default();
    let stem = tag.strip_suffix(".sig").unwrap_or(tag);
    entry.annotation(KIND.0) == Some(KIND.1)
        || entry.artifact_type() == Some(ARTIFACT)
        || lineage.iter().any(|digest| digest.file_name() == stem)
}

/// The entry itself, or what it lists: the fallback of registries without a list of referrers.
fn of_referrers(blobs: &Blobs, entry: &Descriptor, limits: &Limits) -> Vec<Result<Descriptor>> {
    if DocumentKind::of(&entry.media_type) != Some(DocumentKind::Index) {
        return vec![Ok(entry.clone())];
    }
    let read = read_blob(blobs, entry, limits.document_bytes)
        .and_then(|blob| manifest::parse(&blob.bytes, Some(&entry.media_type)));
    match read {
        Ok(Document::Index(entries)) => {
            let mut entries = entries;
            entries.retain(|entry| entry.artifact_type() == Some(ARTIFACT));
            entries.into_iter().map(Ok).collect()
        }
        Ok(Document::Manifest(_)) => Vec::new(),
        Err(error) => vec![Err(error)],
    }
}

/// What a manifest of signatures has signed.
fn payloads(blobs: &Blobs, manifest: &Descriptor, limits: &Limits) -> Result<Vec<Signature>> {
    let blob = read_blob(blobs, manifest, limits.document_bytes)?;
    let mut signatures = Vec::new();
    for (layer, signature) in layers(&blob.bytes)? {
        let payload = read_blob(blobs, &layer, PAYLOAD_MAX)?.bytes;
        signatures.push(Signature { payload, signature });
    }
    Ok(signatures)
}

/// The signed blobs a manifest lists, each with its signature.
pub(crate) fn layers(manifest: &[u8]) -> Result<Vec<(Descriptor, String)>> {
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let Document::Manifest(manifest) = manifest::parse(manifest, Some(media_type))? else {
        return Ok(Vec::new());
    };
    if manifest.layers.len() > SIGNATURES_MAX {
        return Err(too_many());
    }
    let of = |layer: Descriptor| {
        let signature = layer.annotation(SIGNATURE)?.to_owned();
        (layer.media_type == PAYLOAD).then_some((layer, signature))
    };
    Ok(manifest.layers.into_iter().filter_map(of).collect())
}
