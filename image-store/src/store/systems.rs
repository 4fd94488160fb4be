//! What names mean belongs to the version of the system that gave them: each has a generation of its own.
//!
//! `generations/systems/VERSION` is a link to `../current` for the version that runs, and to `../NUMBER` for one that
//! ran before. Going from one to another is three renames of links, and between any two of them every link is
//! true: a cut needs no repair, and the same steps again come to the same end.

use super::Store;
use super::disk::Folder;
use super::record::{self, Generation};
use super::workspace::Workspace;
use crate::error::{At, Error, ErrorKind, Result};
use rustix::fs::AtFlags;
use std::collections::BTreeMap;

const FOLDER: &str = "systems";

/// What the link of the version leads to that runs.
const HOLDS: &str = "../current";

/// How many versions keep their names beside the one that runs and the one before it.
const KEPT: usize = 1;

/// Longest version, in bytes.
const LONGEST: usize = 64;

/// What [`Store::follow`] came to.
#[derive(Debug)]
#[non_exhaustive]
pub struct Followed {
    /// The generation that holds now.
    pub number: u64,
    /// The version whose names held before, with the generation that is kept for it.
    pub left: Option<(String, u64)>,
    /// Whether the version had names of its own, which hold again.
    pub back: bool,
    /// Why not the names hold that should, but others.
    pub damage: Vec<Error>,
}

impl Store {
    /// Gives all names the meaning they had when this version of the system ran; those of a version that has
    /// not run before stay as they are. None where it is the version that ran anyway.
    ///
    /// A current generation that is damaged is left for the newest that is whole.
    ///
    /// # Errors
    /// `Invalid` for what is no version, `NoSpace`, `Io`.
    pub fn follow(&self, version: &str) -> Result<Option<Followed>> {
        check(version)?;
        let _lock = self.lock_shared()?;
        let _names = self.lock_names()?;
        // On a full disk as well: the same steps again come to the same end.
        self.with_spare(|| self.follow_locked(version))
    }

    fn follow_locked(&self, version: &str) -> Result<Option<Followed>> {
        let work = Workspace::new(&self.tmp)?;
        let systems = Folder::open_or_make(self.own.generations.path().join(FOLDER))?;
        let mut damage = Vec::new();
        let current = self.whole_generation(&mut damage, &work)?;
        let versions = self.own.versions()?;
        if damage.is_empty() && versions.get(version).is_some_and(|to| to == HOLDS) {
            return Ok(None);
        }
        let left = self.leave(&systems, &versions, version, current, &work)?;
        let own = versions.get(version).and_then(|to| number_of(to));
        let back = match own.map(|number| self.whole(number)).transpose() {
            Ok(Some(generation)) => {
                self.switch_to(&generation, &work)?;
                true
            }
            Ok(None) => false,
            Err(error) => {
                damage.push(error);
                false
            }
        };
        systems.stage_link(version, HOLDS, &work)?.commit(&work)?;
        let before = left.as_ref().map(|(version, _)| version.as_str());
        forget_others(&systems, &versions, &[Some(version), before])?;
        Ok(Some(Followed {
            number: self.own.generation()?.number,
            left,
            back,
            damage,
        }))
    }

    /// Notes for the version that ran which generation is its.
    fn leave(
        &self,
        systems: &Folder,
        versions: &BTreeMap<String, String>,
        version: &str,
        current: Generation,
        work: &Workspace,
    ) -> Result<Option<(String, u64)>> {
        let mut holding = versions.iter().filter(|(_, to)| *to == HOLDS);
        let Some((before, _)) = holding.next().filter(|(before, _)| *before != version) else {
            return Ok(None);
        };
        let number = match current.number {
            // No name was ever given; that, too, can be gone back to.
            0 => {
                let first = Generation {
                    number: 1,
                    ..current
                };
                let file = self
                    .own
                    .generations
                    .stage("1", &record::encode(&first)?, work)?;
                file.commit(work)?;
                self.switch_to(&first, work)?;
                1
            }
            number => number,
        };
        systems
            .stage_link(before, &format!("../{number}"), work)?
            .commit(work)?;
        self.own.generations.sync()?;
        Ok(Some((before.clone(), number)))
    }

    /// A generation whose images are all there.
    fn whole(&self, number: u64) -> Result<Generation> {
        let generation = self.own.generation_of(number)?;
        for id in generation.names.values() {
            self.own.image_record(id)?;
        }
        Ok(generation)
    }

    /// The current generation; one that is damaged makes way for the newest that is whole.
    fn whole_generation(&self, damage: &mut Vec<Error>, work: &Workspace) -> Result<Generation> {
        let error = match self.own.generation() {
            Err(error) if error.kind() == ErrorKind::Corrupt => error,
            found => return found,
        };
        damage.push(error);
        let mut numbers = self.own.numbers()?.into_iter().rev();
        let whole = numbers.find_map(|number| self.whole(number).ok());
        let none = || {
            let cause = "no generation of names is whole";
            Error::new(ErrorKind::Corrupt, "follow", "system", cause)
        };
        let generation = whole.ok_or_else(none)?;
        self.switch_to(&generation, work)?;
        Ok(generation)
    }
}

impl super::shelf::Shelf {
    /// Versions of the system, and what their links lead to.
    pub(super) fn versions(&self) -> Result<BTreeMap<String, String>> {
        let Ok(systems) = Folder::look(self.generations.path().join(FOLDER))? else {
            return Ok(BTreeMap::new());
        };
        let mut versions = BTreeMap::new();
        for name in systems.names()? {
            if let Some(to) = systems.read_link(&name)? {
                versions.insert(name, to);
            }
        }
        Ok(versions)
    }

    /// Generations that versions of the system go back to: they stay, and so do their images.
    pub(super) fn pinned(&self) -> Result<BTreeMap<u64, String>> {
        let mut pinned = BTreeMap::new();
        for (version, to) in self.versions()? {
            if let Some(number) = number_of(&to) {
                pinned.insert(number, version);
            }
        }
        Ok(pinned)
    }
}

fn number_of(link: &str) -> Option<u64> {
    link.strip_prefix("../")?.parse().ok()
}

/// As os-release(5) has it: it becomes the name of a file.
fn check(version: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~^-".contains(&byte);
    let sound = !version.starts_with('.') && version.bytes().all(plain);
    if sound && !version.is_empty() && version.len() <= LONGEST {
        return Ok(());
    }
    let cause = "not the version of a system";
    Err(Error::invalid("follow", version, cause))
}

/// Versions that were left long ago will not be booted again: the last ones stay.
fn forget_others(
    systems: &Folder,
    versions: &BTreeMap<String, String>,
    stay: &[Option<&str>],
) -> Result<()> {
    let mut others = Vec::new();
    for name in versions.keys() {
        if stay.contains(&Some(name)) {
            continue;
        }
        let stat = rustix::fs::statat(systems.fd(), name, AtFlags::SYMLINK_NOFOLLOW)
            .at("stat", systems.path().join(name))?;
        others.push((stat.st_mtime, stat.st_mtime_nsec, name));
    }
    others.sort_unstable();
    let gone = others.len().saturating_sub(KEPT);
    for (_, _, name) in others.into_iter().take(gone) {
        systems.unlink(name)?;
    }
    Ok(())
}
