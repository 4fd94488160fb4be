//! Pairs of SELinux' categories: no two containers of one state root that were made since the machine was booted have the
//! same, as long as there is a record of both.
//!
//! ```text
//! @categories/c1,c2/ID -> the record of ID     below the state root
//! ```
//!
//! Two that begin at once need no lock: a pair is taken by giving its name to a directory that has its holder in it
//! already, and rename(2) replaces no directory in which there is anything. What a killed hostrun left is told by its
//! record, which is gone; as nobody else will ever have its id, whoever sees such a link may remove it.

use crate::globals::Globals;
use crate::record::{Record, make_private};
use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Categories that a policy has unless it says otherwise.
const CATEGORIES: u32 = 1024;

/// Of each with a higher one.
const PAIRS: u32 = CATEGORIES * (CATEGORIES - 1) / 2;

/// The pairs that containers hold.
#[derive(Debug)]
pub(super) struct Categories {
    dir: PathBuf,
}

impl Categories {
    pub(super) fn of(globals: &Globals) -> Self {
        let dir = globals.root.join("@categories");
        Self { dir }
    }

    /// A level with a pair that no other container has: the one that the id says, which is random, or the next that is
    /// free.
    ///
    /// # Errors
    /// When the state root cannot be written.
    pub(super) fn draw(&self, record: &Record) -> Result<String> {
        let digits = record.id().get(..8).unwrap_or_default();
        let first = u32::from_str_radix(digits, 16).unwrap_or_default();
        self.draw_from(first % PAIRS, record)
    }

    fn draw_from(&self, first: u32, record: &Record) -> Result<String> {
        let own = self.begin(record)?;
        for number in (first..PAIRS).chain(0..first) {
            let pair = name(number);
            if put(&own, &self.dir.join(&pair))? {
                return Ok(format!("s0:{pair}"));
            }
        }
        clear(&own, |_| true);
        bail!("all pairs of categories are in use")
    }

    /// Holds the pair of a level that somebody chose, or another container has: it may have several holders then.
    ///
    /// # Errors
    /// When the state root cannot be written.
    pub(super) fn share(&self, level: &str, record: &Record) -> Result<()> {
        let Some(pair) = pair_of(level) else {
            return Ok(());
        };
        let pair = self.dir.join(pair);
        let own = self.begin(record)?;
        while !put(&own, &pair)? {
            match link(record, &pair) {
                // Its last holder has just gone.
                Err(Errno::NOENT) => {}
                linked => {
                    clear(&own, |_| true);
                    return linked.with_context(|| format!("cannot write '{}'", pair.display()));
                }
            }
        }
        Ok(())
    }

    /// Gives back what a container has.
    pub(super) fn release(&self, level: &str, id: &str) {
        if let Some(pair) = pair_of(level) {
            clear(&self.dir.join(pair), |holder| holder == id);
        }
    }

    /// A directory with the container in it, under a name that is nobody else's.
    fn begin(&self, record: &Record) -> Result<PathBuf> {
        let own = self.dir.join(record.id());
        make_private(&own)?;
        link(record, &own).with_context(|| format!("cannot write '{}'", own.display()))?;
        Ok(own)
    }
}

/// Makes it the directory of a pair, unless that has a holder.
fn put(own: &Path, pair: &Path) -> Result<bool> {
    loop {
        match rustix::fs::rename(own, pair) {
            Ok(()) => return Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => {
                clear(own, |_| true);
                return Err(error).with_context(|| format!("cannot write '{}'", pair.display()));
            }
        }
        if clear(pair, |holder| !pair.join(holder).exists()) {
            return Ok(false);
        }
    }
}

/// Removes some of the holders, and the directory when no other is left; tells whether one is.
fn clear(pair: &Path, goes: impl Fn(&str) -> bool) -> bool {
    let missing = |error: &std::io::Error| error.kind() == ErrorKind::NotFound;
    let entries = match std::fs::read_dir(pair) {
        Ok(entries) => entries.flatten(),
        Err(error) => return !missing(&error),
    };
    let mut held = false;
    for name in entries.map(|entry| entry.file_name()) {
        let goes = name.to_str().is_some_and(&goes);
        let gone = goes
            && std::fs::remove_file(pair.join(&name))
                .err()
                .is_none_or(|error| missing(&error));
        held |= !gone;
    }
    // One that somebody else has put in its place meanwhile is not empty, and stays.
    std::fs::remove_dir(pair).unwrap_or_default();
    held
}

