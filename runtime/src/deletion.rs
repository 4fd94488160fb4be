//! The end of a container: its processes, its cgroup, its state, and the hooks that hear of it last.

use crate::cgroup::systemd::Manager;
use crate::cgroup::{Cgroup, CgroupErrorKind, CgroupPath, CgroupRoot};
use crate::container::{Container, Found};
use crate::error::{At, Error, ErrorKind, Result};
use crate::hooks;
use crate::running::send;
use crate::signal::Signal;
use crate::state::{Record, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long the kernel may take to empty a cgroup whose processes were killed.
pub(crate) const GONE: Duration = Duration::from_secs(10);

/// How long the process of a killed creator may take to follow it.
const ORPHANED: Duration = Duration::from_secs(3);

/// How often one looks meanwhile whether the creator lives and has written its record.
const LOOK: Duration = Duration::from_millis(20);

/// A container is deleted; what its poststop hooks had to complain about changes nothing.
#[derive(Debug, Default)]
#[must_use = "a failed hook deserves a warning"]
pub struct Deleted {
    warnings: Vec<Error>,
}

impl Deleted {
    pub(crate) fn with(warnings: Vec<Error>) -> Deleted {
        Deleted { warnings }
    }

    /// One for each poststop hook that failed. The spec wants them told and nothing else done.
    pub fn warnings(&self) -> &[Error] {
        &self.warnings
    }
}

impl Container {
    /// Removes a stopped container, or with `force` any: its processes, cgroup and state. Then its
    /// poststop hooks run, all of them.
    ///
    /// # Errors
    /// `WrongState` where it runs and `force` is not given.
    pub fn delete(mut self, force: bool) -> Result<Deleted> {
        let found = if force {
            self.found_or_empty()
        } else {
            self.find()
        }?;
        let status = match &found {
            Found::Whole(record) => self.status_of(record)?,
            Found::Unfinished(record) => self.status_of_unfinished(record),
            Found::Nothing => Status::Creating,
        };
        let may = force || matches!(status, Status::Stopped | Status::Created);
        if !may {
            let why = format!(
                "cannot delete container {} that is not stopped: {status}",
                self.id()
            );
            return Err(self
                .wrong_state("delete container", &why)
                .with_hint("kill it first, or use --force"));
        }
        let record = match found {
            Found::Whole(record) | Found::Unfinished(record) => Some(record),
            Found::Nothing => None,
        };
        // While the config is still there.
        let outline = record.as_ref().and_then(|record| record.outline);
        let has_hooks = outline.is_none_or(|outline| outline.poststop);
        let hooks = record.as_ref().filter(|_| has_hooks).map(|_| self.spec());
        match &record {
            Some(record) => self.remove_cgroup(record, status)?,
            None => self.remove_remains()?,
        }
        self.remove_class(record.as_ref())?;
        stop_unit(record.as_ref());
        self.dir.remove()?;
        let (Some(record), Some(spec)) = (record, hooks) else {
            return Ok(Deleted::default());
        };
        let warnings = match spec.and_then(|spec| hooks::of(&spec)) {
            Ok(hooks) => hooks::at_poststop(&hooks, &record),
            Err(unreadable) => vec![unreadable],
        };
        Ok(Deleted { warnings })
    }

    fn remove_cgroup(&self, record: &Record, status: Status) -> Result<()> {
        let Some(cgroup) = self.cgroup(Some(record))? else {
            return if status == Status::Stopped {
                Ok(())
            } else {
                self.end(record)
            };
        };
        if status == Status::Stopped && cgroup.remove_if_empty()? {
            return Ok(());
        }
        cgroup.kill()?;
        cgroup.wait_empty(GONE)?;
        Ok(cgroup.remove(GONE)?)
    }

    /// Kills the first process of a container without a cgroup and waits for its end.
    fn end(&self, record: &Record) -> Result<()> {
        let pid = Pid::from_raw(record.pid);
        let Some(Ok(pidfd)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
            return Ok(());
        };
        if self.runtime.host.start_time(record.pid) != Some(record.start_time) {
            return Ok(());
        }
        send(pidfd.as_fd(), Signal::KILL).at("kill container", &self.id)?;
        let timeout = Timespec::try_from(GONE).ok();
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()).at("wait for the end of", &self.id)? {
            0 => Err(
                Error::new(ErrorKind::TimedOut, "kill container", self.id.as_str())
                    .because("it did not end"),
            ),
            _ => Ok(()),
        }
    }

    /// What there is of it. Where that is no record yet, one is waited for as long as somebody is in
    /// its cgroup: the container may build, and even run its hooks, before its creator has written down
    /// that there is one, and who then is taken for nobody is left behind.
    fn found_or_empty(&self) -> Result<Found> {
        let deadline = Instant::now() + ORPHANED;
        loop {
            let found = self.find()?;
            if !matches!(found, Found::Nothing) {
                return Ok(found);
            }
            let Some(cgroup) = self.cgroup_by_config()? else {
                return Ok(found);
            };
            let emptied = cgroup.wait_empty(LOOK);
            let waited = matches!(&emptied, Err(error) if error.kind == CgroupErrorKind::TimedOut);
            let late = Instant::now() >= deadline;
            // Killed when its container stood, but before it wrote that there is one. The process there
            // is ours: it has our socket.
            if late && self.dismiss() {
                cgroup.wait_empty(GONE)?;
            }
            if !waited || late {
                // Written and ended while we waited, perhaps.
                return self.find();
            }
        }
    }

    /// What a creation left that was cut short before it wrote a record. Its process, if there was
    /// one, dies with its creator. The cgroup may be that of a container of the same name elsewhere:
    /// it is removed if it is empty, and nothing in it is killed.
    fn remove_remains(&self) -> Result<()> {
        match self.cgroup_by_config()? {
            Some(cgroup) if cgroup.wait_empty(Duration::ZERO).is_ok() => Ok(cgroup.remove(GONE)?),
            _ => Ok(()),
        }
    }

    /// The cgroup that a creation would have made.
    fn cgroup_by_config(&self) -> Result<Option<Cgroup>> {
        let spec = self.spec().ok();
        let linux = spec.as_ref().and_then(|spec| spec.linux().as_ref());
        let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
        let path = CgroupPath::for_container(path, self.id.as_str())?;
        Ok(Cgroup::open(&CgroupRoot::find()?, &path)?)
    }
}

/// Has systemd forget the unit of a container that is dead. Where it does not answer the container is
/// deleted all the same: a scope without processes goes by itself.
pub(crate) fn stop_unit(record: Option<&Record>) {
    let Some(unit) = record.and_then(|record| record.unit.as_ref()) else {
        return;
    };
    if let Ok(mut manager) = Manager::connect(unit.whose()) {
        manager.stop(&unit.name).unwrap_or_default();
    }
}
