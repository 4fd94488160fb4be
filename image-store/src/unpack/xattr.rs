//! Which extended attributes of an image are kept.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

pub(super) const DEFAULT_LIST: &str = "system.posix_acl_default";

/// What happens to an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Keep,
    /// Left out, and said so.
    Drop,
}

/// Decides by name.
pub(crate) fn verdict(name: &[u8]) -> Verdict {
    match name {
        // Overlayfs would take these as its own words: redirects, whiteouts, opaque marks.
        _ if name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.") => Verdict::Drop,
        b"system.posix_acl_access" | b"system.posix_acl_default" | b"security.capability" => {
            Verdict::Keep
        }
        // Labels and measurements belong to the host's policy and keys, not to an image.
        _ if name.starts_with(b"security.") || name.starts_with(b"system.") => Verdict::Drop,
        _ if name.starts_with(b"user.") && !name.contains(&0) => Verdict::Keep,
        _ => Verdict::Drop,
    }
}

/// Whether what is made in a directory gets its mode from an access control list.
pub(super) fn has_default_list(fd: BorrowedFd<'_>) -> bool {
    let mut value = [0; 1];
    let found = rustix::fs::fgetxattr(fd, DEFAULT_LIST, &mut value[..]);
    !matches!(found, Err(Errno::NODATA | Errno::OPNOTSUPP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlay_words_are_never_kept() {
        for name in [
            "trusted.overlay.opaque",
            "trusted.overlay.redirect",
            "trusted.overlay.whiteout",
            "trusted.x",
            "user.overlay.opaque",
            "security.selinux",
            "security.ima",
            "system.nfs4_acl",
            "unknown",
        ] {
            assert_eq!(verdict(name.as_bytes()), Verdict::Drop, "{name}");
        }
        for name in ["user.x", "security.capability", "system.posix_acl_access"] {
            assert_eq!(verdict(name.as_bytes()), Verdict::Keep, "{name}");
        }
    }
}
