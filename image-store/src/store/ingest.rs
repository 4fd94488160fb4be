//! From a candidate to an image of the store.
//!
//! The order is the promise: everything is written below `tmp`, then synced, then renamed,
//! then the directories are synced; layers before blobs before the image before its names. What is
//! visible is whole, and a cut at any point leaves garbage but no dangling name.
//!
//! Layers are independent of each other (the key is the diffID alone), so they are unpacked side by
//! side: `bench`.

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::Store;
use super::bench::{Product, Task, label};
use super::disk::{Folder, Staged, free_bytes};
use super::heritage;
use super::marks::mark_name;
use super::record::{self, Change, Heir, ImageRecord, LayerRecord};
use super::turns::Turns;
use super::workspace::Workspace;
use crate::blobs::Blobs;
use crate::candidate::{Blob, Candidate, LayerBlob};
use crate::digest::Digest;
use crate::driver::{self, DriverName, Erofs};
use crate::error::{At, Error, ErrorKind, Result};
use crate::image::Image;
use crate::load::{LoadOptions, Progress};
use crate::unpack::{RootAttributes, Warnings};

/// One load into the store.
pub(super) struct Ingest<'a> {
    pub(super) store: &'a Store,
    pub(super) blobs: &'a Blobs,
    pub(super) options: &'a LoadOptions,
    pub(super) work: Workspace,
    /// Of a load from files: the layers that are ours to unpack. A pull has such turns with blobs.
    pub(super) turns: Turns,
}

/// A layer ready to be renamed into place.
pub(super) struct Fresh {
    pub(super) record: LayerRecord,
    /// Its name in the workspace.
    pub(super) name: String,
    /// Whether its large files are on the disk.
    is_synced: bool,
}

impl<'a> Ingest<'a> {
    pub(super) fn new(
        store: &'a Store,
        blobs: &'a Blobs,
        options: &'a LoadOptions,
    ) -> Result<Self> {
        let work = Workspace::new(&store.tmp)?;
        let turns = Turns::new(store.partial()?);
        Ok(Self {
            store,
            blobs,
            options,
            work,
            turns,
        })
    }

    /// Brings a candidate in.
    pub(super) fn image(&self, candidate: &Candidate) -> Result<Image> {
        let mut fresh = Vec::new();
        let _lock = loop {
            let awaited = self.layers(&candidate.layers, &mut fresh)?;
            if let Some(layer) = awaited {
                self.hand_in(&mut fresh)?;
                self.wait_for(layer)?;
                continue;
            }
            if let Blobs::Registry(arrivals) = self.blobs {
                arrivals.clear_all()?;
            }
            self.sync(&fresh)?;
            // Held for as long as names and layers change, never while one is unpacked. What
            // the store had may be gone by now: then it is unpacked, too.
            let lock = self.store.lock_shared()?;
            if self.has_all(&candidate.layers, &fresh)? {
                break lock;
            }
        };
        let record = self.record(candidate, &fresh)?;
        // Everything that needs room on the disk comes first; from here on there are renames.
        let blobs = candidate.manifest.iter().chain([&candidate.config_blob]);
        let blobs: Vec<_> = blobs
            .map(|blob| self.stage_blob(blob))
            .collect::<Result<_>>()?;
        let image = self.store.own.images.stage(
            &record.config.file_name(),
            &record::encode(&record)?,
            &self.work,
        )?;
        let id = &record.config;
        let names = self.store.stage_names(Change::Load, &self.work, |names| {
            names.extend(
                candidate
                    .names
                    .iter()
                    .map(|name| (name.clone(), id.clone())),
            );
        })?;
        self.commit_layers(&fresh)?;
        for staged in blobs.into_iter().chain([image]) {
            staged.commit(&self.work)?;
        }
        if let Some(names) = names {
            names.commit(&self.work)?;
        }
        self.store.image(id)
    }

    /// What becomes a layer of the store with the rights that unpacking did not have.
    pub(super) fn complete(&self, task: &Task<'_>, product: Product) -> Result<Fresh> {
        let layer = task.layer;
        let name = product.name;
        let folder = Folder::open(self.work.path().join(&name))?;
        let (driver, record) = (product.form.driver(), product.record);
        driver.complete(&folder, &product.opaque)?;
        self.warn(layer, &product.warnings);
        folder.write("meta.json", &record::encode(&record)?)?;
        let from = Folder::open_or_make(folder.path().join("from"))?;
        if let Some(mark) = mark_name(layer) {
            from.write(&mark, b"")?;
        }
        Ok(Fresh {
            record,
            name,
            is_synced: driver.is_synced(),
        })
    }

    /// What new layers become, and whether that can be mounted here.
    pub(super) fn form(&self) -> Result<DriverName> {
        let name = self.store.driver()?;
        if name == DriverName::Erofs
            && let Err(error) = Erofs::probe(&self.work)
        {
            let text = format!("layers become directories, erofs does not work here: {error}");
            self.options.report(&Progress::Note { text: &text });
            return Ok(DriverName::Dirs);
        }
        Ok(name)
    }

