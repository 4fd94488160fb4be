//! Looking at containers from outside.

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::client::engine::{Engine, Kind};
use hostrun_integration::host;

pub(crate) fn processes(engine: &Engine<'_>) -> Result<()> {
    let name = engine.background(&[], "sleep 61 & sleep 62 & wait")?;
    host::wait_for("both processes", || {
        let top = engine.ok(&["top", &name]).unwrap_or_default();
        top.contains("sleep 61") && top.contains("sleep 62")
    })?;
    let ps = engine.ok(&["ps", "--format", "{{.Names}} {{.Status}}"])?;
    ensure!(
        ps.lines()
            .any(|line| line.starts_with(&name) && line.contains("Up")),
        "{ps}"
    );
    engine.remove(&[&name])
}

pub(crate) fn statistics(engine: &Engine<'_>) -> Result<()> {
    let name = engine.background(&[], "while :; do :; done")?;
    let format = "{{.Name}} {{.CPUPerc}}";
    let stats = engine.ok(&["stats", "--no-stream", "--format", format, &name])?;
    ensure!(stats.starts_with(&name), "{stats}");
    ensure!(stats.contains('%'), "{stats}");
    if engine.kind() == Kind::Podman {
        // Docker reads nothing where the controller is missing
        ensure!(!stats.contains(" 0.00%"), "{stats}");
    }
    engine.remove(&[&name])
}

pub(crate) fn events(engine: &Engine<'_>) -> Result<()> {
    let name = engine.background(&[], "exit 3")?;
    engine.ok(&["wait", &name])?;
    engine.ok(&["rm", &name])?;
    let filter = format!("container={name}");
    let (words, expected) = match engine.kind() {
        Kind::Podman => (
            ["events", "--stream=false", "--filter", &filter].to_vec(),
            ["create", "start", "died", "remove"],
        ),
        Kind::Docker => (
            [
                "events", "--since", "5m", "--until", "0s", "--filter", &filter,
            ]
            .to_vec(),
            ["create", "start", "die", "destroy"],
        ),
    };
    let mut told = String::new();
    let in_order = host::wait_for("all events in their order", || {
        told = engine.ok(&words).unwrap_or_default();
        let mut rest = told.as_str();
        expected.iter().all(|event| {
            let after = rest.split_once(&format!("container {event} "));
            rest = after.map_or("", |(_, after)| after);
            after.is_some()
        })
    });
    in_order.with_context(|| told)
}

pub(crate) fn health(engine: &Engine<'_>) -> Result<()> {
    let check = "--health-cmd=test -e /tmp/well";
    match engine.kind() {
        Kind::Docker => {
            let flags = [check, "--health-interval=300ms", "--health-retries=2"];
            let name = engine.background(&flags, "sleep 60")?;
            let is = |status: &str| {
                host::wait_for(status, || {
                    let health = engine.inspect(&name, "{{.State.Health.Status}}");
                    health.is_ok_and(|now| now == status)
                })
            };
            is("unhealthy")?;
            engine.ok(&["exec", &name, "touch", "/tmp/well"])?;
            is("healthy")?;
            engine.remove(&[&name])
        }
        Kind::Podman => {
            // its timers are systemd's
            let name = engine.background(&[check, "--health-interval=disable"], "sleep 60")?;
            let check = ["healthcheck", "run", &name];
            ensure!(engine.code(&check)? != 0, "well too early");
            engine.ok(&["exec", &name, "touch", "/tmp/well"])?;
            assert_eq!(engine.code(&check)?, 0);
            engine.remove(&[&name])
        }
    }
}
