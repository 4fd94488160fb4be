//! OCI image layouts: `index.json` to manifests, the manifest that fits the wish, its blobs.

use std::collections::{BTreeMap, BTreeSet};

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
use crate::trust::is_attachment;

/// Deepest chain of indexes, `index.json` included.
const DEPTH_MAX: usize = 4;
/// Most indexes and manifests read for one image.
const DOCUMENTS_MAX: usize = 256;

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
        let mut search = Search {
            blobs,
            wish,
            documents: 0,
            offered: BTreeSet::new(),
        };
        let chosen = search
            .choose(&descriptors, 1)?
            .ok_or_else(|| search.nothing_fits())?;
        let name = name_of(base, label.as_deref(), descriptors.first())?;
        candidate(blobs, name, label, chosen, wish)
    };
    groups.into_iter().map(candidate).collect()
}

fn check_version(blobs: &Blobs, wish: &Wish<'_>) -> Result<()> {
    let bytes = blobs
        .read("oci-layout", wish.limits.document_bytes)
        .map_err(|error| {
            error.with_hint("an OCI image layout has a file oci-layout; is this one?")
        })?;
    check_layout(&bytes)
}

pub(crate) fn check_layout(bytes: &[u8]) -> Result<()> {
    let file: LayoutFile = serde_json::from_slice(bytes)
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
            None => {
                DocumentKind::of(&descriptor.media_type).is_some() && !is_attachment(&descriptor)
            }
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

/// The image of a registry: what its name means there, or the one of an index that fits.
pub(crate) fn find_top(
    blobs: &Blobs,
    name: Reference,
    top: (Blob, &str),
    wish: &Wish<'_>,
) -> Result<Candidate> {
    let (blob, media_type) = top;
    let document = manifest::parse(&blob.bytes, Some(media_type))
        .map_err(|error| error.within(&format!("blob {}", blob.digest)))?;
    let chosen = match document {
        Document::Manifest(manifest) => Chosen::new(blob, manifest),
        Document::Index(descriptors) => {
            let mut search = Search {
                blobs,
                wish,
                documents: 1,
                offered: BTreeSet::new(),
            };
            let chosen = search.choose(&descriptors, 1)?;
            let chosen = chosen.ok_or_else(|| search.nothing_fits())?;
            chosen.below(blob.digest)
        }
    };
    candidate(blobs, name, None, chosen, wish)
}

struct Chosen {
    blob: Blob,
    manifest: Manifest,
    /// The indexes that led here, the last one first.
    above: Vec<Digest>,
}

impl Chosen {
    fn new(blob: Blob, manifest: Manifest) -> Self {
        Self {
            blob,
            manifest,
            above: Vec::new(),
        }
    }

    fn below(mut self, index: Digest) -> Self {
        self.above.push(index);
        self
    }
}

/// The way from an entry of `index.json` to the manifest that fits.
struct Search<'a> {
    blobs: &'a Blobs,
    wish: &'a Wish<'a>,
    /// Indexes and manifests read: indexes can name each other in numbers that multiply.
    documents: usize,
    /// Platforms met that do not fit, for the message.
    offered: BTreeSet<String>,
}

