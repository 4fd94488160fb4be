//! In which extended attributes overlayfs is told what an image says.

use std::os::fd::AsFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// In which attributes overlayfs finds and leaves its words, such as that a directory is opaque.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Attributes {
    /// `trusted.overlay.*`, which only root of the machine sees.
    #[default]
    Trusted,
    /// `user.overlay.*`, for root of a user namespace.
    User,
}

impl Attributes {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn are_trusted(&self) -> bool {
        *self == Self::Trusted
    }

    /// Those that this process may set.
    pub(crate) fn possible_in(dir: impl AsFd) -> Self {
        const PROBE: &str = "trusted.overlay.hostrun";
        match rustix::fs::fsetxattr(&dir, PROBE, b"y", XattrFlags::empty()) {
            Err(Errno::PERM) => Self::User,
            Ok(()) => {
                // What overlayfs does not know it passes over.
                rustix::fs::fremovexattr(&dir, PROBE).ok();
                Self::Trusted
            }
            // What file system this is will be said when it matters.
            Err(_unsupported) => Self::Trusted,
        }
    }
}
