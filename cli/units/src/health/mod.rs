//! `hostrun health`: what is healthy and what is not.
//!
//! Nobody watches containers. A check is carried out by whoever asks, again and again until it passes or has failed as
//! often as it may.

mod asking;
mod check;
mod probe;
mod report;
mod services;

use asking::{Container, Hostrun, Life};
use check::Check;
use report::{Finding, Health};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often whoever waits looks again, at most.
const PACE: Duration = Duration::from_secs(1);

/// How long checks are carried out again, at most, where nobody says how long to wait: a container that is started anew
/// with each failure begins anew each time.
const PATIENCE: Duration = Duration::from_mins(5);

/// How many checks are carried out at a time.
const AT_A_TIME: usize = 8;

/// What is asked.
#[derive(Debug)]
pub struct Question {
    hostrun: Hostrun,
    wait: Option<Duration>,
    json: bool,
    names: Vec<String>,
    /// Where Quadlet's files are, and what services call.
    quadlet: (Vec<PathBuf>, PathBuf),
}

/// What is known of a container from earlier looks.
#[derive(Debug)]
struct Memory {
    /// In a row.
    failures: u32,
    /// How many are enough.
    retries: u32,
    looked: Option<Instant>,
    /// Why the last check failed.
    failure: Option<String>,
}

impl Question {
    /// Out of the words that hostrun hands over: its own path, options, and names behind `--`. Files of Quadlet's in these
    /// directories become services that call what is below `prefix`.
    #[must_use]
    pub fn read(words: &[OsString], from: Vec<PathBuf>, prefix: &Path) -> Option<Question> {
        let mut words = words.iter();
        let mut question = Question {
            hostrun: Hostrun {
                program: words.next()?.clone(),
                root: OsString::new(),
                options: Vec::new(),
            },
            wait: None,
            json: false,
            names: Vec::new(),
            quadlet: (from, prefix.to_owned()),
        };
        while let Some(word) = words.next() {
            match word.to_str()? {
                "--" => {
                    let names: Option<Vec<&str>> =
                        words.by_ref().map(|name| name.to_str()).collect();
                    question.names = names?.into_iter().map(str::to_owned).collect();
                }
                "--json" => question.json = true,
                "--root" => question.hostrun.root.clone_from(words.next()?),
                "--store" | "--system-store" => {
                    let option = [word.clone(), words.next()?.clone()];
                    question.hostrun.options.extend(option);
                }
                option => {
                    let seconds = option.strip_prefix("--wait=")?.parse().ok()?;
                    question.wait = Some(Duration::from_secs(seconds));
                }
            }
        }
        Some(question)
    }

    /// Looks, waits if that is asked for, and tells; whether all is well.
    ///
    /// # Errors
    /// When hostrun or systemd cannot be asked, or nobody reads the answer.
    pub fn answer(&self) -> io::Result<bool> {
        let deadline = Instant::now() + self.wait.unwrap_or(PATIENCE);
        let mut memories = BTreeMap::new();
        let findings = loop {
            let findings = self.look(&mut memories, deadline)?;
            let is = |health| move |finding: &Finding| finding.health == health;
            let is_over = Instant::now() >= deadline;
            let is_open = findings.iter().any(is(Health::Starting));
            if is_over || !is_open || findings.iter().any(is(Health::Unhealthy)) {
                break findings;
            }
            // Without --wait only checks are carried out again, as often as they may fail.
            if self.wait.is_none() && memories.values().all(Memory::is_decided) {
                break findings;
            }
            std::thread::sleep(PACE);
        };
        let text = if self.json {
            report::json(&findings)
        } else {
            report::table(&findings)
        };
        io::stdout().write_all(text.as_bytes())?;
        Ok(findings
            .iter()
            .all(|finding| finding.health == Health::Healthy))
    }

    fn look(
        &self,
        memories: &mut BTreeMap<String, Memory>,
        deadline: Instant,
    ) -> io::Result<Vec<Finding>> {
        let mut findings = Vec::new();
        if self.names.is_empty() {
            let (from, prefix) = &self.quadlet;
            let wrong = crate::problems(from, prefix).into_iter();
            findings.extend(wrong.map(|problem| {
                let name = problem.file.display().to_string();
                let line = match problem.line {
                    0 => problem.message,
                    line => format!("line {line}: {}", problem.message),
                };
                Finding::new("file", &name, Health::Unhealthy, &line)
            }));
            findings.extend(services::findings()?);
        }
        let containers = self.hostrun.containers(&self.names)?;
        // One that has ended, or was replaced by another of its name, decides nothing any more.
        let all = containers
            .iter()
            .filter_map(|(_, container)| container.as_ref());
        let ids: Vec<&str> = all.map(|container| container.id.as_str()).collect();
        memories.retain(|id, _| ids.contains(&id.as_str()));
        self.probe_all(&containers, memories, deadline);
        for (asked, container) in &containers {
            findings.push(match container {
                Some(container) => self.judge(container, memories.get(&container.id)),
                None => self.missing(asked),
            });
        }
        Ok(findings)
    }

