//! Finding things in the store: names, ids, records.

use super::Store;
use super::record::ImageRecord;
use super::shelf::Shelf;
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
            let mut ids = self.all_ids()?;
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

    fn by_digest(&self, digest: &Digest) -> Result<Option<Digest>> {
        for shelf in self.shelves()? {
            for id in shelf.image_ids()? {
                let is_it = || Ok(shelf.image_record(&id)?.manifest.as_ref() == Some(digest));
                if id == *digest || is_it()? {
                    return Ok(Some(id));
                }
            }
        }
        Ok(None)
    }

    /// The host's own names go before those that came with the system.
    fn name_target(&self, name: &Reference) -> Result<Option<Digest>> {
        if let Some(id) = self.own.generation()?.names.remove(name) {
            return Ok(Some(id));
        }
        match self.shipped()? {
            Some(shelf) => Ok(shelf.generation()?.names.remove(name)),
            None => Ok(None),
        }
    }

    /// The ids of all images, each once.
    fn all_ids(&self) -> Result<Vec<Digest>> {
        let mut ids = Vec::new();
        for shelf in self.shelves()? {
            ids.extend(shelf.image_ids()?);
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Where an image is.
    pub(super) fn shelf_of(&self, id: &Digest) -> Result<(&Shelf, ImageRecord)> {
        match self.own.image_record(id) {
            Err(error) if error.kind() == ErrorKind::NotFound => match self.shipped()? {
                Some(shelf) => Ok((shelf, shelf.image_record(id)?)),
                None => Err(error),
            },
            found => Ok((&self.own, found?)),
        }
    }

    pub(super) fn image(&self, id: &Digest) -> Result<Image> {
        match self.own.image(id, &self.own.generation()?) {
            Err(error) if error.kind() == ErrorKind::NotFound => match self.shipped()? {
                Some(shelf) => Ok(shipped(shelf.image(id, &shelf.generation()?)?)),
                None => Err(error),
            },
            found => found,
        }
    }

    pub(super) fn all_images(&self) -> Result<Vec<Image>> {
        let names = self.own.generation()?;
        let ids = self.own.image_ids()?;
        let own = ids.iter().map(|id| self.own.image(id, &names));
        let mut images: Vec<Image> = own.collect::<Result<_>>()?;
        if let Some(shelf) = self.shipped()? {
            let names = shelf.generation()?;
            for id in shelf.image_ids()?.iter().filter(|id| !ids.contains(id)) {
                images.push(shipped(shelf.image(id, &names)?));
            }
        }
        Ok(images)
    }
}

fn shipped(image: Image) -> Image {
    Image {
        shipped: true,
        ..image
    }
}
