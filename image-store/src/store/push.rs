//! Images go out to a registry: [`Store::push`].
//!
//! What came from a registry and is there still goes under its new name as it was, manifest and digest
//! included. Otherwise layers are played back from their recipes and compressed anew: they are the same
//! layers, with the same diffIDs, in blobs with other digests than those that were loaded.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use super::Store;
use super::content::Hashing;
use super::export::compressed;
use super::workspace::Workspace;
use crate::candidate::Blob;
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Result};
use crate::image::Image;
use crate::load::Progress;
use crate::manifest::{self, Document};
use crate::reference::Reference;
use crate::registry::wire::{Ask, Stored};
use crate::registry::{PushOptions, Registry};
use crate::save::{ALGORITHM, LayerFile, MANIFEST, manifest_of};

impl Store {
    /// Sends an image to a registry, under the name the registry was opened with; tells the digest of its
    /// manifest there. Blobs that are there are not sent.
    ///
    /// # Errors
    /// As [`Store::save`], and `Network`; `Invalid` for a name with a digest.
    pub fn push(&self, image: &str, registry: &Registry, options: &PushOptions) -> Result<Digest> {
        let name = registry.image().to_string();
        let pushed = self.push_image(image, registry, options);
        pushed.map_err(|error| error.within(&name))
    }

    fn push_image(
        &self,
        image: &str,
        registry: &Registry,
        options: &PushOptions,
    ) -> Result<Digest> {
        if registry.image().digest().is_some() {
            let cause = "a digest is nothing one can choose";
            return Err(Error::new(ErrorKind::Invalid, "push", "", cause)
                .with_hint("give it a tag: HOST/NAME:TAG"));
        }
        let (image, kept, config) = {
            let _lock = self.lock_shared()?;
            let image = self.image(&self.find(image)?.id)?;
            let (shelf, record) = self.shelf_of(image.id())?;
            let kept = record.manifest.map(|digest| shelf.blob(&digest));
            (image, kept.transpose()?, shelf.blob(&record.config)?)
        };
        let push = Push {
            store: self,
            mounts: mounts(&image, registry),
            registry,
            options,
            work: Workspace::new(&self.tmp)?,
        };
        if let Some(kept) = kept
            && let Some(media_type) = push.is_all_there(&kept)?
        {
            return push.publish(&kept, &media_type);
        }
        push.anew(&image, &config)
    }
}

/// Repositories of the same registry that may have the image's blobs.
fn mounts(image: &Image, registry: &Registry) -> Vec<String> {
    let target = registry.image();
    let names = image.names().iter();
    let same = names.filter(|name| name.registry() == target.registry());
    let mut repositories = BTreeSet::new();
    repositories.extend(same.map(Reference::repository));
    let others = repositories.into_iter();
    others
        .filter(|repository| *repository != target.repository())
        .collect()
}

struct Push<'a> {
    store: &'a Store,
    registry: &'a Registry,
    mounts: Vec<String>,
    options: &'a PushOptions,
    work: Workspace,
}

impl Push<'_> {
    fn waiting(&self, pause: Duration, cause: &str) {
        self.options.report(&Progress::Waiting {
            digest: None,
            pause,
            cause,
        });
    }

    /// What the manifest an image came with is called, if the registry has all it names.
    fn is_all_there(&self, kept: &Blob) -> Result<Option<String>> {
        let media_type = manifest::own_media_type(&kept.bytes)?;
        let Document::Manifest(manifest) = manifest::parse(&kept.bytes, Some(&media_type))? else {
            return Ok(None);
        };
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            if !self.has(&descriptor.digest)? {
                return Ok(None);
            }
            self.options.report(&Progress::There {
                digest: &descriptor.digest,
            });
        }
        Ok(Some(media_type))
    }

    fn has(&self, digest: &Digest) -> Result<bool> {
        let mut on_wait = |pause, cause: &str| self.waiting(pause, cause);
        let mount = self.mounts.first().map(String::as_str);
        self.registry.has(digest, mount, &mut on_wait)
    }

    /// Sends layers out of the store, the configuration, and a manifest of our own.
    fn anew(&self, image: &Image, config: &Blob) -> Result<Digest> {
        let mut layers = Vec::new();
        for diff_id in image.layers() {
            let (layer, file) = self.layer(image, diff_id)?;
            self.upload(&layer.digest, layer.size, &file)?;
            layers.push(layer);
        }
        let size = config.bytes.len() as u64;
        self.upload(&config.digest, size, &self.file_of(&config.bytes)?)?;
        let bytes = manifest_of(image.id(), size, &layers);
        let digest = Digest::of(&bytes);
        self.publish(&Blob { digest, bytes }, MANIFEST)
    }

    /// A layer as a file. The store is locked only while it is made.
    fn layer(&self, image: &Image, diff_id: &Digest) -> Result<(LayerFile, File)> {
        let _lock = self.store.lock_shared()?;
        let (shelf, _record) = self.store.shelf_of(image.id())?;
        if self.options.gzip {
            return compressed(shelf, diff_id, &self.work);
        }
        let sink = Hashing::new(ALGORITHM, self.work.file()?);
        let (digest, file) = shelf.layer_tar(diff_id, None, sink)?.finish();
        let size = file.metadata().at("stat", "layer")?.len();
        let gzip = false;
        Ok((LayerFile { digest, size, gzip }, file))
    }

    fn file_of(&self, bytes: &[u8]) -> Result<File> {
        let mut file = self.work.file()?;
        file.write_all(bytes).at("write", "document")?;
        Ok(file)
    }

    fn upload(&self, digest: &Digest, size: u64, file: &File) -> Result<()> {
        let question = Ask::Upload {
            digest: digest.clone(),
            size,
            mount: self.mounts.first().cloned(),
        };
        let file = read_only(file)?;
        let mut answer = self.registry.give(&question, file.as_fd())?;
        let mut on_sent = |bytes| {
            self.options.report(&Progress::Sent {
                digest,
                bytes,
                size,
            });
        };
        let mut on_wait = |pause, cause: &str| self.waiting(pause, cause);
        let stored: Stored = answer.sent(&mut on_sent, &mut on_wait)?;
        if stored.was_there {
            self.options.report(&Progress::There { digest });
        }
        Ok(())
    }

    fn publish(&self, manifest: &Blob, media_type: &str) -> Result<Digest> {
        let question = Ask::Publish {
            media_type: media_type.to_owned(),
            digest: manifest.digest.clone(),
            size: manifest.bytes.len() as u64,
        };
        let file = read_only(&self.file_of(&manifest.bytes)?)?;
        let mut on_wait = |pause, cause: &str| self.waiting(pause, cause);
        let mut answer = self.registry.give(&question, file.as_fd())?;
        answer.end(&mut on_wait)?;
        Ok(manifest.digest.clone())
    }
}

/// The same file, for a process that may only read it.
fn read_only(file: &File) -> Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::open(&path).at("open", path)
}
