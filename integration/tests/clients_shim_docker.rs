//! Docker from Debian's packages with our shim in the place of containerd's own: what `clients_docker.rs`
//! plays with runtimes.

#[allow(
    dead_code,
    reason = "what compares with runc has none here, and not every machine has all privileges"
)]
mod engine;

use hostrun_integration::client::on_docker_with_shim;

/// A test for each case, of the same name.
macro_rules! play {
    ($($group:ident: $($case:ident)+;)+) => {
        $($(
            #[test]
            fn $case() -> anyhow::Result<()> {
                on_docker_with_shim(engine::$group::$case)
            }
        )+)+
    };
}

play! {
    life:
        exit_codes
        background
        created_then_started
        signals
        restart
        pause
        update
        removal
        many_at_a_time;
    terminal:
        exec
        exec_with_terminal
        run_with_terminal
        input
        attach;
    inside:
        volumes
        readonly
        users
        privileges
        settings
        namespaces;
    watch:
        processes
        statistics
        events
        health;
}
