//! OCI image layouts: `index.json` to manifests, the manifest that fits the wish, its blobs.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::blobs::Blobs;
use crate::candidate::{Blob, Candidate, LayerBlob, Wish, check_config};
use crate::config;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::manifest::{
    self, Descriptor, Document, DocumentKind, FULL_NAME, Manifest, REF_NAME, check_config_type,
    json_fault, layer_compression,
};
use crate::platform::Platform;
use crate::reference::Reference;

/// Deepest chain of indexes, `index.json` included.
const DEPTH_MAX: usize = 4;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutFile {
    image_layout_version: String,
}

/// The images of a layout: all, or the one with this tag.
pub(crate) fn find(
    blobs: &Blobs,
    base: &str,
    tag: Option<&str>,
    wish: &Wish<'_>,
) -> Result<Vec<Candidate>> {
    check_version(blobs, wish)?;
    let bytes = blobs.read("index.json", wish.limits.document_bytes)?;
    let document = manifest::parse(&bytes, None).map_err(|e| e.within("\"index.json\""))?;
    let Document::Index(descriptors) = document else {
        return Err(Error::corrupt("read", "\"index.json\"", "not an index"));
    };
    let groups = group_by_name(descriptors, tag);
    if groups.is_empty() {
        let cause = match tag {
            Some(tag) => format!("no image with the tag {}", quoted(tag)),
            None => "no image in it".to_owned(),
        };
        return Err(Error::new(ErrorKind::NotFound, "select", "image", cause));
    }
    let candidate = |(label, descriptors): (Option<String>, Vec<Descriptor>)| {
        let chosen = choose(blobs, &descriptors, wish, 1)?
            .ok_or_else(|| nothing_fits(&descriptors, wish))?;
        let name = name_of(base, label.as_deref(), descriptors.first())?;
        candidate(blobs, name, chosen, wish)
    };
    groups.into_iter().map(candidate).collect()
}

fn check_version(blobs: &Blobs, wish: &Wish<'_>) -> Result<()> {
    let bytes = blobs
        .read("oci-layout", wish.limits.document_bytes)
        .map_err(|error| {
            error.with_hint("an OCI image layout has a file oci-layout; is this one?")
        })?;
    let file: LayoutFile = serde_json::from_slice(&bytes)
        .map_err(|error| json_fault(&error).within("\"oci-layout\""))?;
    if file.image_layout_version == "1.0.0" {
        return Ok(());
    }
    let cause = format!("layout version {}", quoted(&file.image_layout_version));
    Err(Error::new(
        ErrorKind::Unsupported,
        "read",
        "\"oci-layout\"",
        cause,
    ))
}

/// Entries of one name are one image for several platforms.
fn group_by_name(
    descriptors: Vec<Descriptor>,
    tag: Option<&str>,
) -> BTreeMap<Option<String>, Vec<Descriptor>> {
    let mut groups: BTreeMap<Option<String>, Vec<Descriptor>> = BTreeMap::new();
    for descriptor in descriptors {
        let label = descriptor.annotation(REF_NAME).map(str::to_owned);
        let wanted = match tag {
            Some(tag) => {
                label.as_deref() == Some(tag) || descriptor.annotation(FULL_NAME) == Some(tag)
            }
            None => DocumentKind::of(&descriptor.media_type).is_some(),
        };
        if wanted {
            groups.entry(label).or_default().push(descriptor);
        }
    }
    groups
}

/// The name an image of a layout gets: its full name if it has one, else the layout's own name
/// with the annotation as tag.
fn name_of(base: &str, label: Option<&str>, descriptor: Option<&Descriptor>) -> Result<Reference> {
    let full = descriptor.and_then(|descriptor| descriptor.annotation(FULL_NAME));
    if let Some(reference) = full.and_then(|full| Reference::parse(full).ok()) {
        return Ok(reference);
    }
    match label {
        Some(label) if label.contains(['/', ':']) => Reference::parse(label),
        Some(label) => Reference::from_base(base, label),
        None => Reference::from_base(base, "latest"),
    }
}

struct Chosen {
    blob: Blob,
    manifest: Manifest,
}

/// The manifest among these that fits the wanted platform best.
fn choose(
    blobs: &Blobs,
    descriptors: &[Descriptor],
    wish: &Wish<'_>,
    depth: usize,
) -> Result<Option<Chosen>> {
    if depth > DEPTH_MAX {
        let cause = format!("more than {DEPTH_MAX} indexes inside each other");
        return Err(Error::new(ErrorKind::TooLarge, "select", "image", cause));
    }
    let mut ranked: Vec<(u8, &Descriptor)> = Vec::new();
    for descriptor in descriptors {
        if let Some(fit) = fit(blobs, descriptor, wish)? {
            ranked.push((fit, descriptor));
        }
    }
    // Stable: of equals, the first in the index.
    ranked.sort_by_key(|(fit, _)| u8::MAX - fit);
    for (_, descriptor) in ranked {
        let chosen = match DocumentKind::of(&descriptor.media_type) {
            Some(DocumentKind::Index) => {
                let Document::Index(inner) = document(blobs, descriptor, wish)?.1 else {
                    return Err(Error::corrupt("read", "index", "not an index"));
                };
                choose(blobs, &inner, wish, depth + 1)?
            }
            _ => Some(manifest_of(blobs, descriptor, wish)?),
        };
        if chosen.is_some() {
            return Ok(chosen);
        }
    }
    Ok(None)
}

