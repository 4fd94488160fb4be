//! The one clone, and the child while it is ours.

use crate::error::{At, Result};
use crate::hooks::Inside;
use crate::host::Host;
use crate::orders::{self, Lists, Tables};
use crate::plan::namespaces::{Choice, Kind};
use crate::prepare::Prepared;
use crate::sys;
use hostrun_inside::orders::{Orders, SecondClone};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A process that was cloned and follows its orders; killed and reaped when dropped, until it is
/// [released](Child::release).
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pidfd: Option<OwnedFd>,
    /// It only makes the process that goes on, and hands us that one.
    pub(crate) clones: bool,
}

impl Child {
    pub(crate) fn new(pid: i32, pidfd: OwnedFd) -> Child {
        Child {
            pid,
            pidfd: Some(pidfd),
            clones: false,
        }
    }

    /// One that our child made in our name, `CLONE_PARENT`.
    ///
    /// # Errors
    /// Without a descriptor the number must still be a child of ours: it would be another process by
    /// now if somebody else in this program had reaped it.
    pub(crate) fn handed_over(pid: i32, pidfd: Option<OwnedFd>) -> Result<Child> {
        if let Some(pidfd) = pidfd {
            return Ok(Child::new(pid, pidfd));
        }
        let open = || {
            let pidfd = pidfd_open(
                Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?,
                PidfdFlags::empty(),
            )?;
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            waitid(WaitId::PidFd(pidfd.as_fd()), look)?;
            Ok::<_, rustix::io::Errno>(pidfd)
        };
        let pidfd = open().at("find", "the container's first process")?;
        Ok(Child::new(pid, pidfd))
    }

    /// To see whether it is alive.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// From now on it lives by itself.
    pub(crate) fn release(mut self) -> Option<OwnedFd> {
        self.pidfd.take()
    }

    /// Waits until it is dead; the signal that killed it, if one did.
    pub(crate) fn reap(&mut self) -> Option<i32> {
        let pidfd = self.pidfd.take()?;
        loop {
            match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) => {}
                other => return other.ok().flatten()?.terminating_signal(),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(pidfd) = &self.pidfd else { return };
        // It may be dead already, which is as good.
        pidfd_send_signal(pidfd, Signal::KILL).unwrap_or_default();
        self.reap();
    }
}

/// Clones the first process of a container.
pub(crate) fn clone(prepared: &Prepared, host: &Host) -> Result<Child> {
    let namespaces = &prepared.plan.namespaces;
    let flags = namespaces.clone_flags() & !prepared.made_before();
    let joined = |kind| matches!(namespaces.choice(kind), Choice::Join(_));
    // A joined user namespace can own new namespaces only if a process inside it makes them; and
    // a joined pid namespace has others in it, who must not see us before we are inside.
    let become_root = joined(Kind::User) && flags != 0;
    // One that is new, on the other hand, must not be entered before all others are joined: from
    // inside it those it does not own are out of reach.
    let creates_user = namespaces.creates(Kind::User) && namespaces.joins().next().is_some();
    let second = become_root || creates_user || joined(Kind::Pid);
    let used = orders::used(prepared, host);
    let tables = Tables::new(&prepared.plan.process, &prepared.line, host, &used);
    let lists = Lists::new(prepared);
    let mounts = lists.mounts(prepared);
    let hooks = Inside::new(&prepared.plan, &prepared.baggage);
    let hook_lists = hooks.lists();
    let orders = Orders {
        hooks: hooks.orders(&hook_lists),
        second_clone: second.then_some(SecondClone {
            become_root,
            flags: u64::from(flags.cast_unsigned()),
            borrows: false,
            late: false,
            behind_filter: false,
        }),
        ..lists.orders(prepared, &tables, &mounts, host)
    };
    clone_in(if second { 0 } else { flags }, prepared.place.fd(), &orders)
}

/// Clones a process straight into the cgroup, if there is one.
pub(crate) fn clone_in(
    flags: i32,
    cgroup: Option<BorrowedFd<'_>>,
    orders: &Orders<'_>,
) -> Result<Child> {
    let borrows = orders.second_clone.is_some_and(|second| second.borrows);
    let (pid, pidfd) = if borrows {
        sys::borrowed::clone_borrowing(cgroup, orders)?
    } else {
        sys::clone_room(flags, cgroup, orders).at("clone", "the container's first process")?
    };
    let mut child = Child::new(pid, pidfd);
    child.clones = orders.second_clone.is_some();
    Ok(child)
}
