//! What a process that joins a container has from the container's own process, where it does not
//! say itself. The same as runc, on whose rules `exec --process` files are written.

use oci_spec::runtime::{Process, Spec};

/// The process with what it inherits. Identity, terminal, words and `noNewPrivileges` are its own.
pub(super) fn from_container(process: &Process, spec: &Spec) -> Process {
    let mut process = process.clone();
    let Some(first) = spec.process() else {
        return process;
    };
    let empty = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
    if process.capabilities().is_none() {
        process.set_capabilities(first.capabilities().clone());
    }
    if process.rlimits().as_ref().is_none_or(Vec::is_empty) {
        process.set_rlimits(first.rlimits().clone());
    }
    if process.scheduler().is_none() {
        process.set_scheduler(first.scheduler().clone());
    }
    if process.io_priority().is_none() {
        process.set_io_priority(*first.io_priority());
    }
    if process.exec_cpu_affinity().is_none() {
        process.set_exec_cpu_affinity(first.exec_cpu_affinity().clone());
    }
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(first.oom_score_adj());
    }
    if empty(process.apparmor_profile()) {
        process.set_apparmor_profile(first.apparmor_profile().clone());
    }
    if empty(process.selinux_label()) {
        process.set_selinux_label(first.selinux_label().clone());
    }
    if process.user().umask().is_none() {
        let mut user = process.user().clone();
        user.set_umask(first.user().umask());
        process.set_user(user);
    }
    process
}
