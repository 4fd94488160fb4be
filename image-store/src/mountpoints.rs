//! A directory below all layers with what a runtime mounts on, for images that do not bring it.
//!
//! Made in the writable layer instead, each of these would cost a copy of its directory there, and be
//! one more thing to take away with the container.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{At, Result};
use crate::store::{Folder, empty};

const DIRECTORIES: [(&str, u32); 4] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
];
const FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Makes the directory unless it is there; as `work` first, so that nobody ever sees half of it.
///
/// There is nothing to sync: it holds no data, and the names of one transaction of the file system are
/// there together or not at all. Where they are not, it is made again.
pub(crate) fn ensure(path: &Path, work: &Path) -> Result<()> {
    if rustix::fs::access(path, rustix::fs::Access::EXISTS).is_ok() {
        return Ok(());
    }
    let made = Folder::open_or_make(work.to_owned())?;
    fill(&made)?;
    match rustix::fs::rename(work, path) {
        Ok(()) => Ok(()),
        // Another start was first.
        Err(Errno::EXIST | Errno::NOTEMPTY) => {
            empty(&made)?;
            rustix::fs::rmdir(work).at("remove", work)
        }
        Err(errno) => Err(errno).at("rename", work),
    }
}

/// With modes of their own, whatever our umask is.
fn fill(folder: &Folder) -> Result<()> {
    let open = |name: &str, flags: OFlags| -> Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(folder.fd(), name, flags, Mode::RUSR | Mode::WUSR).at("open", name)
    };
    for (name, mode) in DIRECTORIES {
        rustix::fs::mkdirat(folder.fd(), name, Mode::RWXU).at("make directory", name)?;
        let fd = open(name, OFlags::RDONLY | OFlags::DIRECTORY)?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode)).at("change mode", name)?;
    }
    for name in FILES {
        let fd = open(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o644)).at("change mode", name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (path, work) = (dir.path().join("mountpoints"), dir.path().join("work"));
        for _ in 0..2 {
            ensure(&path, &work).unwrap();
            assert!(!work.exists());
        }
        let mode = |name: &str| path.join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode("etc/hosts") & 0o7777, 0o644);
        assert_eq!(mode("etc") & 0o7777, 0o755);
        assert_eq!(mode("proc") & 0o7777, 0o555);
    }

    #[test]
    fn who_comes_second_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (path, work) = (dir.path().join("mountpoints"), dir.path().join("work"));
        // as if another start had made it between our look and our rename
        let made = Folder::open_or_make(work.clone()).unwrap();
        fill(&made).unwrap();
        ensure(&path, &dir.path().join("other")).unwrap();
        assert_eq!(
            rustix::fs::rename(&work, &path).unwrap_err(),
            Errno::NOTEMPTY
        );
    }
}
