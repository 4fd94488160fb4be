//! Giving a cgroup to the user who is root in a container.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::error::Result;
use super::group::Cgroup;

/// The kernel's own list of what to give; since Linux 4.15.
const LIST: &str = "/sys/kernel/cgroup/delegate";

/// For kernels that hide it (`cgroups(7)`).
const USUAL: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl Cgroup {
    /// Hands it to another user: the directory and the files that the kernel names for that, so that a
    /// container may divide its own cgroup, and not lift its own limits (`cgroups(7)`, "Cgroup
    /// delegation").
    ///
    /// # Errors
    /// `Permission`.
    pub(crate) fn delegate(&self, owner: u32) -> Result<()> {
        self.give(Uid::from_raw(owner))
            .map_err(|errno| self.failed("change the owner of", errno))
    }

    fn give(&self, owner: Uid) -> Result<(), Errno> {
        // The directory is ours by descriptor, and nobody but us could put anything else in it so far.
        rustix::fs::fchown(self.as_fd(), Some(owner), None)?;
        for file in read_list().lines().filter(|file| is_name(file)) {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            match rustix::fs::chownat(self.as_fd(), file, Some(owner), None, flags) {
                // A kernel names files of controllers that this cgroup has not.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

fn is_name(file: &str) -> bool {
    !file.is_empty() && !file.contains('/') && file.contains('.') && !file.starts_with('.')
}

fn read_list() -> String {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let read = || {
        let file = rustix::fs::open(LIST, flags, Mode::empty())?;
        let mut buffer = [0_u8; 4096];
        let count = rustix::io::read(&file, &mut buffer)?;
        let text = buffer.get(..count).unwrap_or_default();
        Ok::<_, Errno>(String::from_utf8_lossy(text).into_owned())
    };
    read().unwrap_or_else(|_hidden| USUAL.to_owned())
}
