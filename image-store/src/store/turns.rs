//! Whose turn it is with what several want to bring in at the same time: it is done once.
//!
//! Who does it holds a lock on a file in `partial/` until all can see what came of it. Nobody waits for
//! another while holding what others may wait for: what is done is put into the store first. So two
//! that share layers never wait for each other at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::Folder;
use crate::digest::Digest;
use crate::error::Result;
use crate::load::{Progress, Reporter};
use crate::registry::Claim;

/// Whether something is ours to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Ours,
    Others,
}

/// What is ours.
#[derive(Debug)]
pub(crate) struct Turns {
    folder: Folder,
    claims: Mutex<BTreeMap<Digest, Arc<Claim>>>,
}

impl Turns {
    pub(crate) fn new(folder: Folder) -> Self {
        Self {
            folder,
            claims: Mutex::default(),
        }
    }

    fn claims(&self) -> MutexGuard<'_, BTreeMap<Digest, Arc<Claim>>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The claim on something that is ours.
    pub(crate) fn of(&self, what: &Digest) -> Option<Arc<Claim>> {
        self.claims().get(what).cloned()
    }

    /// Makes something ours, unless it is somebody else's.
    pub(crate) fn take(&self, what: &Digest, size: u64) -> Result<Turn> {
        let mut claims = self.claims();
        if claims.contains_key(what) {
            return Ok(Turn::Ours);
        }
        match Claim::try_take(&self.folder, what, size)? {
            Some(claim) => {
                claims.insert(what.clone(), Arc::new(claim));
                Ok(Turn::Ours)
            }
            None => Ok(Turn::Others),
        }
    }

    /// Whether somebody has this, who is not we.
    pub(crate) fn is_others(&self, what: &Digest, size: u64) -> Result<bool> {
        Claim::try_take(&self.folder, what, size).map(|claim| claim.is_none())
    }

    /// Gives up what is ours, and waits for whoever has something else, if anybody has it still.
    pub(crate) fn wait(&self, what: &Digest, size: u64, reporter: &Reporter) -> Result<()> {
        self.claims().clear();
        if !self.is_others(what, size)? {
            return Ok(());
        }
        reporter.report(&Progress::Elsewhere { digest: what });
        Claim::wait(&self.folder, what, size)
    }

    /// Throws away all bytes that were kept.
    pub(crate) fn clear_all(&self) -> Result<()> {
        self.claims().values().try_for_each(|claim| claim.clear())
    }
}
