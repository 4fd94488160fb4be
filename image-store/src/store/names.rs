//! The names of images, and how they were before.
//!
//! Every change of names is a new file in `generations/` and one rename of the link `current`: an
//! upgrade of several names happens at once or not at all, and going back is the same rename.

use super::Store;
use super::disk::{Lock, Staged};
use super::record::{self, Change, Generation};
use super::shelf::CURRENT;
use super::workspace::Workspace;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::reference::Reference;
use std::collections::BTreeMap;

/// How many generations are kept beside the current one.
const KEPT: usize = 10;

impl Store {
    /// Changes the names, all at once.
    pub(super) fn change_names(
        &self,
        change: Change,
        work: &Workspace,
        edit: impl FnOnce(&mut BTreeMap<Reference, Digest>),
    ) -> Result<()> {
        match self.stage_names(change, work, edit)? {
            Some(staged) => staged.commit(work),
            None => Ok(()),
        }
    }

    /// Writes new names to disk, under no name so far; none where nothing is different. Nobody
    /// else changes names until they are in place or dropped.
    pub(super) fn stage_names(
        &self,
        change: Change,
        work: &Workspace,
        edit: impl FnOnce(&mut BTreeMap<Reference, Digest>),
    ) -> Result<Option<StagedNames<'_>>> {
        let lock = self.lock_names()?;
        let before = self.own.generation()?;
        let mut names = before.names.clone();
        edit(&mut names);
        if names == before.names {
            return Ok(None);
        }
        let numbers = self.own.numbers()?;
        let number = numbers.last().copied().unwrap_or(0) + 1;
        let made = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        let generation = Generation {
            made: made.as_secs(),
            number,
            change,
            names,
            ..Generation::none()
        };
        let (folder, name) = (&self.own.generations, number.to_string());
        let old = numbers.len().saturating_sub(KEPT);
        Ok(Some(StagedNames {
            store: self,
            file: folder.stage(&name, &record::encode(&generation)?, work)?,
            link: folder.stage_link(CURRENT, &name, work)?,
            old: numbers.into_iter().take(old).collect(),
            lock,
        }))
    }

    /// Makes another generation the current one.
    pub(super) fn switch_to(&self, generation: &Generation, work: &Workspace) -> Result<()> {
        let link =
            self.own
                .generations
                .stage_link(CURRENT, &generation.number.to_string(), work)?;
        link.commit(work)
    }

    /// Takes generations away, but never the current one, nor one that a version of the system goes back to.
    pub(super) fn forget(&self, numbers: impl IntoIterator<Item = u64>) -> Result<()> {
        let pinned = self.own.pinned()?;
        let numbers = numbers.into_iter();
        self.drop_damaged(numbers.filter(|number| !pinned.contains_key(number)))
    }

    /// Takes generations away that are of no use to anybody, but never the current one.
    pub(super) fn drop_damaged(&self, numbers: impl IntoIterator<Item = u64>) -> Result<()> {
        let current = self.own.generation()?.number;
        for number in numbers {
            if number != current {
                self.own.generations.unlink(&number.to_string())?;
            }
        }
        Ok(())
    }

    pub(super) fn lock_names(&self) -> Result<Lock> {
        Lock::exclusive(&self.own.generations)
    }
}

/// Names whose file is on disk, but that do not hold yet.
#[derive(Debug)]
pub(super) struct StagedNames<'a> {
    store: &'a Store,
    file: Staged<'a>,
    link: Staged<'a>,
    /// Generations nobody goes back to any more.
    old: Vec<u64>,
    lock: Lock,
}

impl StagedNames<'_> {
    /// Makes them hold, in one step, and makes that last.
    pub(super) fn commit(mut self, work: &Workspace) -> Result<()> {
        let (store, old) = (self.store, std::mem::take(&mut self.old));
        let _names = self.place(work)?;
        store.own.generations.sync()?;
        // The next collection finds what they kept.
        store.forget(old)
    }

    /// Makes them hold, in one step; the directory still has to be synced.
    pub(super) fn place(self, work: &Workspace) -> Result<Lock> {
        self.file.place(work)?;
        self.link.place(work)?;
        Ok(self.lock)
    }
}

