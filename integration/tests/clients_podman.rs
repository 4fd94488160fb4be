//! podman from Debian's packages, with hostrun as its runtime.

mod engine;

use anyhow::Result;
use hostrun_integration::client::on_podman;

#[test]
fn podman_runs_to_the_end_and_tells_the_exit_code() -> Result<()> {
    on_podman(engine::life::exit_codes)
}

#[test]
fn podman_runs_in_the_background_and_keeps_the_logs() -> Result<()> {
    on_podman(engine::life::background)
}

#[test]
fn podman_creates_first_and_starts_later() -> Result<()> {
    on_podman(engine::life::created_then_started)
}

#[test]
fn podman_sends_signals_and_stops() -> Result<()> {
    on_podman(engine::life::signals)
}

#[test]
fn podman_restarts() -> Result<()> {
    on_podman(engine::life::restart)
}

#[test]
fn podman_pauses_and_goes_on() -> Result<()> {
    on_podman(engine::life::pause)
}

#[test]
fn podman_updates_limits() -> Result<()> {
    on_podman(engine::life::update)
}

#[test]
fn podman_removes_what_runs_and_what_is_not_used() -> Result<()> {
    on_podman(engine::life::removal)
}

#[test]
fn podman_runs_many_at_a_time() -> Result<()> {
    on_podman(engine::life::many_at_a_time)
}

#[test]
fn podman_executes_beside_the_first_process() -> Result<()> {
    on_podman(engine::terminal::exec)
}

#[test]
fn podman_executes_at_a_terminal() -> Result<()> {
    on_podman(engine::terminal::exec_with_terminal)
}

#[test]
fn podman_runs_at_a_terminal() -> Result<()> {
    on_podman(engine::terminal::run_with_terminal)
}

#[test]
fn podman_passes_its_input_on() -> Result<()> {
    on_podman(engine::terminal::input)
}

#[test]
fn podman_attaches_and_leaves() -> Result<()> {
    on_podman(engine::terminal::attach)
}

#[test]
fn podman_mounts_volumes_and_tmpfs() -> Result<()> {
    on_podman(engine::inside::volumes)
}

#[test]
fn podman_runs_with_a_root_that_is_read_only() -> Result<()> {
    on_podman(engine::inside::readonly)
}

#[test]
fn podman_runs_as_a_user() -> Result<()> {
    on_podman(engine::inside::users)
}

#[test]
fn podman_gives_the_privileges_that_are_asked_for() -> Result<()> {
    on_podman(engine::inside::privileges)
}

#[test]
fn podman_runs_privileged() -> Result<()> {
    on_podman(engine::inside::privileged)
}

#[test]
fn podman_passes_its_settings_on() -> Result<()> {
    on_podman(engine::inside::settings)
}

#[test]
fn podman_shares_namespaces() -> Result<()> {
    on_podman(engine::inside::namespaces)
}

#[test]
fn podman_finds_the_same_inside_as_with_runc() -> Result<()> {
    on_podman(engine::inside::same_facts)
}

#[test]
fn podman_lists_processes() -> Result<()> {
    on_podman(engine::watch::processes)
}

#[test]
fn podman_shows_statistics() -> Result<()> {
    on_podman(engine::watch::statistics)
}

#[test]
fn podman_tells_events() -> Result<()> {
    on_podman(engine::watch::events)
}

#[test]
fn podman_checks_health() -> Result<()> {
    on_podman(engine::watch::health)
}

#[test]
fn podman_connects_containers_by_a_bridge() -> Result<()> {
    on_podman(|podman| {
        let bridge = "--network=podman";
        let server = podman.background(&[bridge], "nc -l -p 80 -e echo welcome")?;
        let address = podman.inspect(&server, "{{.NetworkSettings.IPAddress}}")?;
        let script = format!("until nc {address} 80; do sleep 0.1; done");
        assert_eq!(podman.shell(&[bridge], &script)?, "welcome\n");
        podman.remove(&[&server])
    })
}
