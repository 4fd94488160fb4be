//! Finding things in the store: names, ids, records.

use super::record::{self, ImageRecord, LayerRecord};
use super::{Folder, RECORD_MAX, Store, image_of_link};
use crate::candidate::Blob;
use crate::config;
use crate::digest::{Digest, is_lower_hex};
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::image::Image;
use crate::reference::Reference;

/// Shortest id a person may type, in digits.
const SHORT_ID: usize = 3;

/// What a name or id led to.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: Digest,
    /// None when it was found by id.
    pub(super) name: Option<Reference>,
}

impl Store {
    pub(super) fn find(&self, text: &str) -> Result<Found> {
        let reference = Reference::parse(text);
        if let Ok(reference) = &reference
            && let Some(id) = self.name_target(reference)?
        {
            return Ok(Found {
                id,
                name: Some(reference.clone()),
            });
        }
        if let Some(digest) = reference.as_ref().ok().and_then(Reference::digest)
            && let Some(id) = self.by_digest(digest)?
        {
            return Ok(Found { id, name: None });
        }
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.len() >= SHORT_ID && is_lower_hex(digits) {
            let mut ids = self.image_ids()?;
            ids.retain(|id| id.hex().starts_with(digits));
            match ids.as_slice() {
                [id] => {
                    return Ok(Found {
                        id: id.clone(),
                        name: None,
                    });
                }
                [] => {}
                _ => {
                    let cause = format!("{} images begin with it", ids.len());
                    return Err(Error::new(
                        ErrorKind::Ambiguous,
                        "find",
                        quoted(text),
                        cause,
                    ));
                }
            }
        } else {
            reference?;
        }
        Err(Error::new(
            ErrorKind::NotFound,
            "find",
            quoted(text),
            "no such image in the store",
        )
        .with_hint("load it first: oci:DIR, oci-archive:FILE or docker-archive:FILE"))
    }

    pub(super) fn by_digest(&self, digest: &Digest) -> Result<Option<Digest>> {
        for id in self.image_ids()? {
            if id == *digest || self.image_record(&id)?.manifest.as_ref() == Some(digest) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    pub(super) fn name_target(&self, name: &Reference) -> Result<Option<Digest>> {
        let link = self.refs.read_link(&name.file_name())?;
        link.map(|target| image_of_link(&target)).transpose()
    }

    /// Every name with the image it points at.
    pub(super) fn all_names(&self) -> Result<Vec<(Reference, Digest)>> {
        let mut all = Vec::new();
        for file in self.refs.names()? {
            let Some(name) = Reference::from_file_name(&file) else {
                continue;
            };
            if let Some(id) = self.name_target(&name)? {
                all.push((name, id));
            }
        }
        all.sort();
        Ok(all)
    }

    pub(super) fn image_ids(&self) -> Result<Vec<Digest>> {
        let names = self.images.names()?;
        let mut ids: Vec<Digest> = names
            .iter()
            .filter_map(|name| Digest::from_file_name(name))
            .collect();
        ids.sort();
        Ok(ids)
    }

    pub(super) fn image_record(&self, id: &Digest) -> Result<ImageRecord> {
        let bytes = self.images.read(&id.file_name(), RECORD_MAX)?;
        record::decode(&bytes).map_err(|error| error.within(&format!("image {id}")))
    }

    pub(super) fn layer_record(&self, diff_id: &Digest) -> Result<LayerRecord> {
        let folder = Folder::open(self.layer_path(diff_id))?;
        let bytes = folder.read("meta.json", RECORD_MAX)?;
        record::decode(&bytes).map_err(|error| error.within(&format!("layer {diff_id}")))
    }

    pub(super) fn image(&self, id: &Digest) -> Result<Image> {
        self.named_image(id, &self.all_names()?)
    }

    pub(super) fn named_image(&self, id: &Digest, names: &[(Reference, Digest)]) -> Result<Image> {
        let record = self.image_record(id)?;
        let bytes = self.blob_folder(id).read(id.hex(), RECORD_MAX)?;
        let blob = Blob {
            digest: id.clone(),
            bytes,
        };
        crate::layout::verify(&blob)?;
        let config = config::parse(&blob.bytes)?.image;
        let own = names.iter().filter(|(_, target)| target == id);
        let names = own.map(|(name, _)| name.clone()).collect();
        Ok(Image {
            record,
            names,
            config,
        })
    }
}
