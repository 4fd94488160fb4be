//! Garbage: what no name, no generation and no container leads to.
//!
//! Marking and taking out of sight happen under the exclusive lock and cost a rename for each dead
//! layer; deleting comes after it and disturbs nobody.

use std::collections::BTreeSet;

use super::disk::{Folder, Lock};
use super::{Store, image_of_link};
use crate::digest::Digest;
use crate::error::Result;
use crate::image::Image;

/// What [`Store::collect`] took away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// Images that nothing led to.
    pub images: Vec<Digest>,
    /// Layers no image uses any more.
    pub layers: Vec<Digest>,
    /// Bytes of file data in those layers.
    pub bytes: u64,
    /// Files, directories and links in them.
    pub entries: u64,
}

/// What a part of the store takes and what of it would be given back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// All images.
    pub images: usize,
    /// Those that a container was made from.
    pub images_in_use: usize,
    /// Bytes of file data in all layers.
    pub image_bytes: u64,
    /// Bytes of layers that only images without a container use.
    pub reclaimable_bytes: u64,
    /// All containers.
    pub containers: usize,
    /// All layers.
    pub layers: usize,
    /// Pieces of work in progress, or left by a crash.
    pub in_work: usize,
    /// Removed and not deleted so far.
    pub in_trash: usize,
}

impl Store {
    /// Removes every image that no name, no kept generation and no container leads to, and every
    /// layer without an image; [`Store::empty_trash`] gives the room back.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn collect(&self) -> Result<Collected> {
        let _lock = Lock::exclusive(&self.top)?;
        self.forget_partial()?;
        self.with_spare(|| self.collect_locked(&|_id| true))
    }

    /// Forgets the ways back: every generation but the current one, and then collects. With `all`
    /// also names go whose image no container was made from.
    ///
    /// # Errors
    /// `Corrupt`, `NoSpace`, `Io`.
    pub fn prune(&self, all: bool) -> Result<Collected> {
        self.prune_if(all, &|_id| true)
    }

    /// As [`Store::prune`], of these images alone; a generation is kept as long as another one would go with it.
    ///
    /// # Errors
    /// As [`Store::prune`].
    pub fn prune_among(&self, all: bool, images: &BTreeSet<Digest>) -> Result<Collected> {
        self.prune_if(all, &|id| images.contains(id))
    }

    fn prune_if(&self, all: bool, may_go: &dyn Fn(&Digest) -> bool) -> Result<Collected> {
        let _lock = Lock::exclusive(&self.top)?;
        self.forget_partial()?;
        self.with_spare(|| self.prune_locked(all, may_go))
    }

    fn prune_locked(&self, all: bool, may_go: &dyn Fn(&Digest) -> bool) -> Result<Collected> {
        if all {
            let leased = self.leased()?;
            let work = super::workspace::Workspace::new(&self.tmp)?;
            self.change_names(super::Change::Remove, &work, |names| {
                names.retain(|_, id| leased.contains(id) || !may_go(id));
            })?;
        }
        {
            let _names = self.lock_names()?;
            let mut named = BTreeSet::new();
            named.extend(self.own.generation()?.names.into_values());
            let mut numbers = self.own.numbers()?;
            numbers.retain(|number| {
                // one that cannot be read keeps nothing
                let names = self.own.generation_of(*number).map(|old| old.names);
                let mut ids = names.unwrap_or_default().into_values();
                ids.all(|id| named.contains(&id) || may_go(&id))
            });
            self.forget(numbers)?;
            self.own.generations.sync()?;
        }
        self.collect_locked(may_go)
    }

    /// [`Store::collect`] of what may go, under the exclusive lock.
    pub(super) fn collect_locked(&self, may_go: &dyn Fn(&Digest) -> bool) -> Result<Collected> {
        let mut reached = self.leased()?;
        for number in self.own.numbers()? {
            reached.extend(self.own.generation_of(number)?.names.into_values());
        }
        let mut images = self.own.image_ids()?;
        images.retain(|id| !reached.contains(id) && may_go(id));
        for id in &images {
            self.own.images.unlink(&id.file_name())?;
        }
        let gone = self.drop_unused()?;
        self.own.images.sync()?;
        Ok(Collected {
            images,
            layers: gone.layers,
            bytes: gone.bytes,
            entries: gone.entries,
        })
    }

    /// The images that containers were made from. A container whose lease cannot be read keeps
    /// nothing: it cannot be started again either.
    pub(super) fn leased(&self) -> Result<BTreeSet<Digest>> {
        let mut leased = BTreeSet::new();
        for container in self.containers()? {
            let path = self.containers.path().join(&container);
            let link = Folder::look(path)?.ok();
            let link = link.map(|folder| folder.read_link("lease")).transpose()?;
            leased.extend(link.flatten().and_then(|link| image_of_link(&link).ok()));
        }
        Ok(leased)
    }

    /// Bytes of each layer; one whose record is damaged counts nothing.
    fn layer_sizes(&self) -> Vec<(Digest, u64)> {
        let layers = self.own.layer_ids().unwrap_or_default();
        let size = |id: Digest| {
            let bytes = self.own.layer_record(&id).map_or(0, |record| record.bytes);
            (id, bytes)
        };
        layers.into_iter().map(size).collect()
    }

    /// Bytes of file data in each layer of an image, lowest first.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `Io`.
    pub fn layer_bytes(&self, image: &Image) -> Result<Vec<u64>> {
        let _lock = self.lock_shared()?;
        let (shelf, record) = self.shelf_of(image.id())?;
        let bytes = |layer| Ok(shelf.layer_record(layer)?.bytes);
        record.layers.iter().map(bytes).collect()
    }

    /// The images that containers were made from, and those containers' ids.
    ///
    /// # Errors
    /// `Io`.
    pub fn leases(&self) -> Result<Vec<(Digest, String)>> {
        let _lock = self.lock_shared()?;
        let mut leases = Vec::new();
        for container in self.containers()? {
            if let Ok(Some(image)) = self.lease(&container) {
                leases.push((image, container));
            }
        }
        Ok(leases)
    }

    /// What the store holds.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn usage(&self) -> Result<Usage> {
        let _lock = self.lock_shared()?;
        let leased = self.leased()?;
        let mut kept: BTreeSet<Digest> = BTreeSet::new();
        let ids = self.own.image_ids()?;
        for id in ids.iter().filter(|id| leased.contains(id)) {
            kept.extend(self.own.image_record(id)?.layers);
        }
        let sizes = self.layer_sizes();
        let idle = sizes.iter().filter(|(id, _)| !kept.contains(id));
        Ok(Usage {
            images: ids.len(),
            images_in_use: ids.iter().filter(|id| leased.contains(id)).count(),
            image_bytes: sizes.iter().map(|(_, bytes)| bytes).sum(),
            reclaimable_bytes: idle.map(|(_, bytes)| bytes).sum(),
            containers: self.containers()?.len(),
            layers: sizes.len(),
            in_work: self.tmp.names()?.len(),
            in_trash: self.trash.names()?.len(),
        })
    }
}
