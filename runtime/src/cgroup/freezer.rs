//! Pause and resume by `cgroup.freeze`. libcgroups' freezer sleeps in steps of ten milliseconds; this one
//! sleeps in `poll(2)` until the kernel says so (docs/decisions/0003-cgroups.md).

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::dir;
use super::error::{CgroupErrorKind, Result};
use super::events::Events;
use super::group::Cgroup;

impl Cgroup {
    /// Stops every process in it and below, and waits until all are stopped. When that takes longer than
    /// `timeout` they are let go again.
    ///
    /// # Errors
    /// `TimedOut`, `Permission`, `NotFound`, `Unsupported` before Linux 5.2.
    pub(crate) fn freeze(&self, timeout: Duration) -> Result<()> {
        let fd = self.fd.as_fd();
        let attempt = || {
            let events = Events::open(fd)?;
            dir::write(fd, "cgroup.freeze", "1")?;
            events.wait(Instant::now() + timeout, |state| state.frozen)
        };
        attempt().map_err(|errno| {
            let error = self.failed("freeze", errno);
            match errno {
                Errno::TIMEDOUT => match dir::write(fd, "cgroup.freeze", "0") {
                    Ok(()) => error.hint("a process did not stop in time; the others run again"),
                    Err(_thaw) => error.hint("a process did not stop in time; resume it by hand"),
                },
                Errno::NOENT => error.kind(self.kind_of_absence()),
                _ => error,
            }
        })
    }

    /// Lets every process run again and waits until the freezer has let go. A frozen ancestor keeps them
    /// stopped, so that is an error and not a wait.
    ///
    /// # Errors
    /// `Frozen` when an ancestor is frozen, `TimedOut`, `Permission`, `NotFound`.
    pub(crate) fn thaw(&self, timeout: Duration) -> Result<()> {
        let fd = self.fd.as_fd();
        let failed = |errno| self.failed("thaw", errno);
        let events = Events::open(fd).map_err(failed)?;
        dir::write(fd, "cgroup.freeze", "0").map_err(failed)?;
        if !events.read().map_err(failed)?.frozen {
            return Ok(());
        }
        if let Some(ancestor) = self.frozen_ancestor() {
            return Err(failed(Errno::AGAIN)
                .kind(CgroupErrorKind::Frozen)
                .hint(format!("its ancestor {ancestor} is frozen: thaw that one")));
        }
        events
            .wait(Instant::now() + timeout, |state| !state.frozen)
            .map_err(failed)
    }

    /// The outermost ancestor whose own freezer is on; for error texts, so failures read as none.
    pub(super) fn frozen_ancestor(&self) -> Option<String> {
        let root = self.root.as_fd();
        self.path.ancestors().find_map(|ancestor| {
            let value = dir::read(root, &format!("{ancestor}/cgroup.freeze")).ok()?;
            (value.trim() == "1").then(|| format!("/{ancestor}"))
        })
    }

    /// Tells a kernel without the freezer from a cgroup that is gone.
    fn kind_of_absence(&self) -> CgroupErrorKind {
        match dir::read(self.fd.as_fd(), "cgroup.procs") {
            Ok(_text) => CgroupErrorKind::Unsupported,
            Err(_gone) => CgroupErrorKind::NotFound,
        }
    }
}
