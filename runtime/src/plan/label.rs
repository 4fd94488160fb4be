//! Labels of the Linux security modules.

use super::refusal::Refusals;
use crate::plan::Facts;
use oci_spec::runtime::Process;

/// What the security modules are to make of the program.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    /// For AppArmor's `exec` attribute, with the command in front.
    pub(crate) apparmor: Option<Vec<u8>>,
    /// For SELinux' `exec` and `keycreate` attributes.
    pub(crate) selinux: Option<Vec<u8>>,
}

/// Reads both. A label that nobody would enforce is refused: its author counts on it.
pub(super) fn plan(process: &Process, facts: Facts, refusals: &mut Refusals) -> Labels {
    let apparmor = text(process.apparmor_profile().as_deref());
    if apparmor.is_some() && !facts.apparmor {
        refusals.unsupported(
            "process.apparmorProfile",
            "apparmor: config provided but apparmor not supported",
        );
    }
    let selinux = text(process.selinux_label().as_deref());
    if selinux.is_some() && !facts.selinux {
        refusals.unsupported(
            "process.selinuxLabel",
            "selinux label is specified in config, but selinux is disabled or not supported",
        );
    }
    for (json, label) in [
        ("process.apparmorProfile", apparmor),
        ("process.selinuxLabel", selinux),
    ] {
        // The kernel ends a label there, and would take the rest for nothing.
        if label.is_some_and(|label| label.contains(['\0', '\n'])) {
            refusals.refuse(json, "contains a zero byte or a new line");
        }
    }
    Labels {
        apparmor: apparmor.map(|profile| format!("exec {profile}").into_bytes()),
        selinux: selinux.map(|label| label.as_bytes().to_vec()),
    }
}

fn text(value: Option<&str>) -> Option<&str> {
    value.filter(|text| !text.is_empty())
}
