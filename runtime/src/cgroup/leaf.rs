//! Makes a container's own cgroup. libcgroups would write `cgroup.procs` for that, which waits for an RCU
//! grace period; ours is only made, and the process is cloned straight into it.

use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::apply;
use super::controllers;
use super::devices;
use super::dir;
use super::error::{CgroupError, CgroupErrorKind, Result};
use super::group::{Cgroup, opening};
use super::mount::CgroupRoot;
use super::path::CgroupPath;
use super::resources::Resources;

/// How often a parent or a stale leaf may change under our feet.
const TRIES: usize = 8;

/// How long undoing waits for killed processes.
const UNDO: Duration = Duration::from_secs(10);

/// A cgroup made by us for a container that does not run yet. Dropping it removes what was made and kills
/// what is inside: the cgroup did not exist before, so all of it is ours. [`Leaf::commit`] keeps it.
#[derive(Debug)]
pub(crate) struct Leaf {
    cgroup: Cgroup,
    undo: Undo,
}

#[derive(Debug)]
struct Undo {
    cgroup: Cgroup,
    /// How many of the last components of the path were made by us; 0 once committed.
    made: usize,
}

impl Leaf {
    /// Makes the cgroup, hands the needed controllers down to it, sets its limits and its device filter.
    ///
    /// Without limits: `mkdirat`, `openat2`, three calls to learn that it is not frozen, and three for the
    /// device program.
    ///
    /// # Errors
    /// `InUse` when it exists with processes or sub-cgroups, `Frozen` when it or an ancestor is frozen,
    /// `ControllerMissing`, `Permission`, `InvalidValue` where the kernel refuses a limit. Nothing is left
    /// behind.
    pub(crate) fn create(
        root: &CgroupRoot,
        path: &CgroupPath,
        resources: &Resources,
    ) -> Result<Self> {
        let made = make(root, path)?;
        let fd = dir::open(root.as_fd(), path.as_str()).map_err(|errno| {
            undo_made(root, path, made);
            opening(path, errno)
        })?;
        let cgroup = Cgroup {
            root: root.clone(),
            path: path.clone(),
            fd: Arc::new(fd),
        };
        let undo = Undo {
            cgroup: cgroup.clone(),
            made,
        };
        let leaf = Self { cgroup, undo };
        leaf.refuse_frozen()?;
        if resources.has_limits() {
            controllers::enable(root, path, leaf.as_fd(), &resources.needs)?;
        }
        apply::apply(&leaf.cgroup, resources)?;
        if let Some(program) = &resources.devices {
            devices::attach(&leaf.cgroup, program)?;
        }
        Ok(leaf)
    }

    /// Sets limits and device filter of a cgroup that somebody else made for this container: nothing is
    /// undone on drop.
    ///
    /// # Errors
    /// As [`Leaf::create`], and `NotFound`.
    pub(crate) fn adopt(
        root: &CgroupRoot,
        path: &CgroupPath,
        resources: &Resources,
    ) -> Result<Cgroup> {
        let cgroup = Cgroup::open(root, path)?.ok_or_else(|| opening(path, Errno::NOENT))?;
        if resources.has_limits() {
            controllers::enable(root, path, cgroup.as_fd(), &resources.needs)?;
        }
        apply::apply(&cgroup, resources)?;
        if let Some(program) = &resources.devices {
            devices::attach(&cgroup, program)?;
        }
        Ok(cgroup)
    }

    /// The cgroup, for statistics and the like while it is still ours to undo.
    pub(crate) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Keeps the cgroup.
    pub(crate) fn commit(mut self) -> Cgroup {
        self.undo.made = 0;
        self.cgroup
    }

    /// A process cloned into a frozen cgroup would stop before its first instruction, and we with it.
    fn refuse_frozen(&self) -> Result<()> {
        if !self.cgroup.is_frozen()? {
            return Ok(());
        }
        let ancestor = self.cgroup.frozen_ancestor();
        let cause = format!(
            "its ancestor {} is frozen",
            ancestor.as_deref().unwrap_or("outside this namespace")
        );
        let subject = format!("cgroup {}", self.cgroup.path);
        let cause = format!("container's cgroup unexpectedly frozen: {cause}");
        Err(
            CgroupError::new("create", subject, CgroupErrorKind::Frozen, cause)
                .hint("thaw it: write 0 to its cgroup.freeze"),
        )
    }
}

