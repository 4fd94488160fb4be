//! The user namespace of an ordinary user, in which that user is root: the store of images and the
//! containers made from them belong to all the ids that `subuid(5)` gives the user, and in there they are
//! handled by the code that handles root's.
//!
//! Nothing holds the namespace but who is in it. Whoever comes joins the one of a living process or
//! container of the user, and makes another only where there is none; a lock lets one in at a time, so that
//! there are never two. What is joined is the namespace that was made in our own, by us: a process in a
//! container may have made others below that, and gone there to be followed.

mod members;
mod ranges;

use crate::error::{At, Error, ErrorKind, Result};
use crate::grant;
use crate::host::Host;
use crate::prepare::idmaps;
use crate::runtime::Runtime;
use crate::seal;
use crate::sys::lineage;
use crate::{ContainerId, users};
use members::{Member, Members};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{Mode, OFlags, Stat, fstat, openat};
use rustix::process::geteuid;
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// So deep do user namespaces go at most, `user_namespaces(7)`.
const DEEPEST: usize = 32;

/// Whether this program was started by root, be it the root of a user namespace. Asks nobody.
#[must_use]
pub fn is_root() -> bool {
    lineage::started_as() == 0
}

/// Enters the namespace, with mounts of its own, and executes the calling program anew in it with these
/// arguments, sealed ([`seal`]). `root` is the state root; `named` is a container that is to be reached, the
/// others may run in the namespace as well. For single-threaded programs that were not started by root.
///
/// # Errors
/// `Denied` where the user has no ids of its own or the machine lets it make no namespace, and what else
/// the kernel refuses.
pub fn enter(
    root: &Path,
    named: Option<&ContainerId>,
    others: &[ContainerId],
    argv: &[CString],
) -> Result<Infallible> {
    let program = seal::program()?;
    let runtime = Runtime::open(root)?;
    let host = &*runtime.host;
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let own = host.start_time(own).map(|start| (own, start));
    let mut members = Members::lock(runtime.root.as_fd())?;
    let namespace = match find(&runtime, &mut members, named, others)? {
        Some(namespace) => namespace,
        None => make(host)?,
    };
    join(namespace)?;
    match own {
        Some(own) => members.add(own)?,
        None => drop(members),
    }
    seal::execute(&program, argv)
}

/// The namespace of somebody who lives in it. There is but one, unless somebody was killed who was making a
/// container: then that of whoever is to be reached.
fn find(
    runtime: &Runtime,
    members: &mut Members,
    named: Option<&ContainerId>,
    others: &[ContainerId],
) -> Result<Option<OwnedFd>> {
    let host = &*runtime.host;
    let ours = open(host, "self").at("open", "our user namespace")?;
    let ours = fstat(&ours).at("check", "our user namespace")?;
    let of = |member: Member| namespace_of(host, member, &ours);
    let of_container = |id: &ContainerId| {
        let record = runtime.container(id).ok()?.record().ok()??;
        of((record.pid, record.start_time))
    };
    let living = members.living(host);
    Ok(named
        .and_then(of_container)
        .or_else(|| living.iter().copied().find_map(of))
        .or_else(|| others.iter().find_map(of_container)))
}

/// That of a process, or above it the one that was made in ours, if this is our own. `None` where the
/// process is gone: then the number may be another's.
fn namespace_of(host: &Host, (pid, start): Member, ours: &Stat) -> Option<OwnedFd> {
    let mut namespace = open(host, &pid.to_string()).ok()?;
    if host.start_time(pid) != Some(start) {
        return None;
    }
    for _level in 0..DEEPEST {
        let parent = lineage::parent(namespace.as_fd()).ok()?;
        let stat = fstat(&parent).ok()?;
        if (stat.st_dev, stat.st_ino) == (ours.st_dev, ours.st_ino) {
            let owner = lineage::owner(namespace.as_fd()).ok()?;
            return (owner == geteuid().as_raw()).then_some(namespace);
        }
        namespace = parent;
    }
    None
}

fn open(host: &Host, process: &str) -> rustix::io::Result<OwnedFd> {
    let proc = host.proc().map_err(|_no_procfs| rustix::io::Errno::NOSYS)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(proc, format!("{process}/ns/user"), flags, Mode::empty())
}

/// A new one, in which the user is root and has the ids that the administrator gave it.
fn make(host: &Host) -> Result<OwnedFd> {
    let caller = host.caller();
    let user = users::name_on_host(caller.uid);
    let uids = ranges::USERS.map(caller.uid, &user, caller.uid)?;
    let gids = ranges::GROUPS.map(caller.gid, &user, caller.uid)?;
    let made = idmaps::holding(host, |pid| {
        grant::help(ranges::USERS.helper, pid, &uids)?;
        grant::help(ranges::GROUPS.helper, pid, &gids)
    });
    made.map_err(explained)
}

/// From here on we are root, and what is mounted is seen by nobody else.
fn join(namespace: OwnedFd) -> Result<()> {
    let errno = |errno| rustix::io::Errno::from_raw_os_error(errno as i32);
    setns(namespace, CloneFlags::CLONE_NEWUSER)
        .map_err(errno)
        .at("enter", "the user's namespace")
        .map_err(explained)?;
    if !geteuid().is_root() {
        let failed = Error::new(ErrorKind::System, "enter", "the user's namespace");
        return Err(failed.because("this user is not root in it"));
    }
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(errno)
        .at("make", "mounts of the user's own")
        .map_err(explained)
}

/// What the kernel refuses here it refuses because the machine is set up so.
fn explained(error: Error) -> Error {
    let denied = [
        libc::EPERM,
        libc::EACCES,
        libc::ENOSPC,
        libc::EUSERS,
        libc::ENOSYS,
    ];
    if error.hint().is_none() && error.errno().is_some_and(|errno| denied.contains(&errno)) {
        return error.with_hint(
            "ordinary users may be kept from user namespaces here: 'hostrun doctor' tells, or run as root",
        );
    }
    error
}
