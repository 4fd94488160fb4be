//! What is mounted by a path of the host may be something else by the time a sandbox is wanted.

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use std::path::{Path, PathBuf};

/// A file or directory of the host, and how it was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    path: PathBuf,
    links: bool,
    device: (u32, u32),
    inode: u64,
    mount: u64,
}

impl Source {
    /// What is at the path; at its last link itself, unless `links` are followed.
    pub(super) fn look(path: &Path, links: bool) -> rustix::io::Result<Source> {
        let flags = if links {
            AtFlags::empty()
        } else {
            AtFlags::SYMLINK_NOFOLLOW
        };
        let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
        let found = statx(CWD, path, flags | AtFlags::STATX_DONT_SYNC, wanted)?;
        Ok(Source {
            path: path.to_owned(),
            links,
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            mount: found.stx_mnt_id,
        })
    }

    /// Does its path still lead to it? What was mounted keeps its number from being given to another.
    pub(super) fn is_current(&self) -> bool {
        Source::look(&self.path, self.links).as_ref() == Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_was_replaced_is_no_longer_current_and_what_was_written_to_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "a").unwrap();
        let source = Source::look(&path, true).unwrap();
        fs::write(&path, "b").unwrap();
        assert!(source.is_current());
        fs::write(folder.path().join("other"), "a").unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        assert!(!source.is_current());
        fs::remove_file(&path).unwrap();
        assert!(!source.is_current());
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_another_source_where_links_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (link, first, second) = (
            folder.path().join("link"),
            folder.path().join("first"),
            folder.path().join("second"),
        );
        fs::create_dir(&first).unwrap();
        fs::create_dir(&second).unwrap();
        symlink(&first, &link).unwrap();
        let source = Source::look(&link, true).unwrap();
        assert!(source.is_current());
        fs::remove_file(&link).unwrap();
        symlink(&second, &link).unwrap();
        assert!(!source.is_current());
    }
}
