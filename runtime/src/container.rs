//! A container that exists: its state, and the verbs that act on it.

use crate::cgroup::{Cgroup, CgroupErrorKind, CgroupPath, CgroupRoot, Stats};
use crate::document;
use crate::error::{At, Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::prepare::state_dir::{CONFIG, NEW_STATE, START_SOCKET, STATE, StateDir};
use crate::running::send;
use crate::runtime::Runtime;
use crate::signal::Signal;
use crate::state::{OCI_VERSION, Record, State, Status};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags, openat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::{AsFd, OwnedFd};

/// A container that was made earlier, by this process or another.
#[derive(Debug)]
pub struct Container {
    pub(crate) runtime: Runtime,
    pub(crate) id: ContainerId,
    pub(crate) dir: StateDir,
}

impl Container {
    pub(crate) fn open(runtime: &Runtime, id: &ContainerId) -> Result<Container> {
        let dir = StateDir::open(&runtime.root, id)?;
        Ok(Container {
            runtime: runtime.clone(),
            id: id.clone(),
            dir,
        })
    }

    /// Its id.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    pub(crate) fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// Its record, once it stands.
    pub(crate) fn record(&self) -> Result<Option<Record>> {
        Ok(match self.find()? {
            Found::Whole(record) => Some(record),
            Found::Unfinished(_) | Found::Nothing => None,
        })
    }

    /// What there is of it.
    pub(crate) fn find(&self) -> Result<Found> {
        if let Some(record) = self.read(STATE)? {
            return Ok(Found::Whole(record));
        }
        // One that was cut short in the writing says nothing either.
        let Some(record) = self.read(NEW_STATE).ok().flatten() else {
            // Put in place between the two looks, perhaps.
            let record = self.read(STATE)?;
            return Ok(record.map_or(Found::Nothing, Found::Whole));
        };
        let Some(stat) = self.runtime.host.stat(record.pid) else {
            return Ok(Found::Unfinished(record));
        };
        // A program that runs may have told others of itself before its creator came to say so.
        let runs = stat.executed && stat.start == record.start_time;
        if !runs && !self.stands_alone(&record, stat) {
            return Ok(Found::Unfinished(record));
        }
        match self.dir.publish() {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(Found::Whole(record)),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Record>> {
        let bytes = self.dir.read(name)?;
        bytes
            .map(|bytes| Record::from_bytes(self.id.as_str(), &bytes))
            .transpose()
    }

    pub(crate) fn status_of(&self, record: &Record) -> Result<Status> {
        let alive = self.runtime.host.start_time(record.pid) == Some(record.start_time);
        if !alive {
            return Ok(Status::Stopped);
        }
        if self.dir.has(START_SOCKET) && self.is_parked() {
            return Ok(Status::Created);
        }
        let frozen = match self.cgroup(Some(record))? {
            Some(cgroup) => cgroup.is_frozen()?,
            None => false,
        };
        Ok(if frozen {
            Status::Paused
        } else {
            Status::Running
        })
    }

    /// Where it is in its life: `Creating` while another process makes it, `Stopped` where that was
    /// cut short.
    pub(crate) fn status_of_unfinished(&self, record: &Record) -> Status {
        if self.runtime.host.start_time(record.pid) == Some(record.start_time) {
            Status::Creating
        } else {
            Status::Stopped
        }
    }

    /// The state document: what is on disk, checked against the kernel.
    ///
    /// # Errors
    /// `WrongState` where its creation has only just begun, or was cut short then.
    pub fn state(&self) -> Result<State> {
        let (record, status) = match self.find()? {
            Found::Whole(record) => {
                let status = self.status_of(&record)?;
                (record, status)
            }
            Found::Unfinished(record) => {
                let status = self.status_of_unfinished(&record);
                (record, status)
            }
            Found::Nothing => {
                return Err(self.unrecorded());
            }
        };
        Ok(State {
            oci_version: OCI_VERSION.to_owned(),
            id: record.id,
            pid: if status == Status::Stopped {
                0
            } else {
                record.pid
            },
            status,
            bundle: record.bundle,
            rootfs: record.rootfs,
            created: record.created,
            annotations: record.annotations,
            owner: crate::users::name_on_host(self.dir.owner()?),
        })
    }

    /// The config it was made from, with the limits of the last [`Container::update`].
    ///
    /// # Errors
    /// `WrongState` while it is being made.
    pub fn spec(&self) -> Result<Spec> {
        let bytes = self
            .dir
            .read(CONFIG)?
            .ok_or_else(|| self.wrong_state("read config of", "it is being created"))?;
        let parsed = document::spec(&bytes);
        parsed.map(|(spec, _)| spec).map_err(|error| {
            Error::new(ErrorKind::InvalidSpec, "parse config of", self.id.as_str()).caused_by(error)
        })
    }

    /// Its root directory, as its first process sees it; for looking things up by descriptor.
    ///
    /// # Errors
    /// `WrongState` where it does not run.
    pub fn root(&self) -> Result<OwnedFd> {
        let (record, _pidfd) = self.alive("open the root of")?;
        self.root_of(&record)
    }

    /// The same of one that was seen to be alive.
    pub(crate) fn root_of(&self, record: &Record) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(
            self.runtime.host.proc()?,
            format!("{}/root", record.pid),
            flags,
            Mode::empty(),
        )
        .at("open the root of", &self.id)
    }

    /// The record and a pidfd that is proven to be of the process in it.
    pub(crate) fn alive(&self, operation: &str) -> Result<(Record, OwnedFd)> {
        let record = self
            .record()?
            .ok_or_else(|| self.wrong_state(operation, "it is being created"))?;
        let gone = || self.wrong_state(operation, "container not running");
        let pid = Pid::from_raw(record.pid).ok_or_else(gone)?;
        // The descriptor first, then the proof: in this order a reused pid cannot slip in.
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
            return Err(gone());
        };
        if self.runtime.host.start_time(record.pid) != Some(record.start_time) {
            return Err(gone());
        }
        Ok((record, pidfd))
    }

    /// Said where there is no record to read.
    pub(crate) fn unrecorded(&self) -> Error {
        self.wrong_state(
            "read state of",
            "it is being created, or its creation was cut short",
        )
        .with_hint("delete --force removes what is left of it")
    }

    pub(crate) fn wrong_state(&self, operation: &str, why: &str) -> Error {
        Error::new(ErrorKind::WrongState, operation, self.id.as_str()).because(why)
    }

    pub(crate) fn cgroup(&self, record: Option<&Record>) -> Result<Option<Cgroup>> {
        // A creation that was cut short has no record; only a path of its own can be guessed.
        let path = match record {
            // It has none of its own.
            Some(record) if record.cgroup.is_empty() => return Ok(None),
            Some(record) => CgroupPath::parse(record.cgroup.trim_start_matches('/').as_bytes())?,
            None => CgroupPath::for_container(None, self.id.as_str())?,
        };
        match CgroupRoot::find() {
            // An ordinary user's creation that was cut short on a machine without any.
            Err(error) if record.is_none() && error.kind == CgroupErrorKind::NoCgroup2 => Ok(None),
            root => Ok(Cgroup::open(&root?, &path)?),
        }
    }

    /// Sends a signal to its first process, or with `all` to every process in its cgroup. `SIGKILL`
    /// without a pid namespace of its own always goes to all: nobody else would end the others.
    ///
    /// # Errors
    /// `WrongState` where it does not run.
    pub fn kill(&self, signal: Signal, all: bool) -> Result<()> {
        if !(all || signal == Signal::KILL && self.shares_pids()?) {
            let (_, pidfd) = self.alive("kill container")?;
            return send(pidfd.as_fd(), signal).at("kill container", &self.id);
        }
        let record = self.record()?;
        let Some(cgroup) = self.cgroup(record.as_ref())? else {
            return self.kill_each(signal);
        };
        if !cgroup.is_populated()? {
            return Err(self.wrong_state("kill container", "container not running"));
        }
        if signal == Signal::KILL {
            return Ok(cgroup.kill()?);
        }
        for pid in cgroup.pids()?.into_iter().filter_map(Pid::from_raw) {
            // Those that end meanwhile need no signal.
            if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) {
                send(pidfd.as_fd(), signal).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Is its pid namespace the host's or another's?
    fn shares_pids(&self) -> Result<bool> {
        if let Some(outline) = self.record()?.and_then(|record| record.outline) {
            return Ok(outline.shares_pids);
        }
        let spec = self.spec()?;
        let namespaces = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.namespaces().as_ref());
        let own = namespaces.into_iter().flatten().any(|namespace| {
            namespace.typ() == LinuxNamespaceType::Pid && namespace.path().is_none()
        });
        Ok(!own)
    }

    /// Pids of all its processes, in the caller's pid namespace.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let record = self.record()?;
        match self.cgroup(record.as_ref())? {
            Some(cgroup) => Ok(cgroup.pids()?),
            None => self.members(),
        }
    }

    /// What its cgroup used so far; parts the host has no controller for are absent.
    ///
    /// # Errors
    /// `WrongState` where it has no cgroup any more.
    pub fn stats(&self) -> Result<Stats> {
        let record = self.record()?;
        match self.cgroup(record.as_ref())? {
            Some(cgroup) => Ok(cgroup.stats()?),
            None => Err(self.wrong_state("read statistics of", "its cgroup is gone")),
        }
    }
}

/// What there is of a container.
#[derive(Debug)]
pub(crate) enum Found {
    /// It stands.
    Whole(Record),
    /// It is being made, or that was cut short.
    Unfinished(Record),
    /// The same, so early that nothing was written down.
    Nothing,
}
