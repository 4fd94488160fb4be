//! What a start finds ready, and how it waits to go on.

use super::state_dir::StateDir;
use super::surplus;
use super::{Prepared, Tree, Trees};
use crate::error::{ErrorKind, Result};
use crate::host::{Caller, Host};
use crate::plan::Plan;
use crate::plan::namespaces::Kind;
use crate::warm::{MountTemplate, Networks, Page};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// How a process waits for its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// For whoever reaches its socket.
    Plain,
    /// Over the line to its creator, too.
    KeepsLine,
    /// Over that line it is told its program first.
    Unnamed,
}

/// What such a process needs.
#[derive(Debug)]
pub(crate) struct Parking {
    pub(crate) stop: Stop,
    pub(crate) listener: OwnedFd,
    pub(crate) page: Option<Page>,
    pub(crate) behind_filter: bool,
}

impl Parking {
    pub(super) fn make(
        stop: Stop,
        state: &StateDir,
        plan: &Plan,
        host: &Host,
        behind_filter: bool,
    ) -> Result<Parking> {
        Ok(Parking {
            stop,
            listener: state.listen()?,
            page: page(stop, plan, host, behind_filter)?,
            behind_filter,
        })
    }
}

/// The memory of such a process. All the rest it forgets, unless a filter or hooks in there are for
/// after the wait.
fn page(stop: Stop, plan: &Plan, host: &Host, behind_filter: bool) -> Result<Option<Page>> {
    let forgets = plan.hooks.is_empty() && (behind_filter || plan.seccomp.is_none());
    let process = &plan.process;
    let page = match stop {
        Stop::Plain => return Ok(None),
        Stop::KeepsLine if !forgets => return Ok(None),
        // Where it does not fit, the orders have it.
        Stop::KeepsLine => match Page::with([&process.candidates, &process.argv, &process.envp]) {
            Err(error) if error.kind() == ErrorKind::InvalidSpec => return Ok(None),
            page => page?,
        },
        Stop::Unnamed => Page::new(),
    };
    if !forgets {
        return Ok(Some(page));
    }
    let surplus = surplus::find(host, &page.range())?;
    Ok(Some(page.with_surplus(surplus)))
}

impl Prepared {
    /// Is a network namespace there that was made before?
    pub(crate) fn has_network(&self) -> bool {
        let creates = self.plan.namespaces.creates(Kind::Network);
        creates
            && self
                .line
                .joins
                .iter()
                .any(|(kind, _)| *kind == Kind::Network)
    }

    /// `CLONE_NEW*` that the plan wants and the clone does not make.
    pub(crate) fn made_before(&self) -> i32 {
        let network = if self.has_network() {
            Kind::Network.flag()
        } else {
            0
        };
        let mount = if self.mounts_from.is_some() {
            Kind::Mount.flag()
        } else {
            0
        };
        network | mount
    }
}

/// A network namespace that was made before, where one can stand for the one that is asked for: of
/// the caller's user namespace, and for a container that joins nothing.
pub(super) fn network(networks: Option<&Networks>, plan: &Plan) -> Option<(Kind, OwnedFd)> {
    let namespaces = &plan.namespaces;
    let fits = namespaces.creates(Kind::Network)
        && !namespaces.own(Kind::User)
        && namespaces.joins().next().is_none();
    let ready = networks.filter(|_| fits)?.take()?;
    Some((Kind::Network, ready))
}

/// The template, where nothing of the host's tree is looked for by its path in the copy.
pub(super) fn mounts(
    template: Option<&MountTemplate>,
    host: &Host,
    plan: &Plan,
    trees: &Trees,
) -> Option<Arc<OwnedFd>> {
    let template = template?;
    let namespaces = &plan.namespaces;
    let by_path = |tree: &Tree| matches!(tree, Tree::Host { .. });
    let fits = namespaces.creates(Kind::Mount)
        && !namespaces.own(Kind::User)
        && plan.hooks.is_empty()
        && trees.root_path.is_none()
        && !trees.mounts.iter().flatten().any(by_path)
        && host.caller().may(Caller::MKNOD);
    fits.then(|| template.namespace())
}
