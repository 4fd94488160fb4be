//! What later verbs must know of a config, kept in the record, so that a `start`, `kill` or `delete`
//! need not read the config again.

use crate::plan::Plan;
use crate::plan::namespaces::Kind;
use serde::{Deserialize, Serialize};

/// A config in four answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outline {
    /// Hooks run after the program has started.
    pub(crate) poststart: bool,
    /// Hooks run after the container is deleted.
    pub(crate) poststop: bool,
    /// An agent answers for the filter.
    pub(crate) listener: bool,
    /// The pid namespace is not the container's own: its first process takes nobody with it.
    pub(crate) shares_pids: bool,
}

impl Outline {
    /// Of what was planned.
    pub(crate) fn of(plan: &Plan) -> Outline {
        Outline {
            poststart: !plan.hooks.poststart.is_empty(),
            poststop: !plan.hooks.poststop.is_empty(),
            listener: plan.listener.is_some(),
            shares_pids: !plan.namespaces.creates(Kind::Pid),
        }
    }
}