/// A generation as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GenerationInfo {
    /// Its number; they only grow.
    pub number: u64,
    /// When it was made, in seconds since 1970.
    pub made: u64,
    /// What made it.
    pub change: Change,
    /// Whether it holds now.
    pub current: bool,
    /// Versions of the system whose names these are.
    pub systems: Vec<String>,
    /// The names and what they mean.
    pub names: Vec<(Reference, Digest)>,
}

impl Store {
    /// All generations of names that are kept, oldest first.
    ///
    /// # Errors
    /// `Corrupt` or `Io`.
    pub fn generations(&self) -> Result<Vec<GenerationInfo>> {
        let _lock = self.lock_shared()?;
        let _names = self.lock_names()?;
        let current = self.own.generation()?.number;
        let versions = self.own.versions()?;
        let info = |number: u64| {
            let of_it = |to: &str| match to.strip_prefix("../") {
                Some(CURRENT) => number == current,
                to => to == Some(number.to_string().as_str()),
            };
            let systems = versions.iter().filter(|(_, to)| of_it(to));
            let systems = systems.map(|(version, _)| version.clone()).collect();
            let Generation {
                number,
                made,
                change,
                names,
                ..
            } = self.own.generation_of(number)?;
            Ok(GenerationInfo {
                number,
                made,
                change,
                current: number == current,
                systems,
                names: names.into_iter().collect(),
            })
        };
        self.own.numbers()?.into_iter().map(info).collect()
    }

    /// Gives all names the meaning they had in a generation, in one step. The images are there:
    /// what a kept generation names is never collected.
    ///
    /// # Errors
    /// `NotFound` when it is not kept any more, `Corrupt`, `Io`.
    pub fn switch(&self, number: u64) -> Result<()> {
        let _lock = self.lock_shared()?;
        let _names = self.lock_names()?;
        if !self.own.numbers()?.contains(&number) {
            let subject = format!("generation {number}");
            return Err(
                Error::new(ErrorKind::NotFound, "find", subject, "it is not kept")
                    .with_hint("'generations list' shows those that are"),
            );
        }
        let generation = self.own.generation_of(number)?;
        for id in generation.names.values() {
            self.own.image_record(id)?;
        }
        self.with_spare(|| self.switch_to(&generation, &Workspace::new(&self.tmp)?))
    }

    /// [`Store::switch`] to the generation before the current one; tells its number.
    ///
    /// # Errors
    /// `NotFound` when there is none before it.
    pub fn roll_back(&self) -> Result<u64> {
        let (current, numbers) = {
            let _lock = self.lock_shared()?;
            (self.own.generation()?.number, self.own.numbers()?)
        };
        let before = numbers.into_iter().rfind(|number| *number < current);
        let before = before.ok_or_else(|| {
            let cause = "there is none before the current one";
            Error::new(ErrorKind::NotFound, "find", "generation", cause)
        })?;
        self.switch(before)?;
        Ok(before)
    }

    /// Gives an image one more name; the name may have meant another image before.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`, `Invalid` for a name with a digest, `NoSpace`, `Io`.
    pub fn tag(&self, name_or_id: &str, name: &Reference) -> Result<()> {
        if name.digest().is_some() {
            let cause = "a name with a digest is not given, it is found";
            return Err(Error::invalid("tag", &name.to_string(), cause));
        }
        let _lock = self.lock_shared()?;
        let id = self.find(name_or_id)?.id;
        // A name is a promise that the image stays; for those of the system it cannot be given.
        let record = self.own.image_record(&id)?;
        let digests = record.manifest.iter().chain([&record.config]);
        self.trust.read()?.check_name(name, digests)?;
        let work = Workspace::new(&self.tmp)?;
        self.change_names(Change::Tag, &work, |names| {
            names.insert(name.clone(), id);
        })
    }
}
