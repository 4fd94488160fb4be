//! Ends, lists and removes what is in a cgroup.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::fs::Access;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::dir;
use super::error::{CgroupError, CgroupErrorKind, Result};
use super::events::Events;
use super::group::Cgroup;
use super::walk::walk;

/// Rounds of the fallback: each kills what forked since the round before.
const KILL_ROUNDS: usize = 64;

/// Bound of one walk through the tree for listing processes.
const WALK: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Kills every process in it and below, in one step by `cgroup.kill`. Does not wait for them to die.
    ///
    /// Before Linux 5.14 there is no such file: the cgroup is frozen, so that nothing can fork or exit
    /// and no pid can be reused, each process gets `SIGKILL`, and it is thawed; repeated while processes
    /// are found, 64 times at most.
    ///
    /// # Errors
    /// `Permission`; a cgroup that is gone counts as killed.
    pub(crate) fn kill(&self) -> Result<()> {
        match dir::write(self.fd.as_fd(), "cgroup.kill", "1") {
            Ok(()) | Err(Errno::NODEV) => Ok(()),
            Err(Errno::NOENT | Errno::OPNOTSUPP) => self.kill_each(),
            Err(errno) => Err(self.failed("kill", errno)),
        }
    }

    pub(super) fn kill_each(&self) -> Result<()> {
        // A cgroup that cannot be frozen is killed all the same, only less surely.
        let frozen = self.freeze(Duration::from_millis(500)).is_ok();
        let mut outcome = Ok(());
        for _round in 0..KILL_ROUNDS {
            let pids = match self.pids() {
                Err(error) if error.kind == CgroupErrorKind::NotFound => return Ok(()),
                answer => answer?,
            };
            if pids.is_empty() {
                break;
            }
            for pid in pids.into_iter().filter_map(Pid::from_raw) {
                match rustix::process::kill_process(pid, Signal::KILL) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(errno) => outcome = Err(self.failed("kill", errno)),
                }
            }
            if frozen || outcome.is_err() {
                break;
            }
        }
        if frozen {
            self.thaw(Duration::from_millis(500))?;
        }
        outcome
    }

    /// Ids of the processes in it and below, in the caller's pid namespace; those of other namespaces are
    /// left out. Sorted, each once.
    ///
    /// # Errors
    /// `NotFound` once it is removed.
    pub(crate) fn pids(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        let collect = |cgroup: BorrowedFd<'_>| match dir::read(cgroup, "cgroup.procs") {
            Ok(text) => {
                let found = text.lines().filter_map(|line| line.trim().parse().ok());
                pids.extend(found.filter(|pid: &i32| *pid > 0));
                Ok(())
            }
            // Threaded: its processes are listed at the root of the threaded tree.
            Err(Errno::OPNOTSUPP) => Ok(()),
            Err(errno) => Err(errno),
        };
        walk(
            self.fd.as_fd(),
            Instant::now() + WALK,
            collect,
            |_parent, _name| Ok(()),
        )
        .map_err(|errno| self.failed("list processes of", errno))?;
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Waits until no live process is in it or below it.
    ///
    /// # Errors
    /// `TimedOut`; a cgroup that is gone is empty.
    pub(crate) fn wait_empty(&self, timeout: Duration) -> Result<()> {
        self.empty_by(Instant::now() + timeout)
            .map_err(|errno| self.failed("wait for the end of", errno))
    }

    fn empty_by(&self, deadline: Instant) -> Result<(), Errno> {
        let wait = Events::open(self.fd.as_fd())
            .and_then(|events| events.wait(deadline, |state| !state.populated));
        match wait {
            Err(Errno::NODEV | Errno::NOENT) => Ok(()),
            answer => answer,
        }
    }

    /// Removes it with all cgroups below; waits up to `timeout` for dying processes to leave. One system
    /// call when it is empty, as it is after the container's first process was waited for. Nothing is
    /// killed here.
    ///
    /// # Errors
    /// `InUse` while live processes remain at the deadline, `Permission`. A cgroup that is gone is fine.
    pub(crate) fn remove(&self, timeout: Duration) -> Result<()> {
        self.remove_until(Instant::now() + timeout)
            .map_err(|errno| self.not_removed(errno))
    }

    /// Removes it if nobody and no other cgroup is in it; says whether it is gone. Two system calls.
    ///
    /// # Errors
    /// What the kernel answers, but for that it is in use.
    pub(crate) fn remove_if_empty(&self) -> Result<bool> {
        let removed = match self.is_alive() {
            Ok(true) => dir::remove(self.root.as_fd(), self.path.as_str()).map(|()| true),
            other => other.map(|_gone| true),
        };
        match removed {
            Err(Errno::BUSY | Errno::NOTEMPTY) => Ok(false),
            other => other.map_err(|errno| self.failed("remove", errno)),
        }
    }

    fn remove_until(&self, deadline: Instant) -> Result<(), Errno> {
        loop {
            // Our cgroup cannot be renamed: as long as it lives, its path names it. Once it is gone, the
            // path may name another container's.
            if !self.is_alive()? {
                return Ok(());
            }
            match dir::remove(self.root.as_fd(), self.path.as_str()) {
                Err(Errno::BUSY | Errno::NOTEMPTY) => {}
                answer => return answer,
            }
            if Instant::now() >= deadline {
                return Err(Errno::BUSY);
            }
            self.empty_by(deadline)?;
            self.remove_below(deadline)?;
            match dir::remove(self.root.as_fd(), self.path.as_str()) {
                // A task that is counted out may still hold the cgroup for a moment.
                Err(Errno::BUSY | Errno::NOTEMPTY) => self.pause(deadline)?,
                answer => return answer,
            }
        }
    }

    fn pause(&self, deadline: Instant) -> Result<(), Errno> {
        match Events::open(self.fd.as_fd()).and_then(|events| events.pause(deadline)) {
            Err(Errno::NODEV | Errno::NOENT) => Ok(()),
            answer => answer,
        }
    }

    fn remove_below(&self, deadline: Instant) -> Result<(), Errno> {
        let leave =
            |parent: BorrowedFd<'_>, name: &std::ffi::CString| match dir::remove(parent, name) {
                // Seen again in the next round.
                Err(Errno::BUSY | Errno::NOTEMPTY) => Ok(()),
                answer => answer,
            };
        match walk(self.fd.as_fd(), deadline, |_cgroup| Ok(()), leave) {
            Err(Errno::NODEV | Errno::NOENT) => Ok(()),
            answer => answer,
        }
    }

    /// Whether the cgroup we opened still exists; another one of the same name does not count.
    pub(super) fn is_alive(&self) -> Result<bool, Errno> {
        let flags = rustix::fs::AtFlags::empty();
        match rustix::fs::accessat(&self.fd, "cgroup.procs", Access::EXISTS, flags) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::NODEV) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn not_removed(&self, errno: Errno) -> CgroupError {
        let error = self.failed("remove", errno);
        if !matches!(errno, Errno::TIMEDOUT | Errno::BUSY | Errno::NOTEMPTY) {
            return error;
        }
        let error = error.kind(CgroupErrorKind::InUse);
        match self.pids() {
            Ok(pids) if !pids.is_empty() => {
                let shown: Vec<String> = pids.iter().take(5).map(i32::to_string).collect();
                error.hint(format!("still running in it: {}", shown.join(" ")))
            }
            _ => error
                .hint("it is still held by processes of another pid namespace or by sub-cgroups"),
        }
    }
}
