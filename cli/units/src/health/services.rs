//! Services that start containers, as systemd knows them.

use super::report::{Finding, Health};
use std::collections::BTreeMap;
use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

/// All that is asked of a unit.
const PROPERTIES: &str = "--property=Id,ActiveState,SubState,Result,ExecMainStatus,ExecStart,Job,ConditionResult,\
                          ConditionTimestampMonotonic,InactiveExitTimestampMonotonic,WantedBy,RequiredBy,\
                          NRestarts,ActiveEnterTimestampMonotonic";

/// How long a service must be up that has fallen and was started anew.
const PROBATION: Duration = Duration::from_secs(10);

/// A unit's properties.
type Unit<'a> = BTreeMap<&'a str, &'a str>;

/// Those that execute hostrun; none where systemd is not process 1.
///
/// # Errors
/// When it cannot be asked.
pub(super) fn findings() -> io::Result<Vec<Finding>> {
    if !std::path::Path::new("/run/systemd/system").is_dir() {
        return Ok(Vec::new());
    }
    let mut command = Command::new("systemctl");
    command.args(["show", "--all", PROPERTIES, "*.service", "*.target"]);
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("systemctl: {}", why.trim())));
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = Duration::try_from(now).unwrap_or_default();
    Ok(judge_all(&String::from_utf8_lossy(&output.stdout), now))
}

fn judge_all(text: &str, now: Duration) -> Vec<Finding> {
    let units: Vec<Unit<'_>> = text.split("\n\n").map(unit).collect();
    let active: Vec<&str> = units
        .iter()
        .filter(|unit| value(unit, "ActiveState") == "active")
        .map(|unit| value(unit, "Id"))
        .collect();
    let ours = units.iter().filter(|unit| is_ours(unit));
    ours.filter_map(|unit| {
        let (health, reason) = judge(unit, &active, now)?;
        Some(Finding::new("service", value(unit, "Id"), health, &reason))
    })
    .collect()
}

/// Lines `KEY=VALUE`; of a key that comes twice, as `ExecStart=` may, the first counts.
fn unit(text: &str) -> Unit<'_> {
    let mut unit = BTreeMap::new();
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        unit.entry(key).or_insert(value);
    }
    unit
}

fn value<'a>(unit: &Unit<'a>, key: &str) -> &'a str {
    unit.get(key).copied().unwrap_or_default()
}

/// `{ path=/usr/bin/hostrun ; argv[]=/usr/bin/hostrun run … ; …`: a program of ours, and not what asks this very question.
fn is_ours(unit: &Unit<'_>) -> bool {
    let start = value(unit, "ExecStart");
    let program = start
        .strip_prefix("{ path=")
        .and_then(|rest| rest.split(" ; ").next());
    let name = program.and_then(|program| program.rsplit('/').next());
    let verb = start
        .split_once("argv[]=")
        .and_then(|(_, words)| words.split(' ').nth(1));
    matches!(name, Some("hostrun" | "hostrun-units"))
        && !matches!(verb, Some("health" | "fall-back"))
}

/// None for one that need not run.
fn judge(unit: &Unit<'_>, active: &[&str], now: Duration) -> Option<(Health, String)> {
    let (state, sub) = (value(unit, "ActiveState"), value(unit, "SubState"));
    let is_waiting = !matches!(value(unit, "Job"), "" | "0");
    match state {
        "failed" => {
            let (result, code) = (value(unit, "Result"), value(unit, "ExecMainStatus"));
            let code = if result == "exit-code" {
                format!(" {code}")
            } else {
                String::new()
            };
            Some((Health::Unhealthy, format!("it failed: {result}{code}")))
        }
        "active" if is_restless(unit, now) => {
            let times = value(unit, "NRestarts");
            Some((
                Health::Starting,
                format!("it was started anew {times} times"),
            ))
        }
        "active" | "reloading" => Some((Health::Healthy, sub.to_owned())),
        "activating" => Some((Health::Starting, sub.to_owned())),
        "inactive" if is_waiting => Some((Health::Starting, "it waits to be started".to_owned())),
        // Never begun, though something that is up wants it and its conditions hold: what it needs has failed.
        "inactive" if value(unit, "InactiveExitTimestampMonotonic") == "0" => {
            let wants = ["WantedBy", "RequiredBy"].map(|key| value(unit, key).split(' '));
            let is_wanted = wants
                .into_iter()
                .flatten()
                .any(|other| active.contains(&other));
            let is_kept_back = value(unit, "ConditionResult") == "no"
                && value(unit, "ConditionTimestampMonotonic") != "0";
            let reason = "it was not started: what it needs has failed".to_owned();
            (is_wanted && !is_kept_back).then_some((Health::Unhealthy, reason))
        }
        // Stopped, or done.
        _ => None,
    }
}

