//! What a measurement depends on and a reader cannot see.

use crate::case::Bench;
use rustix::time::{ClockId, clock_getres};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;

/// The machine, and who is measured on it.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    facts: Vec<(&'static str, String)>,
    subjects: Vec<[String; 4]>,
}

fn read(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

/// The kernel's tick, by the resolution of its coarse clock.
fn hertz() -> i64 {
    let tick = clock_getres(ClockId::MonotonicCoarse).tv_nsec;
    1_000_000_000 / tick.max(1)
}

/// What the kernel does against flaws of the processor, if anything.
fn mitigations() -> String {
    let folder = fs::read_dir("/sys/devices/system/cpu/vulnerabilities");
    let mut names: Vec<String> = folder
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            fs::read_to_string(entry.path()).is_ok_and(|text| text.starts_with("Mitigation"))
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}

fn processor() -> String {
    let text = read("/proc/cpuinfo");
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown", |(_, model)| model);
    let count = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{count} x {model}")
}

/// How many cgroups there are in the trees of this machine, by the first controller that counts.
fn cgroups() -> String {
    let text = read("/proc/cgroups");
    let counts = text.lines().filter(|line| !line.starts_with('#'));
    let counts = counts.filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    counts.max().unwrap_or(0).to_string()
}

impl Environment {
    pub(crate) fn of(bench: &Bench) -> Environment {
        let fifo = if bench.spawner.fifo {
            "SCHED_FIFO 1"
        } else {
            "not allowed to use SCHED_FIFO: other work disturbs"
        };
        let facts = vec![
            ("kernel", read("/proc/sys/kernel/osrelease")),
            ("processors", processor()),
            ("ticks a second", hertz().to_string()),
            ("rcu_expedited", read("/sys/kernel/rcu_expedited")),
            ("mitigations", mitigations()),
            ("a CPUID", format!("{} ns", bench.spawner.cpuid_ns)),
            (
                "mounts",
                read("/proc/self/mountinfo").lines().count().to_string(),
            ),
            ("cgroups", cgroups()),
            ("load", read("/proc/loadavg")),
            ("scheduling", fifo.to_owned()),
            ("rounds", bench.extent.rounds.to_string()),
        ];
        let subjects = bench.subjects.iter().map(|subject| {
            let size = fs::metadata(&subject.program).map_or(0, |meta| meta.len());
            [
                subject.name.clone(),
                subject.version(),
                subject.libc(),
                format!("{} KiB", size / 1024),
            ]
        });
        Environment {
            facts,
            subjects: subjects.collect(),
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.facts {
            writeln!(text, "{name:<15} {value}").unwrap_or_default();
        }
        for [name, version, libc, size] in &self.subjects {
            writeln!(text, "{name:<15} {version}; {libc}; {size}").unwrap_or_default();
        }
        text
    }

    /// In a line.
    pub(crate) fn caption(&self) -> String {
        let fact = |name: &str| {
            let fact = self.facts.iter().find(|(fact, _)| *fact == name);
            fact.map_or("", |(_, value)| value.as_str())
        };
        let subjects = self
            .subjects
            .iter()
            .map(|[_, version, ..]| version.as_str());
        let subjects = subjects.collect::<Vec<_>>().join(", ");
        let (kernel, processors) = (fact("kernel"), fact("processors"));
        let rounds = fact("rounds");
        format!("Linux {kernel}, {processors}, {rounds} rounds; {subjects}")
    }

    /// For other programs.
    pub(crate) fn json(&self) -> Value {
        let facts = self.facts.iter();
        let facts: serde_json::Map<_, _> = facts
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let subjects = self.subjects.iter();
        let subjects: Vec<Value> = subjects
            .map(|[name, version, libc, size]| {
                json!({"name": name, "version": version, "libc": libc, "size": size})
            })
            .collect();
        json!({"machine": facts, "subjects": subjects})
    }
}