fn link(record: &Record, dir: &Path) -> rustix::io::Result<()> {
    let to = std::path::absolute(record.dir()).unwrap_or_else(|_| record.dir().to_owned());
    match rustix::fs::symlink(to, dir.join(record.id())) {
        Err(Errno::EXIST) => Ok(()),
        done => done,
    }
}

/// Each number is one of two categories that differ, the lower one first.
fn name(number: u32) -> String {
    let (one, step) = (number % CATEGORIES, number / CATEGORIES + 1);
    let other = (one + step) % CATEGORIES;
    format!("c{},c{}", one.min(other), one.max(other))
}

/// Of a level that has just these two, in the order in which names have them.
fn pair_of(level: &str) -> Option<String> {
    let (one, other) = level.strip_prefix("s0:c")?.split_once(",c")?;
    let (one, other): (u32, u32) = (one.parse().ok()?, other.parse().ok()?);
    Some(format!("c{},c{}", one.min(other), one.max(other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Records;
    use std::collections::HashSet;

    struct Place {
        records: Records,
        categories: Categories,
        _dir: tempfile::TempDir,
    }

    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        Place {
            records: Records::of(dir.path()),
            categories: Categories {
                dir: dir.path().join("@categories"),
            },
            _dir: dir,
        }
    }

    impl Place {
        fn container(&self) -> Record {
            self.records.create(None).unwrap()
        }

        /// Of a container whose id says the same as that of all others.
        fn draw(&self, record: &Record) -> String {
            self.categories.draw_from(PAIRS - 7, record).unwrap()
        }

        fn held(&self) -> usize {
            std::fs::read_dir(&self.categories.dir).unwrap().count()
        }
    }

    #[test]
    fn every_number_is_another_pair() {
        let names: HashSet<String> = (0..PAIRS).map(name).collect();
        assert_eq!(names.len(), usize::try_from(PAIRS).unwrap());
        assert!(names.iter().all(|name| {
            let pair = pair_of(&format!("s0:{name}"));
            pair.as_deref() == Some(name)
                && name.split_once(',').is_some_and(|(a, b)| a[1..] != b[1..])
        }));
    }

    #[test]
    fn containers_that_draw_the_same_pair_at_once_get_different_ones() {
        let place = place();
        let levels: Vec<String> = std::thread::scope(|scope| {
            let many: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..20)
                            .map(|_| place.draw(&place.container()))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            many.into_iter()
                .flat_map(|one| one.join().unwrap())
                .collect()
        });
        let different: HashSet<&String> = levels.iter().collect();
        assert_eq!(different.len(), 160, "{levels:?}");
        assert_eq!(place.held(), 160);
    }

    #[test]
    fn a_pair_is_free_again_when_its_container_is_gone_however_it_went() {
        let place = place();
        let (one, other, third) = (place.container(), place.container(), place.container());
        let level = place.draw(&one);
        place.categories.release(&level, one.id());
        assert_eq!(place.held(), 0);
        assert_eq!(place.draw(&other), level);
        // killed: nobody gave anything back
        std::fs::remove_dir(other.dir()).unwrap();
        assert_eq!(place.draw(&third), level);
        // and giving back late takes nothing from who has it now
        place.categories.release(&level, other.id());
        assert_ne!(place.draw(&place.container()), level);
    }

    #[test]
    fn a_pair_that_was_chosen_is_held_by_all_who_chose_it() {
        let place = place();
        let (one, other) = (place.container(), place.container());
        let level = place.draw(&one);
        place.categories.share(&level, &other).unwrap();
        place.categories.release(&level, one.id());
        assert_ne!(place.draw(&place.container()), level);
        place.categories.share("s0:c9,c7", &one).unwrap();
        assert!(place.categories.dir.join("c7,c9").join(one.id()).exists());
        assert_eq!(place.held(), 3);
        place.categories.release("s0:c9,c7", one.id());
        place.categories.release(&level, other.id());
        assert_eq!(place.held(), 1);
        // no pair, nothing to hold
        place.categories.share("s0", &one).unwrap();
        place.categories.share("s0:c1.c5", &one).unwrap();
        assert_eq!(place.held(), 1);
    }
}
