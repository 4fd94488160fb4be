//! What a start and each short verb cost in numbers that do not depend on load: system calls,
//! tasks, programs, page faults, bytes written, waits for the kernel, instructions.
//!
//! The gates are what was counted when they were last set, and a few hundredths more. Who makes
//! one smaller sets it anew.

use std::ffi::OsStr;

use anyhow::{Result, ensure};
use hostrun_integration::trace::{Counts, Trace, is_below};
use hostrun_integration::{Bundle, Stage, elf, host, on_stage};

/// A payload that waits for a signal: `pause(2)`.
const PAUSE: u32 = 34;

/// What a verb may cost.
#[derive(Clone, Copy, Debug)]
struct Gate {
    verb: &'static str,
    calls: usize,
    tasks: usize,
    programs: usize,
    waits: usize,
    /// Of the release build, the shell that became it included: a fifth more may be the kernel's, which
    /// maps more or less around a fault.
    faults: usize,
    /// Names and numbers of a container differ in length: give or take some bytes.
    written: usize,
}

const RUN: Gate = Gate {
    verb: "run",
    calls: 316,
    tasks: 2,
    programs: 2,
    waits: 1,
    faults: 433,
    written: 3805,
};

/// What a verb costs more where the binary must be put out of reach first.
const SEAL: Gate = Gate {
    verb: "sealing",
    calls: 40,
    tasks: 0,
    programs: 1,
    waits: 1,
    faults: 8,
    written: 0,
};

const VERBS: [Gate; 6] = [
    Gate {
        verb: "create",
        calls: 311,
        tasks: 2,
        programs: 1,
        waits: 1,
        faults: 393,
        written: 3806,
    },
    Gate {
        verb: "start",
        calls: 68,
        tasks: 1,
        programs: 1,
        waits: 0,
        faults: 355,
        written: 1,
    },
    Gate {
        verb: "state",
        calls: 47,
        tasks: 1,
        programs: 1,
        waits: 0,
        faults: 330,
        written: 265,
    },
    Gate {
        verb: "exec",
        calls: 170,
        tasks: 3,
        programs: 2,
        waits: 0,
        faults: 407,
        written: 0,
    },
    Gate {
        verb: "kill",
        calls: 44,
        tasks: 1,
        programs: 1,
        waits: 0,
        faults: 349,
        written: 0,
    },
    Gate {
        verb: "delete",
        calls: 56,
        tasks: 1,
        programs: 1,
        waits: 0,
        faults: 357,
        written: 0,
    },
];

/// Instructions of two short verbs of the release build, which make no other task. The others start the
/// same way, and a step takes a hundred times as long as what it counts.
const INSTRUCTIONS: [(&str, usize); 2] = [("state", 234_200), ("kill", 422_100)];

impl Gate {
    fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            tasks: self.tasks + other.tasks,
            programs: self.programs + other.programs,
            waits: self.waits + other.waits,
            faults: self.faults + other.faults,
            written: self.written + other.written,
            ..self
        }
    }

    fn check(self, stage: &Stage, counts: &Counts) -> Result<()> {
        let released = !is_below(stage.runtime().program(), "debug");
        // messages that come one by one on a busy machine are waited for one by one; a build for
        // debugging asks for memory more often
        let calls = self.calls + self.calls / if released { 10 } else { 4 };
        let told = [
            ("system calls", counts.calls, calls),
            ("tasks", counts.tasks, self.tasks),
            ("programs", counts.programs, self.programs),
            ("waits for a grace period", counts.waits.total(), self.waits),
            ("bytes written", counts.written, roughly(self.written) + 8),
            ("page faults", counts.faults, self.faults + self.faults / 5),
        ];
        let too_many: Vec<String> = told
            .into_iter()
            .filter(|(what, ..)| released || *what != "page faults")
            .filter(|(_, counted, most)| counted > most)
            .map(|(what, counted, most)| format!("{counted} {what}, at most {most}"))
            .collect();
        ensure!(
            too_many.is_empty(),
            "{}: {}\n{counts:?}",
            self.verb,
            too_many.join("; ")
        );
        Ok(())
    }
}

/// Three hundredths more.
fn roughly(number: usize) -> usize {
    number + (number * 3).div_ceil(100)
}

/// Where the runtime's binary is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On a read-only mount, as on a host whose /usr is.
    ReadOnly,
    /// Where root may write to it.
    Writable,
}

/// A call of the runtime that can be counted.
fn trace(stage: &Stage, place: Place, words: &[&str]) -> Trace {
    const READ_ONLY: &str = "mount --bind $0 $0 && mount -o remount,bind,ro $0 && exec \"$@\"";
    let program = stage.runtime().program();
    let (root, store) = (stage.root(), stage.store());
    let mut all = vec![program.as_os_str(), OsStr::new("--root"), root.as_os_str()];
    if stage.runtime().is_hostrun() {
        all.extend([OsStr::new("--store"), store.as_os_str()]);
    }
    all.extend(words.iter().map(OsStr::new));
    let there = ["unshare", "--mount", "sh", "-c", READ_ONLY].map(OsStr::new);
    let there = there.into_iter().chain([program.as_os_str()]);
    Trace::of(all).after(there.filter(|_| place == Place::ReadOnly))
}

