//! What is to be done with each layer of an image, and by whom.

use super::bench::{Bench, ENTER, Manner, Product, Tale, Task, label};
use super::disk::Folder;
use super::ingest::{Fresh, Ingest};
use super::marks::mark_name;
use super::turns::Turn;
use crate::blobs::Blobs;
use crate::candidate::LayerBlob;
use crate::digest::Digest;
use crate::driver::DriverName;
use crate::error::{ErrorKind, Result};
use crate::load::Progress;

/// Bytes of a blob below which a second thread costs more than it gives.
const WORTH_A_THREAD: u64 = 4 << 20;

/// Layers that are fetched side by side, however few processors there are.
const AT_ONCE: usize = 4;

impl Ingest<'_> {
    /// Verifies every layer and unpacks those the store does not have, side by side, the largest
    /// first: so no large one is left for the end, when the other processors have nothing to do.
    /// Tells one that somebody else has in work, if there is any: then that is to be waited for.
    pub(super) fn layers<'l>(
        &self,
        layers: &'l [LayerBlob],
        fresh: &mut Vec<Fresh>,
    ) -> Result<Option<&'l LayerBlob>> {
        let mut tasks: Vec<Task<'_>> = Vec::new();
        let mut awaited = None;
        for layer in layers {
            if self.is_left_out(layer, &tasks, fresh)? {
                continue;
            }
            let mut manner = self.manner(layer, &tasks, fresh)?;
            if manner == Manner::New || self.is_pull() {
                if self.claim(layer)? == Turn::Others {
                    awaited = Some(layer);
                    continue;
                }
                // Whoever had it may have ended well between the look and the claim.
                if self.is_left_out(layer, &tasks, fresh)? {
                    continue;
                }
                manner = self.manner(layer, &tasks, fresh)?;
            }
            tasks.push(self.task(layer, manner)?);
        }
        let sizes = tasks.iter().map(|task| task.layer.size);
        let total = sizes.fold(0, u64::saturating_add);
        for task in &mut tasks {
            // One that is more than all others together is worked at by two threads.
            let size = task.layer.size;
            task.apart = size > total / 2 && size > WORTH_A_THREAD;
        }
        tasks.sort_unstable_by_key(|task| std::cmp::Reverse(task.layer.size));
        for (number, task) in tasks.iter_mut().enumerate() {
            task.number = number;
        }
        for (task, product) in tasks.iter().zip(self.products(&tasks)?) {
            match product {
                Some(product) => fresh.push(self.complete(task, product)?),
                None if task.manner == Manner::Known => {
                    self.store.own.mark(task.layer, &self.work)?;
                }
                None => {}
            }
        }
        Ok(awaited)
    }

    fn is_pull(&self) -> bool {
        matches!(self.blobs, Blobs::Registry(_))
    }

    fn claim(&self, layer: &LayerBlob) -> Result<Turn> {
        match self.blobs {
            Blobs::Registry(arrivals) => match arrivals.claim(layer)? {
                Turn::Ours if self.is_loaded(layer)? => Ok(Turn::Others),
                turn => Ok(turn),
            },
            // By the layer, not its blob: a load never waits for a network.
            _ => self.turns.take(&layer.diff_id, layer.size),
        }
    }

    /// Whether a load unpacks what we would fetch: it is soon there, and need not come.
    fn is_loaded(&self, layer: &LayerBlob) -> Result<bool> {
        // One that is not compressed has the digest of its blob: then the claim is on both, and is ours.
        if layer.digest.as_ref() == Some(&layer.diff_id) {
            return Ok(false);
        }
        self.turns.is_others(&layer.diff_id, layer.size)
    }

    /// Waits for whoever has a layer in work, and holds nothing meanwhile.
    pub(super) fn wait_for(&self, layer: &LayerBlob) -> Result<()> {
        if let Blobs::Registry(arrivals) = self.blobs {
            arrivals.wait_for(layer)?;
        }
        let reporter = self.options.reporter();
        self.turns.wait(&layer.diff_id, layer.size, reporter)
    }

    /// A blob that need not come again.
    fn is_left_out(&self, layer: &LayerBlob, tasks: &[Task<'_>], fresh: &[Fresh]) -> Result<bool> {
        let same = |task: &Task<'_>| task.layer.is_same_blob(layer);
        let is_coming = tasks.iter().any(same);
        Ok(self.is_pull() && (is_coming || self.needs_no_fetch(layer, fresh)?))
    }

    fn manner(&self, layer: &LayerBlob, tasks: &[Task<'_>], fresh: &[Fresh]) -> Result<Manner> {
        let is_it = |other: &Digest| *other == layer.diff_id;
        let twice = tasks.iter().any(|task| is_it(&task.layer.diff_id));
        let done = fresh.iter().any(|done| is_it(&done.record.diff_id));
        if twice || done {
            return Ok(Manner::Known);
        }
        if !self.store.own.layers.contains(&layer.diff_id.file_name())? {
            self.check_space(layer)?;
            return Ok(Manner::New);
        }
        let is_marked = self.store.own.is_marked(layer)?;
        Ok(if is_marked {
            Manner::Marked
        } else {
            Manner::Known
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

    fn task<'t>(&self, layer: &'t LayerBlob, manner: Manner) -> Result<Task<'t>> {
        let held = match self.blobs {
            Blobs::Registry(_) => None,
            files => {
                let blob = files.open(&layer.member);
                Some(blob.map_err(|error| error.within(&label(layer)))?)
            }
        };
        Ok(Task {
            number: 0,
            layer,
            held,
            manner,
            apart: false,
            name: self.work.fresh_name(),
        })
    }

    /// The work on all layers, in a cell where the caller has one.
    fn products(&self, tasks: &[Task<'_>]) -> Result<Vec<Option<Product>>> {
        let is_new = |task: &Task<'_>| task.manner == Manner::New;
        let form = if tasks.iter().any(is_new) {
            self.form()?
        } else {
            DriverName::Dirs
        };
        let bench = Bench {
            place: self.work.path(),
            form,
            limits: &self.options.limits,
            blobs: self.blobs,
            least: match self.blobs {
                Blobs::Registry(_) => AT_ONCE,
                _ => 1,
            },
            reporter: &|_number| self.options.reporter().clone(),
        };
        let tell = |number: usize, tale: Tale| {
            let Some(task) = tasks.get(number) else {
                return;
            };
            let diff_id = &task.layer.diff_id;
            self.options.report(&match &tale {
                Tale::Started => Progress::LayerStarted {
                    diff_id,
                    size: task.layer.size,
                    known: task.manner != Manner::New,
                },
                Tale::Warning(text) => Progress::Warning { diff_id, text },
                Tale::Fetched(bytes) => Progress::Fetched {
                    digest: task.layer.digest.as_ref().unwrap_or(diff_id),
                    // what is told there is no more than told
                    bytes: task.layer.size.min(*bytes),
                    size: task.layer.size,
                },
                Tale::Waiting(pause, cause) => Progress::Waiting {
                    digest: task.layer.digest.as_ref(),
                    pause: *pause,
                    cause,
                },
                Tale::Done => Progress::LayerDone { diff_id },
            });
        };
        let cell = self.options.cell().filter(|_| !tasks.is_empty());
        let Some(cell) = cell else {
            return bench.run(tasks, &tell);
        };
        match bench.run_in(cell, tasks, &tell) {
            Err(error) if error.kind() == ErrorKind::Unsupported && error.operation() == ENTER => {
                let text = format!("layers are unpacked without a process of their own: {error}");
                self.options.report(&Progress::Note { text: &text });
                bench.run(tasks, &tell)
            }
            done => done,
        }
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
