//! Pods of Kubernetes: containerd's CRI, called as the kubelet does, on its own shim first, then on ours.
//! What there is to limit, and containerd 2.x, which makes no pod where there is nothing: `cri_limits.rs`.

mod cri;

use hostrun_integration::client::containerd::Release;
use hostrun_integration::client::{on_cri, on_cri_alone};

cri::play! {
    |case| on_cri(Release::Machine, case);
    life:
        lives_from_run_to_remove
        tells_exit_codes_and_last_words
        tells_why_a_program_does_not_start
        starts_a_container_again_and_again
        stops_with_a_grace_period
        ends_what_runs_when_the_pod_stops
        measures_what_a_container_takes;
    streams:
        keeps_logs_in_the_form_of_cri
        opens_a_log_anew
        ends_what_executes_too_long
        executes_at_a_terminal
        attaches_to_what_runs;
    shared:
        shares_processes_where_the_pod_does
        shares_the_processes_of_one_container_with_another
        shares_ipc_and_memory_and_nothing_else
        has_a_network_of_its_own
        sets_the_sysctls_of_its_namespaces
        sees_mounts_come_and_go_in_volumes;
    treatment:
        is_the_user_it_shall_be
        has_the_capabilities_it_shall_have
        has_the_filter_the_daemon_makes
        has_what_of_its_files_is_closed_closed
        has_devices_of_the_machine
        may_all_when_privileged;
}

cri::play! {
    |case| on_cri_alone(Release::Machine, case);
    trouble:
        goes_on_while_containerd_is_dead
        is_removed_when_its_shim_was_killed;
    // other pods change what it sees of the machine
    treatment:
        is_treated_as_under_runc;
}
