//! Images come in from files: [`Store::load`], and what every way in goes through.

use super::Store;
use super::disk::Lock;
use super::ingest::Ingest;
use crate::blobs::Blobs;
use crate::candidate::{self, Candidate, Found, Wish};
use crate::error::Result;
use crate::image::Image;
use crate::load::LoadOptions;
use crate::platform::Platform;
use crate::source::Source;
use crate::trust::{self, Origin, Subject};

impl Store {
    /// Loads the images of a source: each blob verified, each layer unpacked once, each image
    /// visible under its names when this returns, and not before.
    ///
    /// The name is, in this order: the annotation `io.containerd.image.name`; the annotation
    /// `org.opencontainers.image.ref.name` when it is more than a tag; the `RepoTags` of a docker
    /// archive; the source's own file name with the annotation, or `latest`, as tag.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `TooLarge`, `Unsupported`, `WrongArchitecture`, `NoSpace`, `Denied`
    /// or `Io`. The store is then as it was before, except for images that stand before the bad
    /// one in the source.
    pub fn load(&self, source: &Source, options: &LoadOptions) -> Result<Vec<Image>> {
        let loaded = self.load_from(|wish| candidate::find(source, wish), options);
        let name = source.to_string();
        loaded.map_err(|error| {
            let is_named = error.subject().contains(&name);
            if is_named { error } else { error.within(&name) }
        })
    }

    pub(super) fn load_from(
        &self,
        find: impl FnOnce(&Wish<'_>) -> Result<Found>,
        options: &LoadOptions,
    ) -> Result<Vec<Image>> {
        self.empty_trash()?;
        let loaded = self.load_found(find, options);
        if loaded.is_err() {
            // A failure between two renames, which a full disk can still cause.
            if let Ok(Some(_lock)) = Lock::try_exclusive(&self.top) {
                self.collect_locked(&|_id| true).ok();
            }
            self.empty_trash().ok();
        }
        loaded
    }

    fn load_found(
        &self,
        find: impl FnOnce(&Wish<'_>) -> Result<Found>,
        options: &LoadOptions,
    ) -> Result<Vec<Image>> {
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let wish = Wish {
            platform,
            limits: &options.limits,
        };
        let (blobs, candidates, origin) = find(&wish)?;
        self.let_in(&blobs, &candidates, &origin, options)?;
        let mut images = Vec::new();
        for candidate in &candidates {
            images.push(Ingest::new(self, &blobs, options)?.image(candidate)?);
        }
        // What a full disk has no room for is not missed before something is removed.
        self.fill_spare().ok();
        Ok(images)
    }

    /// Refuses what the host's policy refuses: all of a source, if one of its images is not let in.
    pub(super) fn let_in(
        &self,
        blobs: &Blobs,
        candidates: &[Candidate],
        origin: &Origin,
        options: &LoadOptions,
    ) -> Result<()> {
        let demands = self.trust.read()?;
        for candidate in candidates {
            let subject = Subject {
                origin,
                label: candidate.label.as_deref(),
                names: &candidate.names,
                lineage: &candidate.lineage,
                config: &candidate.config_blob.digest,
            };
            let mut fetch = || trust::signatures(blobs, &candidate.lineage, &options.limits);
            demands.check(&subject, &mut fetch)?;
        }
        Ok(())
    }
}