/// How well an entry of an index fits; a manifest without a platform is asked for its config's.
fn fit(blobs: &Blobs, descriptor: &Descriptor, wish: &Wish<'_>) -> Result<Option<u8>> {
    let Some(kind) = DocumentKind::of(&descriptor.media_type) else {
        return Ok(None);
    };
    match (&descriptor.platform, kind) {
        (Some(platform), _) if platform.is_unknown() => Ok(None),
        (Some(platform), _) => Ok(wish.platform.fit(platform)),
        (None, DocumentKind::Index) => Ok(Some(0)),
        (None, DocumentKind::Manifest) => {
            let platform = config_platform(blobs, descriptor, wish)?;
            Ok(platform.and_then(|platform| wish.platform.fit(&platform)))
        }
    }
}

/// The platform in an image's configuration; none for artifacts.
fn config_platform(
    blobs: &Blobs,
    descriptor: &Descriptor,
    wish: &Wish<'_>,
) -> Result<Option<Platform>> {
    let chosen = manifest_of(blobs, descriptor, wish)?;
    if check_config_type(&chosen.manifest.config.media_type).is_err() {
        return Ok(None);
    }
    let blob = read_blob(blobs, &chosen.manifest.config, wish.limits.document_bytes)?;
    Ok(Some(config::parse(&blob.bytes)?.platform()))
}

fn nothing_fits(descriptors: &[Descriptor], wish: &Wish<'_>) -> Error {
    let known = descriptors
        .iter()
        .filter_map(|d| d.platform.as_ref())
        .filter(|p| !p.is_unknown());
    let mut names: Vec<String> = known.map(ToString::to_string).collect();
    names.sort();
    names.dedup();
    names.truncate(8);
    let offered = match names.as_slice() {
        [] => "other platforms only".to_owned(),
        names => names.join(", "),
    };
    let cause = format!("no image for {}; there is {offered}", wish.platform);
    Error::new(ErrorKind::WrongArchitecture, "select", "image", cause)
        .with_hint("--platform names the platform to load")
}

fn document(blobs: &Blobs, descriptor: &Descriptor, wish: &Wish<'_>) -> Result<(Blob, Document)> {
    let blob = read_blob(blobs, descriptor, wish.limits.document_bytes)?;
    let document = manifest::parse(&blob.bytes, Some(&descriptor.media_type))
        .map_err(|error| error.within(&format!("blob {}", blob.digest)))?;
    Ok((blob, document))
}

fn manifest_of(blobs: &Blobs, descriptor: &Descriptor, wish: &Wish<'_>) -> Result<Chosen> {
    match document(blobs, descriptor, wish)? {
        (blob, Document::Manifest(manifest)) => Ok(Chosen { blob, manifest }),
        (blob, Document::Index(_)) => {
            let subject = format!("blob {}", blob.digest);
            Err(Error::corrupt(
                "read",
                subject,
                "an index where a manifest belongs",
            ))
        }
    }
}

/// Reads a small blob and checks it against its descriptor.
fn read_blob(blobs: &Blobs, descriptor: &Descriptor, limit: u64) -> Result<Blob> {
    let subject = || format!("blob {}", descriptor.digest);
    if descriptor.size > limit {
        let cause = format!("{} bytes, the limit is {limit}", descriptor.size);
        return Err(Error::new(ErrorKind::TooLarge, "read", subject(), cause));
    }
    let bytes = blobs.read(&descriptor.digest.layout_path(), limit)?;
    if bytes.len() as u64 != descriptor.size {
        let cause = format!("{} bytes, {} announced", bytes.len(), descriptor.size);
        return Err(Error::corrupt("verify", subject(), cause));
    }
    let blob = Blob {
        digest: descriptor.digest.clone(),
        bytes,
    };
    verify(&blob)?;
    Ok(blob)
}

/// Checks a small blob's bytes against its digest.
pub(crate) fn verify(blob: &Blob) -> Result<()> {
    let mut hasher = Hasher::new(blob.digest.algorithm());
    hasher.update(&blob.bytes);
    let found: Digest = hasher.finish();
    if found == blob.digest {
        return Ok(());
    }
    let cause = format!("digest does not fit, the bytes are {found}");
    Err(Error::corrupt(
        "verify",
        format!("blob {}", blob.digest),
        cause,
    ))
}

fn candidate(blobs: &Blobs, name: Reference, chosen: Chosen, wish: &Wish<'_>) -> Result<Candidate> {
    let manifest = chosen.manifest;
    check_config_type(&manifest.config.media_type)?;
    let config_blob = read_blob(blobs, &manifest.config, wish.limits.document_bytes)?;
    let config = check_config(&config_blob, manifest.layers.len(), wish)?;
    let layer = |(descriptor, diff_id): (Descriptor, &Digest)| {
        Ok(LayerBlob {
            member: descriptor.digest.layout_path(),
            compression: layer_compression(&descriptor.media_type)?,
            digest: Some(descriptor.digest),
            size: descriptor.size,
            diff_id: diff_id.clone(),
        })
    };
    let pairs = manifest.layers.into_iter().zip(&config.diff_ids);
    let layers = pairs.map(layer).collect::<Result<_>>()?;
    Ok(Candidate {
        names: vec![name],
        manifest: Some(chosen.blob),
        config_blob,
        config,
        layers,
    })
}
