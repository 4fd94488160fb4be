//! Taking images away: names first, then the image, then what nobody uses any more.
//!
//! A cut between two steps leaves something unused, never a name without an image or an image
//! without its layers: file systems commit in the order things were done in, but for directories that are
//! synced by themselves, and under the exclusive lock nobody syncs one out of turn. So two syncs at the
//! end do for all steps. Garbage collection has the same order over the whole store.

use std::collections::BTreeSet;

use super::Store;
use super::record::{Change, Generation};
use super::workspace::Workspace;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::image::Removed;
use crate::reference::Reference;

/// Layers that were taken out of sight.
#[derive(Debug, Default)]
pub(super) struct Gone {
    pub(super) layers: Vec<Digest>,
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

impl Store {
    /// [`Store::remove`] under the exclusive lock.
    pub(super) fn remove_locked(&self, text: &str) -> Result<Removed> {
        let found = self.find(text)?;
        let all = self.own.generation()?.names;
        let own = all.into_iter().filter(|(_, id)| *id == found.id);
        let names: Vec<Reference> = own.map(|(name, _)| name).collect();
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
        if let Some(version) = self.version_that_needs(&found.id)? {
            // The name goes; the image is there when that version runs again.
            if !names.is_empty() {
                self.untag(&names)?;
                return Ok(Removed {
                    untagged: names,
                    ..Removed::default()
                });
            }
            let cause = format!("version {version} of the system has a name for it");
            return Err(Error::new(
                ErrorKind::InUse,
                "remove image",
                quoted(text),
                cause,
            ));
        }
        let record =
            self.own
                .image_record(&found.id)
                .map_err(|error| match self.shelf_of(&found.id) {
                    Ok(_) => Error::new(
                        ErrorKind::Denied,
                        "remove image",
                        quoted(text),
                        "it came with the system",
                    ),
                    Err(_) => error,
                })?;
        self.with_spare(|| self.unname(&names, &found.id))?;
        self.own.images.unlink(&record.config.file_name())?;
        let gone = self.with_spare(|| self.drop_unused())?;
        self.own.generations.sync()?;
        self.own.images.sync()?;
        Ok(Removed {
            untagged: names,
            image: Some(found.id),
            layers: gone.layers,
            bytes: gone.bytes,
            entries: gone.entries,
        })
    }

    fn untag(&self, gone: &[Reference]) -> Result<()> {
        self.with_spare(|| {
            let work = Workspace::new(&self.tmp)?;
            self.change_names(Change::Remove, &work, |names| {
                names.retain(|name, _| !gone.contains(name));
            })
        })
    }

    /// Takes all names of an image away, and the generations that knew it: nobody can go back to a
    /// time whose images are gone. It does not last so far.
    fn unname(&self, gone: &[Reference], id: &Digest) -> Result<()> {
        let work = Workspace::new(&self.tmp)?;
        let staged = self.stage_names(Change::Remove, &work, |names| {
            names.retain(|name, _| !gone.contains(name));
        })?;
        let _names = match staged {
            Some(staged) => staged.place(&work)?,
            None => self.lock_names()?,
        };
        let mut numbers = Vec::new();
        for number in self.own.numbers()? {
            match self.own.generation_of(number) {
                Ok(generation) if generation.names.values().any(|other| other == id) => {
                    numbers.push(number);
                }
                // One that is damaged leads nowhere; one that cannot be read now may lead here.
                Err(error) if error.kind() != ErrorKind::Corrupt => return Err(error),
                _ => {}
            }
        }
        self.forget(numbers)
    }

    /// A version of the system that does not run, and whose names lead to the image.
    fn version_that_needs(&self, id: &Digest) -> Result<Option<String>> {
        for (number, version) in self.own.pinned()? {
            let generation = self.own.generation_of(number);
            let names = |generation: Generation| generation.names.values().any(|other| other == id);
            if generation.is_ok_and(names) {
                return Ok(Some(version));
            }
        }
        Ok(None)
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

    /// Takes layers and blobs that no image uses out of sight. Only under the exclusive lock: a
    /// load that commits counts on layers its image does not name yet. Before the lock goes, `images`
    /// must be synced: a layer must not be missing while its image is there.
    pub(super) fn drop_unused(&self) -> Result<Gone> {
        let mut used: BTreeSet<Digest> = BTreeSet::new();
        for id in self.own.image_ids()? {
            let record = self.own.image_record(&id)?;
            used.extend(record.layers);
            used.extend(record.manifest);
            used.insert(id);
        }
        let trash = Workspace::new(&self.trash)?;
        let mut gone = Gone::default();
        for layer in self.own.layer_ids()? {
            if !used.contains(&layer) {
                // One whose record is damaged goes all the same, and nobody knows how large it was.
                if let Ok(record) = self.own.layer_record(&layer) {
                    gone.bytes += record.bytes;
                    gone.entries += record.entries;
                }
                self.own.layers.discard(&layer.file_name(), &trash)?;
                gone.layers.push(layer);
            }
        }
        trash.leave();
        let (sha256, sha512) = (&self.own.sha256, &self.own.sha512);
        for (algorithm, folder) in [("sha256", sha256), ("sha512", sha512)] {
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