impl Search<'_> {
    /// The manifest among these that fits the wanted platform best.
    fn choose(&mut self, descriptors: &[Descriptor], depth: usize) -> Result<Option<Chosen>> {
        if depth > DEPTH_MAX {
            let cause = format!("more than {DEPTH_MAX} indexes inside each other");
            return Err(Error::new(ErrorKind::TooLarge, "select", "image", cause));
        }
        if let [only] = descriptors
            && only.platform.is_none()
            && DocumentKind::of(&only.media_type) == Some(DocumentKind::Manifest)
        {
            // Nothing to choose: if it does not fit, it will say so itself.
            return self.manifest_of(only).map(Some);
        }
        let mut ranked: Vec<(u8, &Descriptor)> = Vec::new();
        for descriptor in descriptors {
            if let Some(fit) = self.fit(descriptor)? {
                ranked.push((fit, descriptor));
            }
        }
        // Stable: of equals, the first in the index.
        ranked.sort_by_key(|(fit, _)| u8::MAX - fit);
        for (_, descriptor) in ranked {
            let chosen = match self.document(descriptor)? {
                (blob, Document::Index(inner)) => {
                    let chosen = self.choose(&inner, depth + 1)?;
                    chosen.map(|chosen| chosen.below(blob.digest))
                }
                (blob, Document::Manifest(manifest)) => Some(Chosen::new(blob, manifest)),
            };
            if chosen.is_some() {
                return Ok(chosen);
            }
        }
        Ok(None)
    }

    /// How well an entry of an index fits; a manifest without a platform is asked for its
    /// config's.
    fn fit(&mut self, descriptor: &Descriptor) -> Result<Option<u8>> {
        let platform = match (
            &descriptor.platform,
            DocumentKind::of(&descriptor.media_type),
        ) {
            (_, None) => return Ok(None),
            (Some(platform), _) => Some(platform.clone()),
            (None, Some(DocumentKind::Index)) => return Ok(Some(0)),
            (None, Some(DocumentKind::Manifest)) => self.config_platform(descriptor)?,
        };
        let Some(platform) = platform.filter(|platform| !platform.is_unknown()) else {
            return Ok(None);
        };
        let fit = self.wish.platform.fit(&platform);
        if fit.is_none() && self.offered.len() < 8 {
            self.offered.insert(platform.to_string());
        }
        Ok(fit)
    }

    /// The platform in an image's configuration; none for artifacts.
    fn config_platform(&mut self, descriptor: &Descriptor) -> Result<Option<Platform>> {
        let config = self.manifest_of(descriptor)?.manifest.config;
        if check_config_type(&config.media_type).is_err() {
            return Ok(None);
        }
        let blob = read_blob(self.blobs, &config, self.wish.limits.document_bytes)?;
        Ok(Some(config::parse(&blob.bytes)?.platform()))
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<(Blob, Document)> {
        self.documents += 1;
        if self.documents > DOCUMENTS_MAX {
            let cause = format!("more than {DOCUMENTS_MAX} indexes and manifests to look through");
            return Err(Error::new(ErrorKind::TooLarge, "select", "image", cause));
        }
        let blob = read_blob(self.blobs, descriptor, self.wish.limits.document_bytes)?;
        let document = manifest::parse(&blob.bytes, Some(&descriptor.media_type))
            .map_err(|error| error.within(&format!("blob {}", blob.digest)))?;
        Ok((blob, document))
    }

    fn manifest_of(&mut self, descriptor: &Descriptor) -> Result<Chosen> {
        match self.document(descriptor)? {
            (blob, Document::Manifest(manifest)) => Ok(Chosen::new(blob, manifest)),
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

    fn nothing_fits(&self) -> Error {
        let offered: Vec<&str> = self.offered.iter().map(String::as_str).collect();
        let offered = match offered.as_slice() {
            [] => "no image at all".to_owned(),
            names => names.join(", "),
        };
        let cause = format!("no image for {}, only {offered}", self.wish.platform);
        Error::new(ErrorKind::WrongArchitecture, "select", "image", cause)
            .with_hint("--platform names the platform to load")
    }
}

/// Reads a small blob and checks it against its descriptor.
pub(crate) fn read_blob(blobs: &Blobs, descriptor: &Descriptor, limit: u64) -> Result<Blob> {
    let subject = || format!("blob {}", descriptor.digest);
    if descriptor.size > limit {
        let cause = format!("{} bytes, the limit is {limit}", descriptor.size);
        return Err(Error::new(ErrorKind::TooLarge, "read", subject(), cause));
    }
    let bytes = blobs.document(descriptor, limit)?;
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

fn candidate(
    blobs: &Blobs,
    name: Reference,
    label: Option<String>,
    chosen: Chosen,
    wish: &Wish<'_>,
) -> Result<Candidate> {
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
    let mut lineage = chosen.above;
    lineage.reverse();
    lineage.push(chosen.blob.digest.clone());
    Ok(Candidate {
        names: vec![name],
        label,
        lineage,
        manifest: Some(chosen.blob),
        config_blob,
        config,
        layers,
    })
}
