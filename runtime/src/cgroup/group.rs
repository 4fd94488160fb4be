//! A cgroup that exists: a handle by descriptor, so that what we freeze, kill and remove is the cgroup we
//! opened and not another one that took its name.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::apply;
use super::controllers;
use super::dir;
use super::error::{CgroupError, CgroupErrorKind, Result};
use super::events::{Events, State};
use super::mount::CgroupRoot;
use super::path::CgroupPath;
use super::resources::Resources;

/// An open cgroup. Dropping it changes nothing; cloning it costs no system call.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup {
    pub(super) root: CgroupRoot,
    pub(super) path: CgroupPath,
    pub(super) fd: Arc<OwnedFd>,
}

impl Cgroup {
    /// Opens the cgroup if it is there.
    ///
    /// # Errors
    /// Anything but absence.
    pub(crate) fn open(root: &CgroupRoot, path: &CgroupPath) -> Result<Option<Self>> {
        match dir::open(root.as_fd(), path.as_str()) {
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(opening(path, errno)),
            Ok(fd) => Ok(Some(Self {
                root: root.clone(),
                path: path.clone(),
                fd: Arc::new(fd),
            })),
        }
    }

    /// Its place below the root.
    pub(crate) fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// Its place below the root, for a record.
    pub(crate) fn name(&self) -> String {
        self.path.as_str().to_owned()
    }

    /// Its directory, for those who can only go by a path.
    pub(crate) fn directory(&self) -> std::path::PathBuf {
        self.root.path().join(self.path.as_str())
    }

    /// One reading of `cgroup.events`.
    ///
    /// # Errors
    /// `NotFound` once it is removed.
    pub(crate) fn state(&self) -> Result<State> {
        Events::open(self.fd.as_fd())
            .and_then(|events| events.read())
            .map_err(|errno| self.failed("read cgroup.events of", errno))
    }

    /// Whether all its processes are stopped by the freezer, its own or an ancestor's.
    ///
    /// # Errors
    /// `NotFound` once it is removed.
    pub(crate) fn is_frozen(&self) -> Result<bool> {
        self.state().map(|state| state.frozen)
    }

    /// Whether a live process is in it or below it.
    ///
    /// # Errors
    /// `NotFound` once it is removed.
    pub(crate) fn is_populated(&self) -> Result<bool> {
        self.state().map(|state| state.populated)
    }

    /// Changes its limits: all that `resources` names, or none. Works while it is frozen.
    ///
    /// # Errors
    /// `ControllerMissing`, `InvalidValue`, `Permission`, `NotFound`, with the JSON path of the setting.
    pub(crate) fn update(&self, resources: &Resources) -> Result<()> {
        if resources.has_limits() {
            controllers::enable(&self.root, &self.path, self.as_fd(), &resources.needs)?;
        }
        apply::update(self, resources)
    }

    /// `memory.checkBeforeUpdate`, for those who tell others about new limits first.
    ///
    /// # Errors
    /// `InvalidValue` where a limit is below what is in use.
    pub(crate) fn check_usage(&self, resources: &Resources) -> Result<()> {
        apply::refuse_below_usage(self, resources)
    }

    /// Limits the number of its tasks.
    ///
    /// # Errors
    /// `NotFound` without the controller, too.
    pub(crate) fn limit_tasks(&self, limit: u32) -> Result<()> {
        dir::write(self.as_fd(), "pids.max", &limit.to_string())
            .map_err(|errno| self.failed("limit tasks of", errno))
    }

    pub(super) fn failed(&self, op: &'static str, errno: Errno) -> CgroupError {
        let error = CgroupError::sys(op, format!("cgroup {}", self.path), errno);
        match errno {
            Errno::TIMEDOUT => error.kind(CgroupErrorKind::TimedOut),
            _ => error,
        }
    }
}

/// A readable directory, as `CLONE_INTO_CGROUP` wants it.
impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(super) fn opening(path: &CgroupPath, errno: Errno) -> CgroupError {
    let error = CgroupError::sys("open", format!("cgroup {path}"), errno);
    match errno {
        Errno::NOTDIR => error
            .kind(CgroupErrorKind::InvalidPath)
            .hint("the path names a file of the cgroup file system"),
        Errno::XDEV => error.hint("another file system is mounted over a part of that path"),
        _ => error,
    }
}
