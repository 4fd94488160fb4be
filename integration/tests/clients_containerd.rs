//! containerd from Debian's packages, with its own shim for runc told to run hostrun.

mod tasks;

use hostrun_integration::client::on_containerd;

tasks::play! {
    on_containerd;
    life:
        runs_to_the_end_and_tells_the_exit_code
        pauses_and_goes_on
        sends_signals
        kills_every_process_of_a_container_in_the_hosts_pid_namespace
        gives_what_is_asked_for
        removes_what_still_runs;
    streams:
        keeps_the_output_of_a_container_in_the_background
        executes_beside_the_first_process
        executes_at_a_terminal
        runs_at_a_terminal
        passes_its_input_on;
    watch:
        shows_statistics_and_processes
        tells_events
        cleans_up_after_a_shim_that_was_killed;
}
