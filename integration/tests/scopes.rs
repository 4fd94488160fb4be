//! Containers in transient scopes of systemd's. `make test-vm` runs them in a guest whose process 1 is
//! systemd.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::{Bundle, Outcome, Stage, cgroup, host, on_stage};
use serde_json::json;

/// Runs the test with a name for its unit, where there is a systemd to ask.
fn with_systemd(test: impl FnOnce(&Stage, &Scope) -> Result<()>) -> Result<()> {
    if !std::path::Path::new("/run/systemd/system").exists() {
        return host::skip("scopes", "systemd is not process 1 here");
    }
    on_stage(|stage| {
        let scope = Scope { name: stage.id() };
        let outcome = test(stage, &scope);
        let removed = call(stage, &["delete", "--force", &scope.name]);
        outcome?;
        removed?.ok()?;
        scope.is_gone()
    })
}

/// The unit of a container, in a slice of its own.
struct Scope {
    name: String,
}

impl Scope {
    fn unit(&self) -> String {
        format!("test-{}.scope", self.name)
    }

    fn cgroup(&self) -> String {
        format!("/machine.slice/{}", self.unit())
    }

    fn bundle(&self, stage: &Stage) -> Result<Bundle> {
        let path = format!("machine.slice:test:{}", self.name);
        Ok(stage
            .bundle()?
            .set("/linux/cgroupsPath", json!(path))
            .shell("sleep 100"))
    }

    /// A property, as systemd knows it.
    fn property(&self, name: &str) -> Result<String> {
        let out = Command::new("systemctl")
            .args(["show", "--value", "--property", name, &self.unit()])
            .output()
            .context("run systemctl")?;
        Ok(String::from_utf8(out.stdout)?.trim().to_owned())
    }

    fn has(&self, properties: &[(&str, &str)]) -> Result<()> {
        for (name, value) in properties {
            assert_eq!(self.property(name)?, *value, "{name}");
        }
        Ok(())
    }

    fn is_gone(&self) -> Result<()> {
        let mut state = String::new();
        host::wait_for("the end of the unit", || {
            state = self.property("LoadState").unwrap_or_default();
            state == "not-found" && !cgroup::dir(&self.cgroup()).exists()
        })
        .with_context(|| format!("{} is {state}", self.unit()))
    }
}

fn call(stage: &Stage, words: &[&str]) -> Result<Outcome> {
    let all = [&["--systemd-cgroup"], words].concat();
    stage.call(all).within(Duration::from_mins(1)).run()
}

fn start(stage: &Stage, scope: &Scope, bundle: &Bundle) -> Result<()> {
    let dir = bundle.write()?.to_string_lossy();
    call(stage, &["create", "--bundle", &dir, &scope.name])?.ok()?;
    call(stage, &["start", &scope.name])?.ok().map(drop)
}

fn systemctl(words: &[&str]) -> Result<()> {
    host::command("systemctl", words.iter(), [] as [&str; 0])
}

const PROPERTIES: &[(&str, &str)] = &[
    ("ActiveState", "active"),
    ("Slice", "machine.slice"),
    ("Delegate", "yes"),
    ("MemoryMax", "67108864"),
    ("MemoryLow", "33554432"),
    ("MemorySwapMax", "67108864"),
    ("TasksMax", "20"),
    ("CPUQuotaPerSecUSec", "500ms"),
    ("AllowedCPUs", "0-1"),
    ("AllowedMemoryNodes", "0"),
];

const FILES: &[(&str, &str)] = &[
    ("memory.max", "67108864"),
    ("cpu.max", "50000 100000"),
    ("pids.max", "20"),
];

const CHANGE: &str =
    "--memory 96M --memory-swap 128M --cpu-quota 25000 --pids-limit 30 --cpuset-cpus 1";

const CHANGED_PROPERTIES: &[(&str, &str)] = &[
    ("MemoryMax", "100663296"),
    ("MemorySwapMax", "33554432"),
    ("TasksMax", "30"),
    ("CPUQuotaPerSecUSec", "250ms"),
    ("AllowedCPUs", "1"),
];

const CHANGED_FILES: &[(&str, &str)] = &[
    ("memory.max", "100663296"),
    ("cpu.max", "25000 100000"),
    ("cpuset.cpus", "1"),
    ("pids.max", "30"),
];

fn in_files(scope: &Scope, files: &[(&str, &str)]) -> Result<()> {
    for (file, value) in files {
        assert_eq!(cgroup::read(&scope.cgroup(), file)?, *value, "{file}");
    }
    Ok(())
}

#[test]
fn limits_are_known_to_systemd_and_change_there_too() -> Result<()> {
    with_systemd(|stage, scope| {
        let resources = json!({
            "devices": [{"allow": false, "access": "rwm"}],
            "memory": {"limit": 67_108_864, "swap": 134_217_728, "reservation": 33_554_432},
            "cpu": {"quota": 50_000, "period": 100_000, "cpus": "0-1", "mems": "0"},
            "pids": {"limit": 20}
        });
        start(
            stage,
            scope,
            &scope.bundle(stage)?.set("/linux/resources", resources),
        )?;
        scope.has(PROPERTIES)?;
        in_files(scope, FILES)?;
        let words = CHANGE.split(' ');
        let words: Vec<&str> = ["update"]
            .into_iter()
            .chain(words)
            .chain([&*scope.name])
            .collect();
        call(stage, &words)?.ok()?;
        scope.has(CHANGED_PROPERTIES)?;
        in_files(scope, CHANGED_FILES)?;
        systemctl(&["daemon-reload"])?;
        in_files(scope, CHANGED_FILES)
    })
}

