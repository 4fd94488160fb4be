//! resctrl: classes of service of the processor's caches and memory bus, as directories.
//!
//! Everything goes by descriptor from the mount's root; names are single components, and nothing is
//! followed. No machine of ours has the hardware: what is here was run on directories only, and
//! docs/conformance.md says so.

mod container;
mod group;
mod schemata;
mod stats;

use crate::cgroup::{dir, mounts_of};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::rdt::RdtFacts;
pub(crate) use group::{Group, Made};
use rustix::fs::{Access, AtFlags, FsWord, Mode, OFlags, accessat, fstatfs, open};
use rustix::io::Errno;
pub(crate) use schemata::Schemata;
pub(crate) use stats::Measured;
pub use stats::{BandwidthInfo, CacheInfo, CacheMonitor, MonitorStats, RdtStats};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Where the kernel's documentation has it.
const USUAL: &str = "/sys/fs/resctrl";

/// `RDTGROUP_SUPER_MAGIC` of `linux/magic.h`.
const RESCTRL: FsWord = 0x0765_5821;

/// The root of the mount; the kernel allows one.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

impl Root {
    /// Finds the mount; `None` where there is none.
    pub(crate) fn find() -> Option<Root> {
        if let Some(root) = Root::at(Path::new(USUAL)) {
            return Some(root);
        }
        let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        mounts_of(&table, b"resctrl")
            .iter()
            .find_map(|path| Root::at(path))
    }

    /// # Errors
    /// `Unsupported` where there is no mount.
    pub(crate) fn open() -> Result<Root> {
        Root::find().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "use intelRdt", "")
                .because("Intel RDT is not enabled: no resctrl is mounted")
                .with_hint("mount it: mount -t resctrl resctrl /sys/fs/resctrl")
        })
    }

    fn at(path: &Path) -> Option<Root> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = open(path, flags, Mode::empty()).ok()?;
        let kind = fstatfs(&fd).ok()?.f_type;
        (kind == RESCTRL).then_some(Root(fd))
    }

    #[cfg(test)]
    fn on(path: &Path) -> Root {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Root(open(path, flags, Mode::empty()).unwrap())
    }

    fn has(&self, path: &str) -> bool {
        accessat(&self.0, path, Access::EXISTS, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    fn facts(&self) -> RdtFacts {
        // Code and data can be divided apart; then the cache as such cannot.
        let cache = ["info/L3", "info/L3CODE", "info/L3DATA"];
        RdtFacts {
            mounted: true,
            cache: cache.into_iter().any(|path| self.has(path)),
            bandwidth: self.has("info/MB"),
            monitoring: self.has("info/L3_MON"),
        }
    }

    /// An error with what the kernel noted of it, which says more than an errno can.
    fn failed(&self, errno: Errno, operation: &str, subject: &str) -> Error {
        let error = Error::from_errno(errno.raw_os_error(), operation, subject);
        let noted = dir::read(self.as_fd(), "info/last_cmd_status").unwrap_or_default();
        match noted.trim() {
            "" | "ok" => error,
            noted => error.with_hint(format!("intelRdt: {noted}")),
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What this machine has.
pub(crate) fn facts() -> RdtFacts {
    Root::find().map_or_else(RdtFacts::default, |root| root.facts())
}

#[cfg(test)]
mod tests;
