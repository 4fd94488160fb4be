//! Taking images away: names first, then the image, then what nobody uses any more.
//!
//! A cut between two steps leaves something unused, never a name without an image or an image
//! without its layers. Garbage collection will use the same order over the whole store.

use std::collections::BTreeSet;

use super::disk::Workspace;
use super::{Store, record::ImageRecord};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::image::Removed;
use crate::reference::Reference;

impl Store {
    /// [`Store::remove`] under the exclusive lock.
    pub(super) fn remove_locked(&self, text: &str) -> Result<Removed> {
        let found = self.find(text)?;
        let names: Vec<Reference> = self
            .all_names()?
            .into_iter()
            .filter(|(_, id)| *id == found.id)
            .map(|(name, _)| name)
            .collect();
        if let (Some(name), true) = (&found.name, names.len() > 1) {
            self.untag(std::slice::from_ref(name))?;
            return Ok(Removed {
                untagged: vec![name.clone()],
                ..Removed::default()
            });
        }
        if names.len() > 1 {
            let cause = format!("it has {} names", names.len());
            return Err(
                Error::new(ErrorKind::InUse, "remove image", quoted(text), cause)
                    .with_hint("remove it by its names"),
            );
        }
        self.refuse_leased(text, &found.id)?;
        let record = self.image_record(&found.id)?;
        self.untag(&names)?;
        let layers = self.remove_image(&record)?;
        Ok(Removed {
            untagged: names,
            image: Some(found.id),
            layers,
        })
    }

    fn untag(&self, names: &[Reference]) -> Result<()> {
        for name in names {
            self.refs.unlink(&name.file_name())?;
        }
        self.refs.sync()
    }

    fn refuse_leased(&self, text: &str, id: &Digest) -> Result<()> {
        for container in self.containers()? {
            // A container without a readable lease cannot be started again; it keeps nothing.
            if matches!(self.lease(&container), Ok(Some(image)) if image == *id) {
                let cause = format!("container {container} was made from it");
                return Err(
                    Error::new(ErrorKind::InUse, "remove image", quoted(text), cause)
                        .with_hint("remove the container first"),
                );
            }
        }
        Ok(())
    }

    fn remove_image(&self, record: &ImageRecord) -> Result<Vec<Digest>> {
        self.images.unlink(&record.config.file_name())?;
        self.images.sync()?;
        let mut gone = self.drop_unused()?;
        gone.retain(|layer| record.layers.contains(layer));
        Ok(gone)
    }

    /// Removes layers and blobs that no image uses. Only under the exclusive lock: a load in
    /// progress counts on layers its image does not name yet.
    pub(super) fn drop_unused(&self) -> Result<Vec<Digest>> {
        let mut used: BTreeSet<Digest> = BTreeSet::new();
        for id in self.image_ids()? {
            let record = self.image_record(&id)?;
            used.extend(record.layers);
            used.extend(record.manifest);
            used.insert(id);
        }
        let trash = Workspace::new(&self.trash)?;
        let mut gone = Vec::new();
        for name in self.layers.names()? {
            if let Some(layer) = Digest::from_file_name(&name).filter(|d| !used.contains(d)) {
                self.layers.discard(&name, &trash)?;
                gone.push(layer);
            }
        }
        self.layers.sync()?;
        for (algorithm, folder) in [("sha256", &self.sha256), ("sha512", &self.sha512)] {
            for hex in folder.names()? {
                let blob = Digest::parse(&format!("{algorithm}:{hex}"));
                if blob.is_ok_and(|blob| !used.contains(&blob)) {
                    folder.unlink(&hex)?;
                }
            }
        }
        Ok(gone)
    }
}
