//! What is to be done with each layer of an image, and by whom.

use super::disk::Folder;
use super::ingest::{Fresh, Ingest};
use super::pull::Turn;
use super::side::side_by_side;
use crate::blobs::Blobs;
use crate::candidate::LayerBlob;
use crate::digest::Digest;
use crate::error::Result;
use crate::load::Progress;

/// Bytes of a blob below which a second thread costs more than it gives.
const WORTH_A_THREAD: u64 = 4 << 20;

/// Layers that are fetched side by side, however few processors there are.
const AT_ONCE: usize = 4;

/// A layer and what is to be done with it.
pub(super) struct Task<'a> {
    pub(super) layer: &'a LayerBlob,
    pub(super) manner: Manner,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Unpacked.
    New,
    /// The store has it.
    Known,
    /// This load has it.
    Again,
}

/// The file in a layer's `from` that says: this blob, read this way, gave this diffID.
pub(super) fn mark_name(layer: &LayerBlob) -> Option<String> {
    let digest = layer.digest.as_ref()?;
    Some(format!(
        "{}.{}",
        digest.file_name(),
        layer.compression.name()
    ))
}

impl Ingest<'_> {
    /// Verifies every layer and unpacks those the store does not have, side by side, the largest
    /// first: so no large one is left for the end, when the other processors have nothing to do.
    /// Tells one that somebody else fetches, if there is any: then that is to be waited for.
    pub(super) fn layers<'l>(
        &self,
        layers: &'l [LayerBlob],
        fresh: &mut Vec<Fresh>,
    ) -> Result<Option<&'l LayerBlob>> {
        let mut tasks: Vec<Task<'_>> = Vec::new();
        let mut awaited = None;
        for layer in layers {
            let manner = self.manner(layer, &tasks, fresh)?;
            if let Blobs::Registry(arrivals) = self.blobs {
                let same = |task: &Task<'_>| task.layer.is_same_blob(layer);
                if tasks.iter().any(same) || self.needs_no_fetch(layer, fresh)? {
                    continue;
                }
                if arrivals.claim(layer)? == Turn::Others {
                    awaited = Some(layer);
                    continue;
                }
            }
            tasks.push(Task { layer, manner });
        }
        let sizes = tasks.iter().map(|task| task.layer.size);
        let total = sizes.fold(0, u64::saturating_add);
        tasks.sort_by_key(|task| std::cmp::Reverse(task.layer.size));
        let act = |task: &Task<'_>, seat| {
            // One that is more than all others together is worked at by two threads.
            let apart = task.layer.size > total / 2 && task.layer.size > WORTH_A_THREAD;
            self.layer(task, apart, seat)
        };
        let least = match self.blobs {
            Blobs::Registry(_) => AT_ONCE,
            _ => 1,
        };
        let unpacked = side_by_side(&tasks, least, &act)?;
        fresh.extend(unpacked.into_iter().flatten());
        Ok(awaited)
    }

    fn manner(&self, layer: &LayerBlob, tasks: &[Task<'_>], fresh: &[Fresh]) -> Result<Manner> {
        let is_it = |other: &Digest| *other == layer.diff_id;
        let twice = tasks.iter().any(|task| is_it(&task.layer.diff_id));
        let done = fresh.iter().any(|done| is_it(&done.record.diff_id));
        Ok(if twice || done {
            Manner::Again
        } else if self.store.own.layers.contains(&layer.diff_id.file_name())? {
            Manner::Known
        } else {
            Manner::New
        })
    }

    /// A layer of this very blob, whose bytes were verified when they came.
    fn needs_no_fetch(&self, layer: &LayerBlob, fresh: &[Fresh]) -> Result<bool> {
        let Some(mark) = mark_name(layer) else {
            return Ok(false);
        };
        let mut done = fresh.iter();
        let dir = match done.find(|done| done.record.diff_id == layer.diff_id) {
            Some(done) => self.work.path().join(&done.name),
            None => self.store.own.layer_path(&layer.diff_id),
        };
        let Ok(folder) = Folder::look(dir.join("from"))? else {
            return Ok(false);
        };
        if !folder.contains(&mark)? {
            return Ok(false);
        }
        let (diff_id, size) = (&layer.diff_id, layer.size);
        let known = true;
        self.options.report(&Progress::LayerStarted {
            diff_id,
            size,
            known,
        });
        self.options.report(&Progress::LayerDone { diff_id });
        Ok(true)
    }

    /// Whether the store has all layers that are not in the workspace.
    pub(super) fn has_all(&self, layers: &[LayerBlob], fresh: &[Fresh]) -> Result<bool> {
        for layer in layers {
            let in_work = fresh
                .iter()
                .any(|done| done.record.diff_id == layer.diff_id);
            if !in_work && !self.store.own.layers.contains(&layer.diff_id.file_name())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Puts layers into the store before their image, for others that wait for them. Nothing leads to
    /// them yet: whether they are still there is looked for again.
    pub(super) fn hand_in(&self, fresh: &mut Vec<Fresh>) -> Result<()> {
        self.sync(fresh)?;
        let _lock = self.store.lock_shared()?;
        self.commit_layers(fresh)?;
        fresh.clear();
        Ok(())
    }
}
