//! A container that is killed for want of memory says so, wherever one looks.

use super::{APP, HOSTRUN, Service, hostrun, nothing_is_left};
use anyhow::{Context as _, Result, ensure};
use hostrun_integration::host::wait_for;
use hostrun_integration::runtime::Call;
use serde_json::Value;
use std::path::Path;

/// Takes more than any limit here.
const HUNGRY: &str = "exec dd if=/dev/zero of=/dev/null bs=100M count=1";

fn inspected(name: &str, pointer: &str) -> Result<Value> {
    let all: Value = serde_json::from_str(&hostrun(&["inspect", name])?)?;
    let found = all.pointer(&format!("/0/state{pointer}"));
    found.cloned().context("nothing there")
}

#[test]
fn an_end_for_want_of_memory_is_told_with_its_limit_and_a_hint() -> Result<()> {
    let limited = ["run", "--rm", "-m", "24m", "--memory-swap", "24m", APP];
    let words = [&limited[..], &["sh", "-c", HUNGRY]].concat();
    let out = Call::new(Path::new(HOSTRUN), words).run()?;
    assert_eq!(out.code(), 137);
    let said = out.stderr();
    ensure!(
        said.contains("for want of memory: its limit is 24 MiB\nhint: "),
        "{said}"
    );
    // and of no other end by the same signal
    let words = [
        "run",
        "--rm",
        "-m",
        "24m",
        APP,
        "sh",
        "-c",
        "kill -9 $$; exit 137",
    ];
    let out = Call::new(Path::new(HOSTRUN), words).run()?;
    assert_eq!((out.code(), out.stderr()), (137, String::new()));
    nothing_is_left()
}

#[test]
fn an_end_for_want_of_memory_stays_on_record() -> Result<()> {
    let script = format!("until [ -e /go ]; do sleep 0.1; done; {HUNGRY}");
    let limited = [
        "run",
        "-d",
        "--name",
        "hungry",
        "-m",
        "24m",
        "--memory-swap",
        "24m",
        APP,
    ];
    let id = hostrun(&[&limited[..], &["sh", "-c", &script]].concat())?;
    let mut events =
        Call::new(Path::new(HOSTRUN), ["events", "--interval", "100ms", &id]).spawn()?;
    events.wait_for("\"stats\"")?;
    hostrun(&["exec", "hungry", "touch", "/go"])?;
    events.wait_for(&format!("{{\"type\":\"oom\",\"id\":\"{id}\"}}"))?;
    wait_for("its end", || {
        inspected("hungry", "/status").is_ok_and(|status| status == "exited")
    })?;
    assert_eq!(inspected("hungry", "/exitCode")?, 137);
    assert_eq!(inspected("hungry", "/oomKilled")?, true);
    let error = inspected("hungry", "/error")?.to_string();
    ensure!(error.contains("its limit is 24 MiB"), "{error}");
    let listed = hostrun(&["ps", "-a"])?;
    ensure!(listed.contains("out of memory"), "{listed}");
    events.wait()?;
    hostrun(&["rm", "hungry"])?;
    // somebody's own signal is none
    hostrun(&[
        "run", "-d", "--name", "killed", "-m", "24m", APP, "sleep", "60",
    ])?;
    hostrun(&["kill", "killed"])?;
    wait_for("its end", || {
        inspected("killed", "/status").is_ok_and(|status| status == "exited")
    })?;
    assert_eq!(inspected("killed", "/oomKilled")?, false);
    hostrun(&["rm", "killed"])?;
    nothing_is_left()
}

#[test]
fn a_limit_that_is_the_services_is_not_said_to_be_the_containers() -> Result<()> {
    let settings = "Type=oneshot\nMemoryMax=24M\nMemorySwapMax=0\nOOMPolicy=continue";
    let service = Service::new("above", settings, "-m 200m", HUNGRY)?;
    ensure!(service.call("start").is_err(), "it ended well");
    let said = service.journal()?;
    ensure!(
        said.contains("for want of memory: not at a limit of its own"),
        "{said}"
    );
    nothing_is_left()
}
