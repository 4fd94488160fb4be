//! What a caller may say about a load, and what the load says back.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cell::Cell;
use crate::digest::Digest;
use crate::limits::Limits;
use crate::platform::Platform;

/// Options of [`Store::load`](crate::Store::load).
#[derive(Default)]
pub struct LoadOptions {
    pub(crate) platform: Option<Platform>,
    pub(crate) limits: Limits,
    pub(crate) archive: Option<PathBuf>,
    progress: Reporter,
    cell: Option<Box<dyn Cell>>,
}

/// Whom progress is told.
#[derive(Clone, Default)]
pub(crate) struct Reporter(Option<Arc<ProgressFn>>);

impl Reporter {
    pub(crate) fn new(call: impl Fn(&Progress<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(call)))
    }

    pub(crate) fn report(&self, progress: &Progress<'_>) {
        if let Some(call) = &self.0 {
            call(progress);
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").finish_non_exhaustive()
    }
}

type ProgressFn = dyn Fn(&Progress<'_>) + Send + Sync;

impl LoadOptions {
    /// Loads for this platform instead of the host's.
    #[must_use]
    pub fn with_platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    /// Loads within these limits instead of the default ones.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Says which file an archive is that is given as an open one: the scope it has in policies.
    #[must_use]
    pub fn with_archive_path(mut self, path: &Path) -> Self {
        self.archive = Some(path.to_owned());
        self
    }

    /// Calls this as the load goes on.
    #[must_use]
    pub fn with_progress(mut self, call: impl Fn(&Progress<'_>) + Send + Sync + 'static) -> Self {
        self.progress = Reporter::new(call);
        self
    }

    /// Has layers unpacked in there.
    #[must_use]
    pub fn with_cell(mut self, cell: impl Cell + 'static) -> Self {
        self.cell = Some(Box::new(cell));
        self
    }

    pub(crate) fn cell(&self) -> Option<&dyn Cell> {
        self.cell.as_deref()
    }

    pub(crate) fn report(&self, progress: &Progress<'_>) {
        self.progress.report(progress);
    }

    pub(crate) fn reporter(&self) -> &Reporter {
        &self.progress
    }
}

impl fmt::Debug for LoadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions")
            .field("platform", &self.platform)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A step of a load.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A layer is being read.
    LayerStarted {
        /// The layer.
        diff_id: &'a Digest,
        /// Bytes of it in the source.
        size: u64,
        /// Whether the store has it, so that it is only verified.
        known: bool,
    },
    /// A layer is verified and unpacked; not yet visible in the store.
    LayerDone {
        /// The layer.
        diff_id: &'a Digest,
    },
    /// A part of a blob has come from a registry.
    Fetched {
        /// The blob.
        digest: &'a Digest,
        /// Bytes of it that are here, those of an earlier pull included.
        bytes: u64,
        /// How long it is.
        size: u64,
    },
    /// Another pull fetches this blob, or another load unpacks this layer; it is waited for.
    Elsewhere {
        /// The blob, or the layer's diffID.
        digest: &'a Digest,
    },
    /// The registry is asked again after a pause.
    Waiting {
        /// The blob, or none for a document.
        digest: Option<&'a Digest>,
        /// How long the pause is.
        pause: Duration,
        /// Why, as one line.
        cause: &'a str,
    },
    /// A blob goes to a registry.
    Sent {
        /// The blob.
        digest: &'a Digest,
        /// Bytes of it that are there.
        bytes: u64,
        /// How long it is.
        size: u64,
    },
    /// The registry has this blob already.
    There {
        /// The blob.
        digest: &'a Digest,
    },
    /// Something of a layer was left out or bent.
    Warning {
        /// The layer.
        diff_id: &'a Digest,
        /// What, as one line.
        text: &'a str,
    },
    /// Something about the whole load that the caller may want to know.
    Note {
        /// What, as one line.
        text: &'a str,
    },
}