#[test]
fn devices_are_the_same_after_a_daemon_reload() -> Result<()> {
    with_systemd(|stage, scope| {
        let rules = json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}
        ]);
        let nodes = json!([
            {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o600},
            {"path": "/dev/mem", "type": "c", "major": 1, "minor": 1, "fileMode": 0o600}
        ]);
        let bundle = scope
            .bundle(stage)?
            .capabilities(&["CAP_DAC_OVERRIDE", "CAP_SYSLOG", "CAP_SYS_RAWIO"])
            .set("/linux/devices", nodes)
            .set("/linux/resources/devices", rules);
        start(stage, scope, &bundle)?;
        let look = "(exec 3</dev/kmsg) 2>/dev/null; echo kmsg $?; (exec 3>/dev/kmsg) 2>/dev/null; echo write $?;
            (exec 3</dev/mem) 2>/dev/null; echo mem $?; echo x >/dev/null; echo null $?";
        let see = || {
            Ok::<_, anyhow::Error>(call(stage, &["exec", &scope.name, "sh", "-c", look])?.stdout())
        };
        let wanted = "kmsg 0\nwrite 1\nmem 1\nnull 0\n";
        assert_eq!(see()?, wanted);
        let unit = scope.unit();
        for change in [
            vec!["daemon-reload"],
            vec!["set-property", "--runtime", &unit, "CPUWeight=50"],
            vec!["daemon-reload"],
        ] {
            systemctl(&change)?;
            assert_eq!(see()?, wanted, "after {change:?}");
        }
        Ok(())
    })
}

#[test]
fn annotations_are_properties_of_the_unit() -> Result<()> {
    with_systemd(|stage, scope| {
        let bundle = scope.bundle(stage)?.set(
            "/annotations",
            json!({
                "org.systemd.property.Description": "'a container of the suite'",
                "org.systemd.property.TimeoutStopSec": "uint64 7",
                "org.systemd.property.CollectMode": "'inactive-or-failed'"
            }),
        );
        start(stage, scope, &bundle)?;
        scope.has(&[
            ("Description", "a container of the suite"),
            ("TimeoutStopUSec", "7s"),
            ("CollectMode", "inactive-or-failed"),
        ])
    })
}

#[test]
fn a_failed_unit_of_the_same_name_does_not_stand_in_the_way() -> Result<()> {
    with_systemd(|stage, scope| {
        if stage.runtime().is_runc() {
            return host::skip(
                "a failed unit",
                "runc 1.1 goes on without a unit of its own",
            );
        }
        let unit = format!("--unit={}", scope.unit());
        let words = [
            "--scope",
            "--slice=machine.slice",
            &unit,
            "-p",
            "RuntimeMaxSec=1s",
            "sleep",
            "100",
        ];
        // killed by systemd, so it fails
        drop(Command::new("systemd-run").args(words).output()?);
        host::wait_for("a failed unit", || {
            scope
                .property("ActiveState")
                .is_ok_and(|state| state == "failed")
        })?;
        start(stage, scope, &scope.bundle(stage)?)?;
        scope.has(&[("ActiveState", "active")])
    })
}

#[test]
fn one_task_is_enough_for_a_scope() -> Result<()> {
    with_systemd(|stage, scope| {
        if stage.runtime().is_runc() {
            return Ok(());
        }
        let bundle = scope
            .bundle(stage)?
            .set("/linux/resources/pids", json!({"limit": 1}))
            .args(&["sleep", "100"]);
        start(stage, scope, &bundle)?;
        scope.has(&[("TasksMax", "1")])?;
        assert_eq!(cgroup::read(&scope.cgroup(), "pids.max")?, "1");
        Ok(())
    })
}

#[test]
fn a_start_that_fails_leaves_no_unit() -> Result<()> {
    with_systemd(|stage, scope| {
        let bundle = scope.bundle(stage)?.args(&["/no/such/program"]);
        let dir = bundle.write()?.to_string_lossy();
        let out = call(stage, &["run", "--bundle", &dir, &scope.name])?;
        ensure!(out.code() != 0, "it ran");
        scope.is_gone()
    })
}

#[test]
fn a_container_that_is_killed_takes_its_unit_along() -> Result<()> {
    with_systemd(|stage, scope| {
        start(stage, scope, &scope.bundle(stage)?)?;
        call(stage, &["kill", &scope.name, "KILL"])?.ok()?;
        host::wait_for("the end of the container", || {
            let state = call(stage, &["state", &scope.name]);
            state.is_ok_and(|state| state.stdout().contains("stopped"))
        })?;
        call(stage, &["delete", &scope.name])?.ok()?;
        scope.is_gone()
    })
}
