//! The same with containerd 2.x of Debian sid, which speaks version 3 of the task service.

mod tasks;

use hostrun_integration::client::containerd::Release;
use hostrun_integration::client::on_shim;

tasks::play! {
    |case| on_shim(Release::Sid, case);
    life:
        runs_to_the_end_and_tells_the_exit_code
        pauses_and_goes_on
        sends_signals
        kills_every_process_of_a_container_in_the_hosts_pid_namespace
        gives_what_is_asked_for
        removes_what_still_runs
        kills_what_is_paused
        has_every_exit_code_of_a_crowd;
    streams:
        keeps_the_output_of_a_container_in_the_background
        executes_beside_the_first_process
        executes_at_a_terminal
        runs_at_a_terminal
        passes_its_input_on
        loses_nothing_of_a_large_output
        loses_nothing_of_a_large_output_at_a_terminal
        tells_the_end_of_the_input
        follows_the_size_of_a_terminal
        attaches_to_what_runs
        gives_the_output_to_a_program_that_logs
        gets_on_when_nobody_reads;
    watch:
        shows_statistics_and_processes
        tells_events
        tells_what_it_is
        cleans_up_after_a_shim_that_was_killed
        tells_of_memory_that_ran_out
        checkpoints;
    pods:
        shares_one_shim_among_the_containers_of_a_pod
        ends_a_pod_when_its_shim_is_killed;
    calls:
        tells_the_state_of_every_process
        answers_for_strangers_with_not_found
        updates_a_limit
        measures_with_the_message_of_cgroup_v2
        resizes_terminals_and_nothing_else
        answers_a_thousand_kills_at_once
        serves_others_while_a_client_never_reads
        survives_what_is_no_call
        keeps_no_descriptor_of_what_has_ended;
}
