//! Hooks: programs that others want run at certain points of a container's life. The same lines run
//! them on the host, called by the parent, and inside, called by the room.

mod outcome;
mod process;

pub use outcome::{Mishap, Said};
pub use process::{Place, run};

use crate::orders::{Fd, Hook, Hooks, Orders};
use crate::report::{self, Failure, Step, byte};
use crate::sys::{self, Errno};
use crate::{exec, identity};
use process::run_after;

/// Everything stands that a hook may want to look at or mount over, and the host's tree is still
/// around it: the moment of those before `pivot_root(2)`.
pub(crate) fn before_pivot(orders: &Orders<'_>) -> Result<(), Failure> {
    await_host(orders)?;
    create(orders)
}

/// Lets the parent run the host's hooks, now that there is a container to see, and waits for it.
fn await_host(orders: &Orders<'_>) -> Result<(), Failure> {
    if !orders.hooks.of_the_host {
        return Ok(());
    }
    let fail = |errno| Step::AwaitHooks.failed(errno);
    sys::send(orders.parent, &[byte::HOOKS]).map_err(fail)?;
    match sys::receive_byte(orders.parent).map_err(fail)? {
        Some(byte::HOOKED) => Ok(()),
        _ => Err(fail(Errno(libc::EPIPE))),
    }
}

/// Runs the createContainer hooks: in the container's namespaces, in its root, but with the host's
/// tree around it.
fn create(orders: &Orders<'_>) -> Result<(), Failure> {
    let Hooks { create, state, .. } = &orders.hooks;
    run_all(create, *state, Step::CreateHook, orders.parent, |_| Ok(()))
}

/// Runs the startContainer hooks as the payload would run, each behind a filter it installs itself.
/// Ours comes after them: what starts and awaits processes may be more than a narrow filter lets pass.
pub(crate) fn start_each_behind_its_filter(
    orders: &Orders<'_>,
    report_to: Fd,
) -> Result<(), Failure> {
    if exec::has_listener(orders) {
        return Ok(());
    }
    start(orders, report_to, || {
        let failed = |failure: Failure| Errno(failure.errno);
        exec::install_filter(orders, report_to).map_err(failed)?;
        if orders.seccomp.is_some() && !orders.no_new_privileges {
            identity::set_capabilities(&orders.capabilities, 0).map_err(failed)?;
        }
        Ok(())
    })
}

/// The same where an agent answers for the filter: there can be one only, ours, so that is in force
/// already.
pub(crate) fn start_behind_ours(orders: &Orders<'_>, report_to: Fd) -> Result<(), Failure> {
    if exec::has_listener(orders) {
        start(orders, report_to, || Ok(()))
    } else {
        Ok(())
    }
}

fn start(
    orders: &Orders<'_>,
    report_to: Fd,
    filter: impl Fn() -> Result<(), Errno>,
) -> Result<(), Failure> {
    let Hooks { start, state, .. } = &orders.hooks;
    run_all(start, *state, Step::StartHook, report_to, |hook| {
        // The runtime's own binary is not for running inside (CVE-2019-5736).
        if exec::is_through_magic_link(hook.path) {
            return Err(Errno(libc::ELOOP));
        }
        filter()
    })
}

fn run_all(
    hooks: &[Hook<'_>],
    state: [&[u8]; 2],
    step: Step,
    report_to: Fd,
    last: impl Fn(&Hook<'_>) -> Result<(), Errno>,
) -> Result<(), Failure> {
    for (index, hook) in hooks.iter().enumerate() {
        let place = Place {
            state,
            pid: sys::getpid(),
            cwd: None,
        };
        let mut said = Said::nothing();
        run_after(hook, &place, &mut said, || last(hook)).map_err(|mishap| {
            report::quote(report_to, said.bytes());
            step.failed_at(index, Errno(mishap.to_number()))
        })?;
    }
    Ok(())
}
