//! `hostrun health` of services, as systemd knows them, and of files that became none.

use super::units::Files;
use super::{APP, HOSTRUN, Service, nothing_is_left, ok};
use anyhow::{Result, ensure};
use hostrun_integration::runtime::Call;
use std::path::Path;

/// What it says, and its exit code.
fn health(words: &[&str]) -> Result<(String, i32)> {
    let out = Call::new(Path::new(HOSTRUN), [&["health"], words].concat()).run()?;
    Ok((out.stdout(), out.code()))
}

#[test]
fn services_that_failed_and_files_that_are_wrong_are_not_healthy() -> Result<()> {
    let service = Service::new("fails", "", "", "exit 7")?;
    service.call("start")?;
    service.awaits("SubState", "failed")?;
    let (text, code) = health(&[])?;
    ensure!(code == 1, "{text}");
    ensure!(text.contains("fails.service"), "{text}");
    ensure!(
        text.contains("unhealthy  it failed: exit-code 7\n"),
        "{text}"
    );
    drop(service);
    let files = Files::new(&[("bad.container", "[Container]\nImage=x\nPublishPort=80:80\n")])?;
    let (text, code) = health(&[])?;
    ensure!(code == 1, "{text}");
    ensure!(
        text.contains("bad.container  unhealthy  line 3: PublishPort=80:80: is not done\n"),
        "{text}"
    );
    drop(files);
    let (text, code) = health(&[])?;
    ensure!(code == 0, "{text}");
    // a service of the system's own, which is done
    ensure!(text.contains("first.service"), "{text}");
    nothing_is_left()
}

#[test]
fn a_service_is_up_when_its_container_passes_its_check() -> Result<()> {
    let check = "HealthCmd=test -e /tmp/ready\nHealthInterval=1s\nNotify=healthy";
    let file = |wait: &str| {
        format!(
            "[Container]\nImage={APP}\nStopTimeout=1\n{check}\n\
             Exec=sh -c \"sleep {wait}; touch /tmp/ready; sleep 600\"\n"
        )
    };
    let files = Files::new(&[
        ("soon.container", &file("2")),
        ("never.container", &file("600")),
    ])?;
    ok(&["systemctl", "start", "soon.service"])?;
    let (text, code) = health(&["systemd-soon"])?;
    ensure!(code == 0, "{text}");
    let refused = ok(&["systemctl", "start", "never.service"]);
    ensure!(refused.is_err(), "a container that fails its check is up");
    ok(&["systemctl", "stop", "soon.service"])?;
    ok(&["systemctl", "reset-failed"])?;
    drop(files);
    nothing_is_left()
}
