//! Compares foreground runs of hostrun with those of the runtimes found on this machine: every
//! round runs each of them once, in random order, so that noise meets all alike.
//!
//! `benches [ROUNDS]`, with `HOSTRUN_BINARY` naming the binary; started by `make bench` in a mount
//! namespace of its own.

mod subject;
mod table;

use anyhow::{Context as _, Result};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use subject::Subject;

const ROUNDS: usize = 100;

fn main() -> Result<()> {
    let rounds = match std::env::args().nth(1) {
        Some(text) => text.parse().context("the number of rounds")?,
        None => ROUNDS,
    };
    // Memory, not a disk: state on a disk would measure the disk.
    let scratch = tempfile::Builder::new()
        .prefix("hostrun-bench-")
        .tempdir_in("/dev/shm")?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", environment())?;
    let mut subjects = Vec::new();
    for (name, program) in programs() {
        let mut subject = Subject::new(&name, &program, scratch.path())?;
        // The first run is not measured; it tells whether this runtime works here at all.
        match subject.run(false) {
            Ok(_) => subjects.push(subject),
            Err(error) => writeln!(out, "{name} is left out: {error:#}")?,
        }
    }
    for (title, seccomp) in [("run", false), ("run with a seccomp filter", true)] {
        let samples = measure(&mut subjects, seccomp, rounds)?;
        writeln!(out, "\n{}", table::print(title, &samples))?;
    }
    hostrun_integration::cgroup::remove(&subject::cgroup())
}

fn programs() -> Vec<(String, PathBuf)> {
    let own = std::env::var_os("HOSTRUN_BINARY")
        .map(PathBuf::from)
        .or_else(|| subject::find("hostrun"));
    let own = own.map(|program| ("hostrun".to_owned(), program));
    let others = ["crun", "youki", "runc"].into_iter();
    own.into_iter()
        .chain(others.filter_map(|name| Some((name.to_owned(), subject::find(name)?))))
        .collect()
}

fn measure(
    subjects: &mut [Subject],
    seccomp: bool,
    rounds: usize,
) -> Result<Vec<(String, Vec<Duration>)>> {
    let empty = |subject: &Subject| (subject.name.clone(), Vec::with_capacity(rounds));
    let mut samples: Vec<(String, Vec<Duration>)> = subjects.iter().map(empty).collect();
    let mut order: Vec<usize> = (0..subjects.len()).collect();
    let mut random = Random::new();
    for _ in 0..rounds {
        random.shuffle(&mut order);
        for index in &order {
            if let (Some(subject), Some((_, times))) =
                (subjects.get_mut(*index), samples.get_mut(*index))
            {
                times.push(subject.run(seccomp)?);
            }
        }
    }
    Ok(samples)
}

/// Xorshift: an order nobody can predict is not needed, only one that varies.
struct Random(u64);

impl Random {
    fn new() -> Random {
        Random(u64::from(std::process::id()) << 17 | 0x9e37)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    fn shuffle(&mut self, items: &mut [usize]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

fn environment() -> String {
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "kernel {}, {processors} processors, load {}, rcu_expedited {}, {} mounts",
        read("/proc/sys/kernel/osrelease"),
        read("/proc/loadavg"),
        read("/sys/kernel/rcu_expedited"),
        read("/proc/self/mountinfo").lines().count(),
    )
}
