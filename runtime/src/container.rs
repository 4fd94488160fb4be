//! A container that exists: its state, and the verbs that act on it.

use crate::agent::{Agent, AgentState};
use crate::attend::release;
use crate::cgroup::{Cgroup, CgroupErrorKind, CgroupPath, CgroupRoot, Stats};
use crate::document;
use crate::error::{At, Error, ErrorKind, Result};
use crate::failure::{Names, explain};
use crate::id::ContainerId;
use crate::plan::filter;
use crate::plan::refusal::Refusals;
use crate::prepare::state_dir::{CONFIG, NEW_STATE, START_SOCKET, STATE, StateDir};
use crate::running::send;
use crate::runtime::Runtime;
use crate::signal::Signal;
use crate::state::{OCI_VERSION, Record, State, Status};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, openat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// How long the kernel may take to empty a cgroup whose processes were killed.
const GONE: Duration = Duration::from_secs(10);

/// A container that was made earlier, by this process or another.
#[derive(Debug)]
pub struct Container {
    pub(crate) runtime: Runtime,
    id: ContainerId,
    dir: StateDir,
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

    pub(crate) fn record(&self) -> Result<Option<Record>> {
        let bytes = self.dir.read(STATE)?;
        bytes
            .map(|bytes| Record::from_bytes(self.id.as_str(), &bytes))
            .transpose()
    }

    fn status_of(&self, record: &Record) -> Result<Status> {
        let alive = self.runtime.host.start_time(record.pid) == Some(record.start_time);
        if !alive {
            return Ok(Status::Stopped);
        }
        if self.dir.has(START_SOCKET) && self.knock().is_ok() {
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

    /// The state document: what is on disk, checked against the kernel.
    ///
    /// # Errors
    /// `WrongState` while it is being made by another process.
    pub fn state(&self) -> Result<State> {
        let Some(record) = self.record()? else {
            return Err(
                Error::new(ErrorKind::WrongState, "read state of", self.id.as_str())
                    .because("it is being created, or its creation was cut short")
                    .with_hint("delete --force removes what is left of it"),
            );
        };
        let status = self.status_of(&record)?;
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

    /// Connects to a parked process. One that was started does not listen any more, even where its
    /// starter died before it could remove the socket.
    fn knock(&self) -> Result<OwnedFd> {
        let kind = SocketType::SEQPACKET;
        let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
            .at("start container", &self.id)?;
        match connect(&socket, &self.dir.start_address()?) {
            Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => {
                Err(self.wrong_state("start container", "it was started already"))
            }
            other => other.at("start container", &self.id).map(|()| socket),
        }
    }

    /// Lets a created container's program run.
    ///
    /// # Errors
    /// `WrongState` where it is not created; `ExecNotFound` or `ExecDenied` where the program
    /// does not run.
    pub fn start(&self) -> Result<()> {
        let status = self.state()?.status;
        if status != Status::Created {
            let why = match status {
                Status::Running | Status::Paused => "cannot start an already running container",
                Status::Stopped => "cannot start a container that has stopped",
                _ => "cannot start a container that is being created",
            };
            return Err(self.wrong_state("start container", why));
        }
        let spec = self.spec()?;
        let (record, pidfd) = self.alive("start container")?;
        let agent = self.agent(&spec, &record)?;
        let socket = self.knock()?;
        let names = Self::names(&spec);
        let root = self.root().ok();
        let names = Names {
            root: root.as_ref().map(AsFd::as_fd),
            ..names
        };
        let result = release(&socket, agent, record.pid, |failure| {
            explain(failure, &names)
        });
        if result.is_err() {
            // Its program may run already, behind a filter that nobody answers for.
            send(pidfd.as_fd(), Signal::KILL).unwrap_or_default();
        }
        self.dir.unlink(START_SOCKET)?;
        result
    }

    fn agent(&self, spec: &Spec, record: &Record) -> Result<Option<Agent>> {
        let linux = spec.linux().as_ref();
        // What it refuses was refused when the container was made.
        let listener = linux.and_then(|linux| filter::listener(linux, &mut Refusals::default()));
        let annotations = Some(&record.annotations);
        let bundle = &record.bundle;
        let state = AgentState::new(&self.id, Status::Created, record.pid, bundle, annotations);
        Agent::connect(listener.as_ref(), state)
    }

    fn names(spec: &Spec) -> Names<'static> {
        let process = spec.process().clone().unwrap_or_default();
        let program = process
            .args()
            .as_deref()
            .unwrap_or_default()
            .first()
            .cloned()
            .unwrap_or_default();
        Names {
            plan: None,
            process: None,
            root: None,
            candidates: vec![PathBuf::from(&program)],
            program,
            cwd: process.cwd().display().to_string(),
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

    /// Removes a stopped container, or with `force` any: its processes, cgroup and state.
    ///
    /// # Errors
    /// `WrongState` where it runs and `force` is not given.
    pub fn delete(mut self, force: bool) -> Result<()> {
        let record = self.record()?;
        let status = match &record {
            Some(record) => self.status_of(record)?,
            None => Status::Creating,
        };
        let may = force || matches!(status, Status::Stopped | Status::Created);
        if !may {
            let why = format!("cannot delete container that is not stopped: {status}");
            return Err(self
                .wrong_state("delete container", &why)
                .with_hint("kill it first, or use --force"));
        }
        if record.is_none() {
            self.remove_remains()?;
        } else if let Some(cgroup) = self.cgroup(record.as_ref())? {
            if status != Status::Stopped || cgroup.is_populated()? {
                cgroup.kill()?;
                cgroup.wait_empty(GONE)?;
            }
            cgroup.remove(GONE)?;
        } else if status != Status::Stopped {
            self.end()?;
        }
        self.dir.remove()
    }

    /// Kills the first process of a container without a cgroup and waits for its end.
    fn end(&self) -> Result<()> {
        let Ok((_record, pidfd)) = self.alive("kill container") else {
            return Ok(());
        };
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

    /// What a creation that was cut short left. Its process died with its creator. Without a record
    /// the cgroup can only be guessed, and may be that of a container of the same name elsewhere:
    /// it is removed if it is empty, and nothing in it is killed.
    fn remove_remains(&self) -> Result<()> {
        let bytes = self.dir.read(NEW_STATE)?;
        let record = bytes.and_then(|bytes| Record::from_bytes(self.id.as_str(), &bytes).ok());
        if let Some(cgroup) = self.cgroup(record.as_ref())?
            && (record.is_some() || !cgroup.is_populated()?)
        {
            cgroup.kill()?;
            cgroup.wait_empty(GONE)?;
            cgroup.remove(GONE)?;
        }
        Ok(())
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
