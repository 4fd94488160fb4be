//! Docker from Debian's packages, with hostrun as its runtime.

mod engine;

use anyhow::Result;
use hostrun_integration::client::on_docker;

#[test]
fn docker_runs_to_the_end_and_tells_the_exit_code() -> Result<()> {
    on_docker(engine::life::exit_codes)
}

#[test]
fn docker_runs_in_the_background_and_keeps_the_logs() -> Result<()> {
    on_docker(engine::life::background)
}

#[test]
fn docker_creates_first_and_starts_later() -> Result<()> {
    on_docker(engine::life::created_then_started)
}

#[test]
fn docker_sends_signals_and_stops() -> Result<()> {
    on_docker(engine::life::signals)
}

#[test]
fn docker_restarts() -> Result<()> {
    on_docker(engine::life::restart)
}

#[test]
fn docker_pauses_and_goes_on() -> Result<()> {
    on_docker(engine::life::pause)
}

#[test]
fn docker_updates_limits() -> Result<()> {
    on_docker(engine::life::update)
}

#[test]
fn docker_removes_what_runs_and_what_is_not_used() -> Result<()> {
    on_docker(engine::life::removal)
}

#[test]
fn docker_runs_many_at_a_time() -> Result<()> {
    on_docker(engine::life::many_at_a_time)
}

#[test]
fn docker_executes_beside_the_first_process() -> Result<()> {
    on_docker(engine::terminal::exec)
}

#[test]
fn docker_executes_at_a_terminal() -> Result<()> {
    on_docker(engine::terminal::exec_with_terminal)
}

#[test]
fn docker_runs_at_a_terminal() -> Result<()> {
    on_docker(engine::terminal::run_with_terminal)
}

#[test]
fn docker_passes_its_input_on() -> Result<()> {
    on_docker(engine::terminal::input)
}

#[test]
fn docker_attaches_and_leaves() -> Result<()> {
    on_docker(engine::terminal::attach)
}

#[test]
fn docker_mounts_volumes_and_tmpfs() -> Result<()> {
    on_docker(engine::inside::volumes)
}

#[test]
fn docker_runs_with_a_root_that_is_read_only() -> Result<()> {
    on_docker(engine::inside::readonly)
}

#[test]
fn docker_runs_as_a_user() -> Result<()> {
    on_docker(engine::inside::users)
}

#[test]
fn docker_gives_the_privileges_that_are_asked_for() -> Result<()> {
    on_docker(engine::inside::privileges)
}

#[test]
fn docker_runs_privileged() -> Result<()> {
    on_docker(engine::inside::privileged)
}

#[test]
fn docker_passes_its_settings_on() -> Result<()> {
    on_docker(engine::inside::settings)
}

#[test]
fn docker_shares_namespaces() -> Result<()> {
    on_docker(engine::inside::namespaces)
}

#[test]
fn docker_finds_the_same_inside_as_with_runc() -> Result<()> {
    on_docker(engine::inside::same_facts)
}

#[test]
fn docker_lists_processes() -> Result<()> {
    on_docker(engine::watch::processes)
}

#[test]
fn docker_shows_statistics() -> Result<()> {
    on_docker(engine::watch::statistics)
}

#[test]
fn docker_tells_events() -> Result<()> {
    on_docker(engine::watch::events)
}

#[test]
fn docker_checks_health() -> Result<()> {
    on_docker(engine::watch::health)
}
