//! What hostrun says of its containers.

use super::check::Check;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The program, and the options before its verbs.
#[derive(Clone, Debug)]
pub(super) struct Hostrun {
    pub(super) program: OsString,
    pub(super) root: OsString,
    pub(super) options: Vec<OsString>,
}

/// A container.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) life: Life,
    /// Why there is none where one is not understood.
    pub(super) check: Result<Option<Check>, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// How long its first process has run.
    Running(Duration),
    Paused,
    /// Made, but not started.
    Created,
    /// Ended, and how.
    Ended(String),
}

impl Hostrun {
    /// A call of a verb.
    pub(super) fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root);
        command.args(&self.options).args(words);
        command
    }

    /// What a verb prints; its exit code is no matter, what it complains of is not ours to say.
    fn ask(&self, words: &[&str]) -> io::Result<Value> {
        let output = self
            .command(words)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()?;
        serde_json::from_slice(&output.stdout).map_err(|error| {
            io::Error::other(format!(
                "'hostrun {}' is not understood: {error}",
                words.join(" ")
            ))
        })
    }

    /// Those of these names; without any, those that run.
    pub(super) fn containers(
        &self,
        names: &[String],
    ) -> io::Result<Vec<(String, Option<Container>)>> {
        // A place that is not there holds none, and is not made by looking.
        let there = std::path::Path::new(&self.root).exists();
        let states = if there {
            self.ask(&["list", "--format", "json"])?
        } else {
            Value::Null
        };
        let states: BTreeMap<&str, &Value> = states
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|state| Some((state.get("id")?.as_str()?, state)))
            .collect();
        let mut found = Vec::new();
        let all: Vec<String> = match names {
            [] => states
                .iter()
                .filter(|(_, state)| matches!(text(state, "status"), "running" | "paused"))
                .map(|(id, _)| (*id).to_owned())
                .collect(),
            names => names.to_vec(),
        };
        for name in all {
            let container = self.container(&name, &states)?;
            // One that has ended since is none that runs.
            if !names.is_empty() || container.is_some() {
                found.push((name, container));
            }
        }
        Ok(found)
    }

    fn container(
        &self,
        name: &str,
        states: &BTreeMap<&str, &Value>,
    ) -> io::Result<Option<Container>> {
        let described = self.ask(&["inspect", "--", name])?;
        let Some(value) = described
            .get(0)
            .filter(|value| text(value, "kind") == "container")
        else {
            return Ok(None);
        };
        let id = text(value, "id").to_owned();
        let named = Some(text(value, "name")).filter(|name| !name.is_empty());
        let short = id
            .get(..12)
            .filter(|_| id.len() == 64)
            .unwrap_or(&id)
            .to_owned();
        let life = life(value, states.get(id.as_str()).copied());
        let check = match (&life, value.get("imageId").and_then(Value::as_str)) {
            (Life::Running(_), Some(image)) => self.check(value, image),
            _ => Ok(None),
        };
        Ok(Some(Container {
            name: named.map_or(short, str::to_owned),
            id,
            life,
            check,
        }))
    }

    fn check(&self, container: &Value, image: &str) -> Result<Option<Check>, String> {
        let own = container.get("healthcheck").unwrap_or(&Value::Null);
        // What is said in whole needs no image.
        if own.pointer("/Test/0").and_then(Value::as_str) == Some("NONE") {
            return Ok(None);
        }
        let described = self
            .ask(&["inspect", "--", image])
            .map_err(|error| error.to_string())?;
        let image = described.get(0).and_then(|image| image.get("config"));
        let image = image.ok_or("its image cannot be read")?;
        Check::read(
            own,
            image.pointer("/config/Healthcheck").unwrap_or(&Value::Null),
        )
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn life(container: &Value, listed: Option<&Value>) -> Life {
    if listed.is_some_and(|listed| text(listed, "status") == "paused") {
        return Life::Paused;
    }
    let state = container.get("state").unwrap_or(&Value::Null);
    let number = |key| state.get(key).and_then(Value::as_i64);
    match (
        text(state, "status"),
        text(state, "error"),
        number("exitCode"),
    ) {
        ("running", ..) => Life::Running(number("pid").and_then(age).unwrap_or_default()),
        ("created", ..) => Life::Created,
        (_, "", Some(code)) => Life::Ended(format!("it ended with exit code {code}")),
        (_, "", None) => Life::Ended("it does not run".to_owned()),
        (_, error, _) => Life::Ended(format!("it ended: {error}")),
    }
}

/// How long a process has run: its start is told in ticks since boot, of which there are 100 a second (proc(5)).
fn age(pid: i64) -> Option<Duration> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // Field 22, and the third stands first behind the name.
    let ticks: u64 = stat
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let uptime = Duration::try_from_secs_f64(uptime).ok()?;
    Some(uptime.saturating_sub(Duration::from_millis(ticks.saturating_mul(10))))
}