/// Up again, but who knows for how long.
fn is_restless(unit: &Unit<'_>, now: Duration) -> bool {
    let since = value(unit, "ActiveEnterTimestampMonotonic").parse().ok();
    let since = since.map(Duration::from_micros).unwrap_or_default();
    let is_anew = !matches!(value(unit, "NRestarts"), "" | "0");
    is_anew && now.saturating_sub(since) < PROBATION
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "\
Id=multi-user.target
ActiveState=active

Id=web.service
ExecStart={ path=/usr/bin/hostrun ; argv[]=/usr/bin/hostrun run --rm x health ; ignore_errors=no ; pid=0 }
ActiveState=active
SubState=running

Id=bad.service
Result=exit-code
ExecMainStatus=7
ExecStart={ path=/usr/bin/hostrun ; argv[]=/usr/bin/hostrun run x ; status=0/0 }
ActiveState=failed

Id=killed.service
Result=watchdog
ExecStart={ path=/usr/local/bin/hostrun ; argv[]=/usr/local/bin/hostrun run x ; status=0/0 }
ActiveState=failed

Id=again.service
ExecStart={ path=/usr/bin/hostrun ; argv[]=/usr/bin/hostrun run x ; status=0/0 }
ActiveState=activating
SubState=auto-restart

Id=flaps.service
ExecStart={ path=/usr/bin/hostrun ; argv[]=/usr/bin/hostrun run x ; status=0/0 }
ActiveState=active
SubState=running
NRestarts=3
ActiveEnterTimestampMonotonic=55000000

Id=recovered.service
ExecStart={ path=/usr/bin/hostrun ; argv[]=/usr/bin/hostrun run x ; status=0/0 }
ActiveState=active
SubState=running
NRestarts=3
ActiveEnterTimestampMonotonic=45000000

Id=orphan.service
ExecStart={ path=/usr/bin/hostrun ; argv[]=/usr/bin/hostrun run x ; status=0/0 }
ActiveState=inactive
InactiveExitTimestampMonotonic=0
ConditionResult=no
ConditionTimestampMonotonic=0
WantedBy=multi-user.target

Id=conditioned.service
ExecStart={ path=/usr/bin/hostrun ; argv[]=/usr/bin/hostrun run x ; status=0/0 }
ActiveState=inactive
InactiveExitTimestampMonotonic=0
ConditionResult=no
ConditionTimestampMonotonic=5
WantedBy=multi-user.target

Id=stopped.service
ExecStart={ path=/usr/bin/hostrun ; argv[]=/usr/bin/hostrun run x ; status=0/0 }
ActiveState=inactive
InactiveExitTimestampMonotonic=7
WantedBy=multi-user.target

Id=unwanted.service
ExecStart={ path=/usr/bin/hostrun ; argv[]=/usr/bin/hostrun run x ; status=0/0 }
ActiveState=inactive
InactiveExitTimestampMonotonic=0
WantedBy=graphical.target

Id=hostrun-health.service
ExecStart={ path=/usr/bin/hostrun ; argv[]=/usr/bin/hostrun health --wait ; status=0/0 }
ActiveState=activating

Id=other.service
ExecStart={ path=/usr/bin/nothostrun ; argv[]=/usr/bin/nothostrun run ; status=0/0 }
ActiveState=failed
";

    #[test]
    fn services_of_containers_are_judged_and_no_others() {
        let found = judge_all(SHOWN, Duration::from_mins(1));
        let found: Vec<(&str, Health, &str)> = found
            .iter()
            .map(|one| (one.name.as_str(), one.health, one.reason.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("web.service", Health::Healthy, "running"),
                ("bad.service", Health::Unhealthy, "it failed: exit-code 7"),
                ("killed.service", Health::Unhealthy, "it failed: watchdog"),
                ("again.service", Health::Starting, "auto-restart"),
                (
                    "flaps.service",
                    Health::Starting,
                    "it was started anew 3 times"
                ),
                ("recovered.service", Health::Healthy, "running"),
                (
                    "orphan.service",
                    Health::Unhealthy,
                    "it was not started: what it needs has failed"
                ),
            ]
        );
    }
}