    /// Carries out all checks that are due, a few at a time.
    fn probe_all(
        &self,
        containers: &[(String, Option<Container>)],
        memories: &mut BTreeMap<String, Memory>,
        deadline: Instant,
    ) {
        let running = containers
            .iter()
            .filter_map(|(_, container)| container.as_ref());
        let checked = running.filter_map(|container| match (&container.life, &container.check) {
            (Life::Running(_), Ok(Some(check))) => Some((container, check)),
            _ => None,
        });
        let due: Vec<(&Container, &Check)> = checked
            .filter(|(container, check)| {
                memories
                    .get(&container.id)
                    .is_none_or(|memory| memory.is_due(check))
            })
            .collect();
        for some in due.chunks(AT_A_TIME) {
            let results = self.probe_some(some, deadline);
            for ((container, check), result) in some.iter().zip(results) {
                memories
                    .entry(container.id.clone())
                    .or_insert_with(|| Memory::new(check))
                    .note(result);
            }
        }
    }

    /// Carries out some checks at the same time.
    fn probe_some(
        &self,
        some: &[(&Container, &Check)],
        deadline: Instant,
    ) -> Vec<Result<(), String>> {
        let probe = |container: &Container, check: &Check| {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = check.timeout.min(left.max(PACE));
            probe::probe(&self.hostrun, &container.id, &check.command, timeout)
        };
        std::thread::scope(|scope| {
            let threads = some.iter();
            let threads: Vec<_> = threads
                .map(|(container, check)| scope.spawn(move || probe(container, check)))
                .collect();
            let results = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
            results
                .map(|result| result.unwrap_or_else(|_| Err("cannot be carried out".to_owned())))
                .collect()
        })
    }

    /// One that is waited for may be in the making, unless who makes it has ended: systemd tells what it runs after a
    /// service's start which process that is (systemd.service(5), `ExecStartPost=`).
    fn missing(&self, asked: &str) -> Finding {
        let maker = std::env::var_os("MAINPID").filter(|pid| !pid.is_empty());
        let has_ended = maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists());
        let (health, reason) = match self.wait {
            Some(_) if has_ended => (
                Health::Unhealthy,
                "there is no such container, and its service has ended",
            ),
            Some(_) => (Health::Starting, "there is no such container"),
            None => (Health::Unhealthy, "there is no such container"),
        };
        Finding::new("container", asked, health, reason)
    }

    fn judge(&self, container: &Container, memory: Option<&Memory>) -> Finding {
        let (health, reason) = match (&container.life, &container.check, memory) {
            (Life::Created, ..) => {
                let reason = "it was not started";
                return Finding {
                    reason: reason.to_owned(),
                    ..self.missing(&container.name)
                };
            }
            (Life::Paused, ..) => (Health::Unhealthy, "it is paused".to_owned()),
            (Life::Ended(why), ..) | (_, Err(why), _) => (Health::Unhealthy, why.clone()),
            (_, Ok(None), _) => (Health::Healthy, "it runs; there is no check".to_owned()),
            (_, Ok(Some(_)), None) => {
                (Health::Starting, "its check was not carried out".to_owned())
            }
            (Life::Running(age), Ok(Some(check)), Some(memory)) => {
                memory.judge(check, *age, self.wait.is_some())
            }
        };
        Finding::new("container", &container.name, health, &reason)
    }
}

impl Memory {
    fn new(check: &Check) -> Memory {
        Memory {
            failures: 0,
            retries: check.retries,
            looked: None,
            failure: None,
        }
    }

    fn note(&mut self, result: Result<(), String>) {
        self.looked = Some(Instant::now());
        self.failures = if result.is_ok() {
            0
        } else {
            self.failures.saturating_add(1)
        };
        self.failure = result.err();
    }

    /// It has passed, or failed as often as it may.
    fn is_decided(&self) -> bool {
        self.failures == 0 || self.failures >= self.retries
    }

    /// What has passed is asked again when its interval is over, what has failed sooner.
    fn is_due(&self, check: &Check) -> bool {
        let after = if self.failures == 0 {
            check.interval
        } else {
            PACE.min(check.interval)
        };
        self.looked.is_none_or(|looked| looked.elapsed() >= after)
    }

    /// One that is waited for may fail for as long as engines would let it.
    fn judge(&self, check: &Check, age: Duration, waiting: bool) -> (Health, String) {
        let Some(failure) = &self.failure else {
            return (Health::Healthy, "it passes its check".to_owned());
        };
        let reason = format!("it fails its check: {failure}");
        let tries = check.retries.saturating_sub(1);
        let patience = check.interval.saturating_mul(tries);
        let patience = patience.saturating_add(check.start_period);
        let enough = self.is_decided();
        let health = match waiting {
            true if enough && age >= patience => Health::Unhealthy,
            false if enough && age >= check.start_period => Health::Unhealthy,
            _ => Health::Starting,
        };
        (health, reason)
    }
}