fn bundle(stage: &Stage, payload: &[u8]) -> Result<Bundle> {
    let bundle = stage.bundle()?;
    bundle
        .file("/bin/nothing", 0o755, &elf::exit(0))?
        .file("/bin/payload", 0o755, payload)
        .map(|bundle| bundle.args(&["/bin/payload"]))
}

/// Runs a payload of one system call and counts.
fn run(stage: &Stage, place: Place) -> Result<Counts> {
    let bundle = bundle(stage, &elf::exit(0))?;
    let dir = bundle.write()?.to_string_lossy().into_owned();
    trace(stage, place, &["run", "--bundle", &dir, &stage.id()]).count()
}

/// The words of a verb for a container.
fn words<'a>(verb: &'a str, id: &'a str, dir: &'a str) -> Vec<&'a str> {
    match verb {
        "create" => vec![verb, "--bundle", dir, id],
        "exec" => vec![verb, id, "/bin/nothing"],
        "kill" => vec![verb, id, "KILL"],
        _ => vec![verb, id],
    }
}

/// One life of a container, each verb handed to `measure`.
fn life(stage: &Stage, mut measure: impl FnMut(&str, Trace) -> Result<()>) -> Result<()> {
    let bundle = bundle(stage, &elf::system_call(PAUSE, [0; 3]))?;
    let dir = bundle.write()?.to_string_lossy().into_owned();
    let id = stage.id();
    for gate in VERBS {
        let trace = trace(stage, Place::ReadOnly, &words(gate.verb, &id, &dir));
        measure(gate.verb, trace)?;
        if gate.verb == "kill" {
            host::wait_for("a container that stopped", || {
                let state = stage.call(["state", &id]).run();
                state.is_ok_and(|state| state.stdout().contains("stopped"))
            })?;
        }
    }
    Ok(())
}

#[test]
fn a_start_is_one_clone_no_re_execution_and_few_system_calls() -> Result<()> {
    on_stage(|stage| {
        let counts = run(stage, Place::ReadOnly)?;
        if stage.runtime().is_runc() {
            // the oracle shows that the counter counts: runc starts itself again, with many threads
            ensure!(
                counts.programs >= 3 && counts.tasks > 4 && counts.calls > 1000,
                "{counts:?}"
            );
            return Ok(());
        }
        ensure!(counts.clone3 == 1, "not one clone3: {counts:?}");
        RUN.check(stage, &counts)
    })
}

#[test]
fn a_binary_that_could_be_written_to_is_executed_anew_once_and_not_copied() -> Result<()> {
    on_stage(|stage| {
        if stage.runtime().is_runc() {
            return Ok(());
        }
        let counts = run(stage, Place::Writable)?;
        ensure!(counts.clone3 == 1, "not one clone3: {counts:?}");
        RUN.plus(SEAL).check(stage, &counts)
    })
}

#[test]
fn every_verb_of_a_life_stays_within_what_it_may_cost() -> Result<()> {
    on_stage(|stage| {
        let mut gates = VERBS.into_iter();
        let mut broken = Vec::new();
        life(stage, |verb, trace| {
            let counts = trace.count()?;
            let gate = gates.next().filter(|gate| gate.verb == verb);
            if stage.runtime().is_runc() {
                ensure!(counts.tasks > 2, "runc has threads: {verb} {counts:?}");
            } else if let Some(Err(error)) = gate.map(|gate| gate.check(stage, &counts)) {
                broken.push(format!("{error}"));
            }
            Ok(())
        })?;
        ensure!(broken.is_empty(), "{}", broken.join("\n"));
        Ok(())
    })
}

#[test]
fn short_verbs_are_few_instructions_and_never_ask_the_processor_what_it_is() -> Result<()> {
    let name = "short_verbs_are_few_instructions_and_never_ask_the_processor_what_it_is";
    on_stage(|stage| {
        let program = stage.runtime().program();
        if stage.runtime().is_runc() {
            return host::skip(name, "not on runc: it has threads");
        }
        if is_below(program, "debug") {
            return host::skip(name, "built for debugging");
        }
        let mut broken = Vec::new();
        life(stage, |verb, trace| {
            let Some((_, most)) = INSTRUCTIONS.into_iter().find(|(name, _)| *name == verb) else {
                return trace.count().map(drop);
            };
            let steps = trace.step()?;
            // paths and numbers are longer on another machine, and every byte of them is an instruction
            let most = most + most / 10;
            if steps.instructions > most || steps.cpuids > 0 {
                broken.push(format!("{verb}: {steps:?}, at most {most}"));
            }
            Ok(())
        })?;
        ensure!(broken.is_empty(), "{}", broken.join("\n"));
        Ok(())
    })
}
