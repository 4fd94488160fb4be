#![no_std]
//! The room: what a process does between `clone3(2)` and `execve(2)`.
//!
//! The process that enters was cloned from a program that may have had many threads. Whatever
//! locks they held are held for ever here, so nothing may allocate, log or wait for a lock; this
//! crate has neither `std` nor `alloc`, which turns that rule into a compile error. Policy is not
//! decided here either: [`Orders`] say what to do, and the parent, which still has the plan, puts
//! a [`Failure`] into words.

mod console;
mod copyup;
mod devices;
mod exec;
mod hide;
mod hooks;
mod identity;
mod label;
mod landlock;
mod limits;
mod mounts;
mod namespaces;
mod null;
mod old_kernel;
pub mod orders;
mod park;
mod paths;
mod report;
mod root;
mod session;
mod sources;
pub mod sys;
mod targets;
mod treatment;

pub use hooks::{Mishap, Place, Said, run as run_hook};
pub use orders::{Fd, Orders};
pub use report::{Failure, Step, byte};
pub use sys::{Errno, bring_loopback_up};

/// Follows the orders and becomes the payload. Never returns: it is `execve(2)` or exit code 1.
pub fn follow(orders: &Orders<'_>) -> ! {
    let mut report_to = orders.parent;
    let failure = match steps(orders, &mut report_to) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    report::send(report_to, failure);
    sys::exit(1)
}

/// Does nothing until it is killed or its parent dies: a process that only holds
/// a namespace, or a place in a unit of systemd's. `parent` is the pid of whoever made it.
pub fn hold_still(parent: i32) -> ! {
    if session::tie_to_parent_alone(parent).is_ok() {
        sys::pause();
    }
    sys::exit(1)
}

/// From here on nobody who shares a pid namespace may look into this process (CVE-2019-5736): its
/// /proc/PID/exe is the runtime's own binary until execve(2).
fn disappear(orders: &Orders<'_>) -> Result<(), Failure> {
    if orders.ordinary_parent {
        // Its own files in /proc belong to root once it hides.
        limits::set_oom_score(orders)?;
    }
    // In its maker's memory it is hidden as well as its maker; the second hides at once.
    let borrows = orders.second_clone.is_some_and(|second| second.borrows);
    if !session::hides_late(orders) && !borrows {
        session::hide()?;
    }
    if !orders.ordinary_parent {
        // Needs the privileges of the parent's user namespace, so before any other is entered.
        limits::set_oom_score(orders)?;
    }
    Ok(())
}

/// The steps, in the only order that works; each says why it stands where it does.
fn steps(orders: &Orders<'_>, report_to: &mut Fd) -> Result<core::convert::Infallible, Failure> {
    session::close_strangers(orders);
    // If the parent dies while we build, nobody would ever tear us down.
    session::tie_to_parent(orders.parent)?;
    session::lead(orders)?;
    treatment::spread(orders)?;
    disappear(orders)?;
    limits::raise_hard_limits(orders)?;
    namespaces::join(orders, report_to)?;
    namespaces::become_root_of_user_namespace(orders)?;
    namespaces::join_class(orders)?;
    if session::hides_late(orders) {
        session::hide()?;
    }
    session::join_keyring(orders)?;
    if let Some(root) = &orders.root {
        build(orders, root)?;
    }
    // After the last clone, for the attributes are the process's own, and after the hooks that are
    // programs of the host; while a procfs can still be made.
    label::set_for_exec(orders)?;
    // The terminal lives in the new devpts and covers the new /dev/console.
    let mut stdio = console::allocate(orders)?;
    // By descriptor, inside the root, never through a magic link (CVE-2024-21626).
    let mut cwd = exec::find_cwd(orders);
    if let Some(root) = &orders.root {
        null::turn(root, &mut stdio);
        // Last of the mounts: every directory they needed exists by now.
        root::make_readonly(root)?;
        // The old tree goes away; only descriptors of ours still know the host's files.
        root::pivot(root)?;
        if let Some(namespace) = root.return_to {
            root::go_back(root, namespace)?;
            // What was opened before is in the mounts that were left.
            cwd = exec::find_cwd(orders);
            null::turn(root, &mut stdio);
            console::find_again(orders, root, &mut stdio)?;
        }
    }
    namespaces::name_and_connect(orders)?;
    session::connect_stdio(orders, &stdio)?;
    landlock::restrict(orders)?;
    treatment::apply(orders)?;
    finish(orders, report_to, cwd)
}