/// For `CLONE_INTO_CGROUP`.
impl AsFd for Leaf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.cgroup.as_fd()
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if self.made == 0 {
            return;
        }
        // Nobody is left to tell: the error that led here is the one that is reported. The kill goes by
        // descriptor, so it can only reach what is in the cgroup that we made.
        if self.cgroup.is_populated().unwrap_or(false) {
            self.cgroup.kill().ok();
        }
        if self.cgroup.remove(UNDO).is_ok() {
            undo_parents(&self.cgroup.root, &self.cgroup.path, self.made);
        }
    }
}

fn undo_made(root: &CgroupRoot, path: &CgroupPath, made: usize) {
    if dir::remove(root.as_fd(), path.as_str()).is_ok() {
        undo_parents(root, path, made);
    }
}

/// Removes the ancestors that were made with the leaf, unless somebody uses them by now.
fn undo_parents(root: &CgroupRoot, path: &CgroupPath, made: usize) {
    for ancestor in path.ancestors().rev().take(made.saturating_sub(1)) {
        if dir::remove(root.as_fd(), ancestor).is_err() {
            return;
        }
    }
}

/// Makes the leaf, which must not be in use, and its parents where absent. Returns how many were made.
fn make(root: &CgroupRoot, path: &CgroupPath) -> Result<usize> {
    let mut parents = 0;
    for _try in 0..TRIES {
        match dir::make(root.as_fd(), path.as_str()) {
            Ok(()) => return Ok(parents + 1),
            Err(Errno::NOENT) => parents = make_parents(root, path)?,
            Err(Errno::EXIST) => match remove_stale(root, path) {
                // Made for us by somebody who owns its parent: it is not ours to remove at the end, either.
                Err(error) if error.op == "remove" && error.kind == CgroupErrorKind::Permission => {
                    return Ok(0);
                }
                answer => answer?,
            },
            Err(errno) => return Err(not_made(path, errno)),
        }
    }
    Err(
        CgroupError::sys("create", format!("cgroup {path}"), Errno::EXIST)
            .hint("somebody else keeps making or removing it"),
    )
}

fn make_parents(root: &CgroupRoot, path: &CgroupPath) -> Result<usize> {
    let mut made = 0;
    for ancestor in path.ancestors() {
        match dir::make(root.as_fd(), ancestor) {
            Ok(()) => made += 1,
            Err(Errno::EXIST) => {}
            // Removed by another container's undo: the caller tries again.
            Err(Errno::NOENT) => return Ok(0),
            Err(errno) => return Err(not_made(format_args!("/{ancestor}"), errno)),
        }
    }
    Ok(made)
}

/// An empty cgroup left by a crash may be taken, but only by removing it with the empty ones below: what
/// its former owner set on it must not reach the new container.
fn remove_stale(root: &CgroupRoot, path: &CgroupPath) -> Result<()> {
    let Some(old) = Cgroup::open(root, path)? else {
        return Ok(());
    };
    let refuse = |kind, cause: &str| {
        CgroupError::new("create", format!("cgroup {path}"), kind, cause)
            .setting("linux.cgroupsPath")
    };
    let state = match old.state() {
        Err(error) if error.kind == CgroupErrorKind::NotFound => return Ok(()),
        answer => answer?,
    };
    if state.populated {
        return Err(
            refuse(CgroupErrorKind::InUse, "container's cgroup is not empty").hint(
                "another container or daemon runs there: choose another cgroupsPath or stop it",
            ),
        );
    }
    if state.frozen {
        return Err(refuse(
            CgroupErrorKind::Frozen,
            "container's cgroup unexpectedly frozen",
        )
        .hint("thaw it or remove it with rmdir"));
    }
    old.remove(UNDO)
}

fn not_made(path: impl Display, errno: Errno) -> CgroupError {
    let error = CgroupError::sys("create", format!("cgroup {path}"), errno);
    match errno {
        Errno::PERM | Errno::ACCESS | Errno::ROFS => error.hint(
            "run as root, or choose a linux.cgroupsPath below a cgroup that is delegated to this user",
        ),
        Errno::AGAIN => error.hint("cgroup.max.descendants or cgroup.max.depth of an ancestor is reached"),
        Errno::NOTDIR | Errno::NAMETOOLONG => error.kind(CgroupErrorKind::InvalidPath),
        _ => error,
    }
}
