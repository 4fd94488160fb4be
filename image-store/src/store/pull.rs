//! Images come in from a registry: [`Store::pull`].
//!
//! Each blob is fetched once, however many pulls want it: `turns`.

use std::sync::Arc;
use std::time::Duration;

use rustix::fs::AtFlags;

use super::Store;
use super::disk::Folder;
use super::turns::{Turn, Turns};
use crate::blobs::{Blobs, Bytes};
use crate::candidate::{Blob, Candidate, LayerBlob, Wish};
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Result, quoted};
use crate::image::Image;
use crate::layout;
use crate::load::{LoadOptions, Progress, Reporter};
use crate::manifest::{self, Descriptor, DocumentKind};
use crate::reference::Reference;
use crate::registry::wire::Manifest;
use crate::registry::{Claim, Registry};
use crate::trust::{Origin, Transport};

/// How long a part of a blob is kept for a pull that goes on.
const KEPT_FOR: Duration = Duration::from_hours(7 * 24);

/// What registries call documents when they do not say what they are.
const VAGUE: [&str; 4] = [
    "",
    "application/json",
    "application/octet-stream",
    "text/plain",
];

impl Store {
    /// Loads an image from a registry, as [`Store::load`] does from files: each blob verified as it comes,
    /// each layer unpacked from its first byte on. What a pull that failed or was killed has fetched is kept
    /// for a week, and not fetched again.
    ///
    /// The image gets the name it was asked for by, with its tag, or with the digest where there is one.
    ///
    /// # Errors
    /// As [`Store::load`], and `Network`.
    pub fn pull(&self, registry: &Registry, options: &LoadOptions) -> Result<Image> {
        let folder = self.partial()?;
        drop_partial(&folder, Some(KEPT_FOR))?;
        let name = registry.image().to_string();
        let find = |wish: &Wish<'_>| {
            let arrivals = Arrivals {
                registry: registry.clone(),
                turns: Turns::new(folder),
                reporter: options.reporter().clone(),
            };
            let (blobs, candidate) = arrivals.find(wish)?;
            let origin = Origin::new(Transport::Docker, None);
            Ok((blobs, vec![candidate], origin))
        };
        let images = self
            .load_from(find, options)
            .map_err(|error| error.within(&name))?;
        images.into_iter().next().ok_or_else(|| {
            let cause = "no image came of it";
            Error::new(ErrorKind::NotFound, "pull", quoted(&name), cause)
        })
    }

    /// Where blobs are while they are fetched.
    pub(super) fn partial(&self) -> Result<Folder> {
        Folder::open_or_make(self.top.path().join("partial"))
    }

    /// Throws away what pulls that failed have left.
    pub(super) fn forget_partial(&self) -> Result<()> {
        match Folder::look(self.top.path().join("partial"))? {
            Ok(folder) => drop_partial(&folder, None),
            Err(_never_pulled) => Ok(()),
        }
    }
}

/// Removes what nobody fetches and nobody has fetched for so long.
fn drop_partial(folder: &Folder, age: Option<Duration>) -> Result<()> {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    for name in folder.names()? {
        let stat = match rustix::fs::statat(folder.fd(), &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => continue,
            Err(errno) => return Err(errno).at("stat", folder.path().join(name)),
        };
        let written = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
        if age.is_some_and(|age| now.saturating_sub(written) < age) {
            continue;
        }
        match Digest::from_file_name(&name) {
            Some(digest) => {
                let claim = Claim::try_take(folder, &digest, 0)?;
                claim.map_or(Ok(()), |claim| claim.clear())?;
            }
            None => folder.unlink(&name)?,
        }
    }
    Ok(())
}

/// The blobs of an image of a registry.
#[derive(Debug)]
pub(crate) struct Arrivals {
    registry: Registry,
    turns: Turns,
    reporter: Reporter,
}

impl Arrivals {
    fn find(self, wish: &Wish<'_>) -> Result<(Blobs, Candidate)> {
        let image = self.registry.image().clone();
        let name = image.without_tag_beside_digest();
        let limit = wish.limits.document_bytes;
        let (blob, claimed) = self.top(limit)?;
        let media_type = media_type(&blob, claimed.as_deref())?;
        let blobs = Blobs::Registry(self);
        let candidate = layout::find_top(&blobs, name, (blob, &media_type), wish)?;
        Ok((blobs, candidate))
    }

    fn top(&self, limit: u64) -> Result<(Blob, Option<String>)> {
        let mut on_wait = |pause, cause: &str| self.waiting(pause, cause);
        self.registry.manifest(Manifest::Named, limit, &mut on_wait)
    }