/// The new root and all that is mounted in it.
fn build(orders: &Orders<'_>, root: &orders::Root<'_>) -> Result<(), Failure> {
    // Nothing that follows may reach the host's mount namespace.
    root::detach(root)?;
    sources::clone_root(root, orders.parent)?;
    root::enter(root)?;
    mounts::attach(root, orders.parent)?;
    devices::make(root)?;
    hooks::before_pivot(orders)?;
    // Writes below /proc/sys, while the procfs is still writable.
    limits::write_sysctls(orders.sysctls, root)?;
    hide::mask(root)?;
    hide::make_readonly(root)
}

/// From the container's root to its program: privileges go, the filter comes.
fn finish(
    orders: &Orders<'_>,
    report_to: &mut Fd,
    cwd: Result<Fd, Failure>,
) -> Result<core::convert::Infallible, Failure> {
    identity::drop_bounding_set(&orders.capabilities)?;
    let entered = cwd.and_then(exec::enter_cwd);
    // Without no_new_privs a filter takes CAP_SYS_ADMIN, which then goes as the very last thing;
    // and what follows a filter may use no call that a narrow profile does not know.
    let filter_early = orders.seccomp.is_some() && !orders.no_new_privileges;
    let besides = if filter_early {
        identity::FOR_FILTER
    } else {
        0
    };
    let late = orders.is_born_late();
    if late {
        be_born(orders, report_to, besides)?;
    }
    // Late, because a small RLIMIT_NOFILE would break everything above.
    limits::set_rlimits(orders)?;
    if late {
        identity::become_payload_after_birth(orders)?;
    } else {
        identity::become_payload(orders, besides)?;
    }
    if filter_early {
        entered?;
    } else if entered.is_err() {
        exec::enter_cwd_as_payload(orders)?;
    }
    let born_confined = orders.is_born_behind_filter();
    if orders.no_new_privileges && !born_confined {
        exec::forbid_new_privileges()?;
    }
    let program = park::park(orders, report_to, filter_early)?;
    hooks::start_each_behind_its_filter(orders, *report_to)?;
    exec::refuse_magic_links(program)?;
    session::release(orders)?;
    if !born_confined && !park::is_behind_filter(orders) {
        confine(orders, *report_to, filter_early)?;
    }
    hooks::start_behind_ours(orders, *report_to)?;
    exec::become_program(program)
}

/// The filter, and the end of what installing it took.
fn confine(orders: &Orders<'_>, report_to: Fd, filter_early: bool) -> Result<(), Failure> {
    exec::install_filter(orders, report_to)?;
    if filter_early {
        identity::set_capabilities(&orders.capabilities, 0)?;
    }
    Ok(())
}

/// Goes on as a process that can be seen from inside, with nothing that a neighbour who stops it could
/// use.
fn be_born(orders: &Orders<'_>, report_to: &mut Fd, besides: u64) -> Result<(), Failure> {
    identity::become_payload_before_birth(orders, besides)?;
    if orders.is_born_behind_filter() {
        if orders.no_new_privileges {
            exec::forbid_new_privileges()?;
        }
        exec::install_filter(orders, *report_to)?;
        if besides != 0 {
            let left = identity::besides_late(orders);
            identity::set_capabilities(&orders.capabilities, left)?;
        }
    }
    namespaces::clone_late(orders, report_to)
}