    /// What comes out is at least about as large as what goes in.
    pub(super) fn check_space(&self, layer: &LayerBlob) -> Result<()> {
        let size = layer.size;
        let free = free_bytes(&self.store.tmp)?;
        if size <= free {
            return Ok(());
        }
        let cause = format!("{size} bytes to unpack, {free} free in the store");
        Err(Error::new(
            ErrorKind::NoSpace,
            "unpack",
            label(layer),
            cause,
        ))
    }

    /// One sync for all layers, or one for each small file where no more is left to do.
    pub(super) fn sync(&self, fresh: &[Fresh]) -> Result<()> {
        if fresh.iter().any(|layer| !layer.is_synced) {
            return rustix::fs::syncfs(self.work.fd()).at("sync", self.store.tmp.path());
        }
        for layer in fresh {
            let folder = Folder::open(self.work.path().join(&layer.name))?;
            if let Some(record) = folder.file("meta.json")? {
                rustix::fs::fsync(record).at("sync", folder.path())?;
            }
            Folder::open(folder.path().join("from"))?.sync()?;
            folder.sync()?;
        }
        Ok(())
    }

    pub(super) fn commit_layers(&self, fresh: &[Fresh]) -> Result<()> {
        let layers = &self.store.own.layers;
        for Fresh { record, name, .. } in fresh {
            let to = record.diff_id.file_name();
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(self.work.fd(), name, layers.fd(), &to, flags) {
                // Another load was faster; ours goes with the workspace.
                Ok(()) | Err(Errno::EXIST | Errno::NOTEMPTY) => {}
                Err(errno) => return Err(errno).at("rename", layers.path().join(&to)),
            }
        }
        // Also for layers another load renamed and may not have synced yet.
        layers.sync()
    }

    fn stage_blob(&self, blob: &Blob) -> Result<Staged<'_>> {
        let folder = self.store.own.blob_folder(&blob.digest);
        folder.stage(blob.digest.hex(), &blob.bytes, &self.work)
    }

    fn record(&self, candidate: &Candidate, fresh: &[Fresh]) -> Result<ImageRecord> {
        let diff_ids = &candidate.config.diff_ids;
        let layers = diff_ids
            .iter()
            .map(|diff_id| self.layer_record(diff_id, fresh));
        let layers: Vec<LayerRecord> = layers.collect::<Result<_>>()?;
        let root = layers.iter().rev().find_map(|record| record.root);
        let hidden = layers.iter().rposition(|record| record.opaque_root);
        let hidden = hidden.unwrap_or(0);
        Ok(ImageRecord {
            version: record::version(),
            config: candidate.config_blob.digest.clone(),
            manifest: candidate
                .manifest
                .as_ref()
                .map(|manifest| manifest.digest.clone()),
            layers: diff_ids.clone(),
            hidden,
            root: root.unwrap_or(RootAttributes {
                mode: 0o755,
                uid: 0,
                gid: 0,
            }),
            size: layers
                .iter()
                .fold(0, |sum, record| sum.saturating_add(record.bytes)),
            directories: self.heirs(layers.get(hidden..).unwrap_or_default(), fresh)?,
        })
    }

    fn layer_record(&self, diff_id: &Digest, fresh: &[Fresh]) -> Result<LayerRecord> {
        let fresh = fresh.iter().find(|fresh| fresh.record.diff_id == *diff_id);
        match fresh {
            Some(fresh) => Ok(fresh.record.clone()),
            None => self.store.own.layer_record(diff_id),
        }
    }

    /// Layers of the image, be they in the store already or still in the workspace.
    fn heirs(&self, layers: &[LayerRecord], fresh: &[Fresh]) -> Result<Vec<Heir>> {
        if !heritage::is_needed(layers) {
            return Ok(Vec::new());
        }
        let view = |record: &LayerRecord| {
            let diff_id = &record.diff_id;
            let fresh = fresh.iter().find(|fresh| fresh.record.diff_id == *diff_id);
            let folder = match fresh {
                Some(fresh) => self.work.path().join(&fresh.name),
                None => self.store.own.layer_path(diff_id),
            };
            Ok(heritage::View {
                record: record.clone(),
                root: driver::of(&folder).root(&folder)?.open()?,
            })
        };
        let views: Vec<heritage::View> = layers.iter().map(view).collect::<Result<_>>()?;
        heritage::settle(&views)
    }

    fn warn(&self, layer: &LayerBlob, warnings: &Warnings) {
        let diff_id = &layer.diff_id;
        for text in &warnings.texts {
            self.options.report(&Progress::Warning { diff_id, text });
        }
        if warnings.more > 0 {
            let text = format!("{} more warnings", warnings.more);
            self.options.report(&Progress::Warning {
                diff_id,
                text: &text,
            });
        }
    }
}