    /// The document another tag of the image's repository means; none where there is no such tag.
    pub(crate) fn tagged(&self, tag: &str, limit: u64) -> Result<Option<Descriptor>> {
        let mut on_wait = |pause, cause: &str| self.waiting(pause, cause);
        let which = Manifest::Tag(tag.to_owned());
        match self.registry.manifest(which, limit, &mut on_wait) {
            Ok((blob, claimed)) => {
                let media_type = media_type(&blob, claimed.as_deref())?;
                let size = blob.bytes.len() as u64;
                Ok(Some(Descriptor::tagged(tag, media_type, blob.digest, size)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn waiting(&self, pause: Duration, cause: &str) {
        self.reporter.report(&Progress::Waiting {
            digest: None,
            pause,
            cause,
        });
    }

    /// The right to fetch a layer, where it is ours.
    pub(super) fn claim_of(&self, layer: &LayerBlob) -> Option<Arc<Claim>> {
        self.turns.of(layer.digest.as_ref()?)
    }

    /// Reads a manifest, or a configuration.
    pub(crate) fn document(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        let mut on_wait = |pause, cause: &str| self.waiting(pause, cause);
        let limit = descriptor.size.min(limit);
        if DocumentKind::of(&descriptor.media_type).is_none() {
            return self.registry.small(descriptor, limit, &mut on_wait);
        }
        let which = Manifest::Digest(descriptor.digest.clone());
        let (blob, _media_type) = self.registry.manifest(which, limit, &mut on_wait)?;
        Ok(blob.bytes)
    }

    /// Opens a layer's blob, which must be ours: what is here already, else what comes.
    /// How far it comes is told to the reporter.
    pub(crate) fn open(&self, layer: &LayerBlob, reporter: &Reporter) -> Result<Bytes> {
        let claim = self.claim_of(layer).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "open",
                quoted(&layer.member),
                "not ours",
            )
        })?;
        Ok(match claim.whole()? {
            Some(section) => Bytes::Held(section),
            None => Bytes::Coming(Box::new(claim.arrive(&self.registry, reporter)?)),
        })
    }

    /// The way to the registry.
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Makes a blob ours to fetch, unless another pull fetches it.
    pub(super) fn claim(&self, layer: &LayerBlob) -> Result<Turn> {
        match &layer.digest {
            Some(digest) => self.turns.take(digest, layer.size),
            None => Ok(Turn::Ours),
        }
    }

    /// Gives up what is ours, and waits for the other pull.
    pub(super) fn wait_for(&self, layer: &LayerBlob) -> Result<()> {
        match &layer.digest {
            Some(digest) => self.turns.wait(digest, layer.size, &self.reporter),
            None => Ok(()),
        }
    }

    /// Does with a layer what is to be done, and once more where it went wrong with a beginning that an
    /// earlier pull had left: that may not have got to the disk.
    pub(super) fn resumed<T>(&self, layer: &LayerBlob, act: impl Fn() -> Result<T>) -> Result<T> {
        let Some(claim) = self.claim_of(layer) else {
            return act();
        };
        let had = claim.has()?;
        let is_bad = |error: &Error| {
            let kinds = [
                ErrorKind::Corrupt,
                ErrorKind::TooLarge,
                ErrorKind::Unsupported,
            ];
            kinds.contains(&error.kind())
        };
        match act() {
            Err(error) if is_bad(&error) => {
                claim.clear()?;
                if had == 0 {
                    return Err(error);
                }
                let again = act();
                if again.as_ref().is_err_and(is_bad) {
                    claim.clear()?;
                }
                again
            }
            done => done,
        }
    }

    /// All layers are unpacked: the blobs need not get to the disk.
    pub(super) fn clear_all(&self) -> Result<()> {
        self.turns.clear_all()
    }
}

/// What the document is, by what the registry says, or by itself where the registry says nothing.
fn media_type(blob: &Blob, claimed: Option<&str>) -> Result<String> {
    let claimed = claimed.unwrap_or_default();
    let claimed = claimed.split(';').next().unwrap_or_default().trim();
    if VAGUE.contains(&claimed) {
        return manifest::own_media_type(&blob.bytes);
    }
    Ok(claimed.to_owned())
}

impl Reference {
    /// What an image is called that was asked for by digest: a tag beside it says nothing any more.
    fn without_tag_beside_digest(&self) -> Self {
        match self.digest() {
            Some(_) => self.clone().without_tag(),
            None => self.clone(),
        }
    }
}
