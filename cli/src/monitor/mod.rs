//! Detached containers: the one process that stays beside them, and the log it keeps.

pub(crate) mod cri;
mod launch;
mod watch;

pub(crate) use launch::{Outcome, adopt, launch};
pub(crate) use watch::Watch;
