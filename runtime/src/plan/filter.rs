//! `linux.seccomp`: the filter, and the agent that answers for it.

use super::refusal::Refusals;
use hostrun_seccomp_profiles::Filter;
use oci_spec::runtime::{Linux, LinuxSeccomp, LinuxSeccompAction};
use std::path::PathBuf;

/// Whoever answers the calls that a filter leaves open, runtime-spec config-linux "Seccomp".
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    /// Its socket, absolute.
    pub(crate) path: PathBuf,
    /// For it and nobody else.
    pub(crate) metadata: String,
}

/// Compiles the profile.
pub(super) fn plan(linux: &Linux, refusals: &mut Refusals) -> Option<Filter> {
    match hostrun_seccomp_profiles::compile(linux.seccomp().as_ref()?) {
        Ok(filter) => Some(filter),
        Err(error) => {
            refusals.refuse("linux.seccomp", error);
            None
        }
    }
}

/// Who is to be asked; nobody where no rule asks, whatever path is given.
pub(crate) fn listener(linux: &Linux, refusals: &mut Refusals) -> Option<Listener> {
    let profile = linux.seccomp().as_ref().filter(|profile| asks(profile))?;
    let path = profile.listener_path().clone().unwrap_or_default();
    let json = "linux.seccomp.listenerPath";
    if path.as_os_str().is_empty() {
        refusals.refuse(json, "seccomp listenerPath is not set");
    } else if !path.is_absolute() {
        // One that begins with @ would be a name that any process of the network namespace can take.
        refusals.refuse(json, "must be an absolute path");
    }
    Some(Listener {
        path,
        metadata: profile.listener_metadata().clone().unwrap_or_default(),
    })
}

fn asks(profile: &LinuxSeccomp) -> bool {
    let rules = profile.syscalls().iter().flatten();
    rules
        .into_iter()
        .any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
}
