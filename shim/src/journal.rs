//! What the shim has to say of itself: to the pipe that containerd reads for it, `log` in the bundle.
//!
//! It is opened for each line. Where nobody reads it, or it is full, the line is lost, and nobody waits.

use rustix::fs::{Mode, OFlags, open};
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Where lines go.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    pipe: PathBuf,
    debug: bool,
}

impl Journal {
    pub(crate) fn new(bundle: &Path, debug: bool) -> Journal {
        Journal {
            pipe: bundle.join("log"),
            debug,
        }
    }

    /// What the caller would have done otherwise.
    pub(crate) fn warn(&self, what: impl Display) {
        self.write("warning", &what.to_string());
    }

    /// What only somebody who looks for a mistake wants to know.
    pub(crate) fn debug(&self, what: impl Display) {
        if self.debug {
            self.write("debug", &what.to_string());
        }
    }

    fn write(&self, level: &str, what: &str) {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let Ok(pipe) = open(&self.pipe, flags, Mode::empty()) else {
            return;
        };
        let line = format!("level={level} runtime=io.containerd.hostrun.v1 msg={what:?}\n");
        rustix::io::write(&pipe, line.as_bytes()).unwrap_or_default();
    }
}
