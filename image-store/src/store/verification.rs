//! Whether the store is what it says, and how it becomes so again.

use std::io;

use super::disk::Lock;
use super::record::Change;
use super::side::{Seat, side_by_side};
use super::workspace::Workspace;
use super::{Store, collection::Collected};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// Something that is not as it should be.
#[derive(Debug)]
#[non_exhaustive]
pub struct Damage {
    /// What it is about.
    pub part: Part,
    /// What is wrong.
    pub error: Error,
    /// The images that cannot be used for it.
    pub images: Vec<Digest>,
}

/// A part of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Part {
    /// A generation of names.
    Generation(u64),
    /// An image's record, configuration or manifest.
    Image(Digest),
    /// A layer.
    Layer(Digest),
}

/// What [`Store::verify`] found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Verified {
    /// Images looked at.
    pub images: usize,
    /// Layers looked at.
    pub layers: usize,
    /// What is wrong; nothing in a whole store.
    pub damages: Vec<Damage>,
}

/// What [`Store::repair`] did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Repaired {
    /// Images that were removed, to be loaded again.
    pub images: Vec<Digest>,
    /// Damaged images that stay, because containers were made from them.
    pub in_use: Vec<Digest>,
    /// What went with them.
    pub collected: Collected,
}

impl Store {
    /// Looks whether every name leads to an image, every image has its documents and layers; with
    /// `deep` also whether every byte and attribute of every layer is what its diffID stands for.
    ///
    /// Loads, starts and removals go on meanwhile.
    ///
    /// # Errors
    /// Only when it cannot look; what it finds is no error.
    pub fn verify(&self, deep: bool) -> Result<Verified> {
        let mut verified = Verified::default();
        let (layers, uses) = {
            let _lock = self.lock_shared()?;
            self.verify_names(&mut verified)?;
            self.verify_images(&mut verified)?
        };
        verified.layers = layers.len();
        let check = |layer: &Digest, seat| Ok(self.verify_layer(layer, deep, seat).err());
        let faults = side_by_side(&layers, 1, &check)?;
        for (layer, fault) in layers.into_iter().zip(faults) {
            let Some(error) = fault else { continue };
            // Removed while we looked.
            let _lock = self.lock_shared()?;
            let users = uses.iter().filter(|(_, used)| used.contains(&layer));
            let users = users.map(|(id, _)| id.clone());
            let images: Vec<Digest> = users
                .filter(|id| self.own.image_record(id).is_ok())
                .collect();
            let is_there = self.own.layers.contains(&layer.file_name())?;
            if is_there || !images.is_empty() {
                let part = Part::Layer(layer);
                verified.damages.push(Damage {
                    part,
                    error,
                    images,
                });
            }
        }
        Ok(verified)
    }

    fn verify_names(&self, verified: &mut Verified) -> Result<()> {
        let _names = self.lock_names()?;
        for number in self.own.numbers()? {
            let whole = || {
                let generation = self.own.generation_of(number)?;
                for id in generation.names.values() {
                    self.own.image_record(id)?;
                }
                Ok(())
            };
            if let Err(error) = whole() {
                verified.damages.push(Damage {
                    part: Part::Generation(number),
                    error,
                    images: Vec::new(),
                });
            }
        }
        Ok(())
    }

    /// All layers, and which image uses which.
    fn verify_images(&self, verified: &mut Verified) -> Result<(Vec<Digest>, Uses)> {
        let mut layers = self.own.layer_ids()?;
        let mut uses = Vec::new();
        let ids = self.own.image_ids()?;
        verified.images = ids.len();
        for id in ids {
            let whole = || {
                let record = self.own.image_record(&id)?;
                self.own.blob(&id)?;
                if let Some(manifest) = &record.manifest {
                    self.own.blob(manifest)?;
                }
                Ok(record)
            };
            match whole() {
                Ok(record) => {
                    layers.extend(record.layers.iter().cloned());
                    uses.push((id, record.layers));
                }
                Err(error) => verified.damages.push(Damage {
                    part: Part::Image(id.clone()),
                    error,
                    images: vec![id],
                }),
            }
        }
        layers.sort_unstable();
        layers.dedup();
        Ok((layers, uses))
    }

    fn verify_layer(&self, layer: &Digest, deep: bool, seat: Seat) -> Result<()> {
        let record = self.own.layer_record(layer)?;
        if record.diff_id != *layer {
            let cause = format!("its record is that of {}", record.diff_id);
            return Err(Error::corrupt("verify", format!("layer {layer}"), cause));
        }
        if deep {
            let work = Workspace::new(&self.tmp)?;
            let anew = Some((&work, seat));
            self.own.layer_tar(layer, anew, io::sink())?;
        }
        Ok(())
    }

    /// Takes away what is damaged, with the images that need it, so that a load brings them in
    /// whole. What containers were made from stays.
    ///
    /// # Errors
    /// `Io`, `NoSpace`.
    pub fn repair(&self, verified: &Verified) -> Result<Repaired> {
        let _lock = Lock::exclusive(&self.top)?;
        self.with_spare(|| self.repair_locked(verified))
    }

    fn repair_locked(&self, verified: &Verified) -> Result<Repaired> {
        let mut repaired = Repaired::default();
        let leased = self.leased()?;
        let mut bad: Vec<Digest> = Vec::new();
        for damage in &verified.damages {
            bad.extend(damage.images.iter().cloned());
        }
        bad.sort_unstable();
        bad.dedup();
        (repaired.in_use, repaired.images) = bad.into_iter().partition(|id| leased.contains(id));
        self.repair_names(&repaired.images)?;
        for id in &repaired.images {
            match self.own.images.unlink(&id.file_name()) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        repaired.collected = self.collect_locked(&|_id| true)?;
        Ok(repaired)
    }

    /// Forgets generations that cannot be read or that name what goes. Where the current one
    /// cannot be read, the newest that can takes its place.
    fn repair_names(&self, gone: &[Digest]) -> Result<()> {
        let work = Workspace::new(&self.tmp)?;
        let numbers = self.own.numbers()?;
        let read = numbers.iter().map(|number| self.own.generation_of(*number));
        let readable: Vec<_> = read.filter_map(Result::ok).collect();
        if self.own.generation().is_err() {
            let _names = self.lock_names()?;
            match readable.last() {
                Some(newest) => self.switch_to(newest, &work)?,
                None => self.forget_all()?,
            }
        }
        let is_there = |id: &Digest| !gone.contains(id) && self.own.image_record(id).is_ok();
        self.change_names(Change::Remove, &work, |names| {
            names.retain(|_, id| is_there(id));
        })?;
        let _names = self.lock_names()?;
        let whole = |number: &u64| {
            let generation = self.own.generation_of(*number);
            generation.is_ok_and(|generation| generation.names.values().all(is_there))
        };
        let numbers = self.own.numbers()?.into_iter();
        self.drop_damaged(numbers.filter(|number| !whole(number)))?;
        self.own.generations.sync()
    }
}

impl Store {
    /// No generation is whole: begins anew, without a name.
    fn forget_all(&self) -> Result<()> {
        self.own.generations.unlink(super::shelf::CURRENT)?;
        let mut numbers = self.own.numbers()?.into_iter();
        numbers.try_for_each(|number| self.own.generations.unlink(&number.to_string()))
    }
}

/// Images with their layers.
type Uses = Vec<(Digest, Vec<Digest>)>;
