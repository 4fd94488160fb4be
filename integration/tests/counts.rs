//! What a start costs in system calls, processes and programs: numbers that do not depend on load.

use std::fs;

use anyhow::{Result, ensure};
use hostrun_integration::{Stage, elf, on_stage};

/// A start may make this many system calls altogether: the runtime's and the container's.
const MOST_SYSTEM_CALLS: usize = 400;

/// Many more may be made where the binary must be put out of reach first.
const MOST_TO_SEAL: usize = 45;

#[derive(Debug, Default)]
struct Counts {
    calls: usize,
    tasks: usize,
    programs: usize,
    clone3: usize,
}

/// Where the runtime's binary is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On a read-only mount, as on a host whose /usr is.
    ReadOnly,
    /// Where root may write to it.
    Writable,
}

/// Runs a payload of one system call under strace and counts.
fn count(stage: &Stage, place: Place) -> Result<Counts> {
    let bundle = stage
        .bundle()?
        .file("/bin/nothing", 0o755, &elf::exit(0))?
        .args(&["/bin/nothing"]);
    let trace = stage.dir().join("trace");
    let call = stage.run_call(&bundle)?;
    let path = trace.to_string_lossy().into_owned();
    let strace = ["strace", "-f", "-qq", "-s", "16", "-o", &path];
    let program = stage.runtime().program().to_string_lossy().into_owned();
    let readonly = "mount --bind $0 $0 && mount -o remount,bind,ro $0 && exec \"$@\"";
    let there = ["unshare", "--mount", "sh", "-c", readonly, &program];
    let words = there.into_iter().filter(|_| place == Place::ReadOnly);
    let out = call.under(words.chain(strace)).run()?;
    out.ok()?;
    let text = fs::read_to_string(&trace)?;
    let mut counts = Counts {
        tasks: 1,
        ..Counts::default()
    };
    for line in text.lines() {
        // "PID name(arguments) = result"; a call cut in two ends in a line of its own
        let (_, call) = line.trim_start().split_once(' ').unwrap_or_default();
        let call = call.trim_start();
        let failed = call.contains(" = -1 ");
        let resumed = call
            .strip_prefix("<... ")
            .and_then(|rest| rest.split_once(' '));
        let name = resumed.map_or_else(
            || call.split('(').next().unwrap_or_default(),
            |(name, _)| name,
        );
        let begins = resumed.is_none() && !call.starts_with("+++") && !call.starts_with("---");
        let ends = begins != call.ends_with("<unfinished ...>") || resumed.is_some();
        counts.calls += usize::from(begins);
        let made_task = matches!(name, "clone" | "clone3" | "fork" | "vfork");
        counts.tasks += usize::from(made_task && ends && !failed);
        counts.clone3 += usize::from(name == "clone3" && begins);
        counts.programs += usize::from(name.starts_with("execve") && ends && !failed);
    }
    Ok(counts)
}

#[test]
fn a_start_is_one_clone_no_re_execution_and_few_system_calls() -> Result<()> {
    on_stage(|stage| {
        let counts = count(stage, Place::ReadOnly)?;
        if stage.runtime().is_runc() {
            // the oracle shows that the counter counts: runc starts itself again, with many threads
            ensure!(
                counts.programs >= 3 && counts.tasks > 4 && counts.calls > 1000,
                "{counts:?}"
            );
            return Ok(());
        }
        ensure!(
            counts.clone3 == 1 && counts.tasks == 2,
            "not one clone3: {counts:?}"
        );
        ensure!(
            counts.programs == 2,
            "hostrun and the payload, nothing else: {counts:?}"
        );
        ensure!(
            counts.calls <= MOST_SYSTEM_CALLS,
            "more than {MOST_SYSTEM_CALLS}: {counts:?}"
        );
        Ok(())
    })
}

#[test]
fn a_binary_that_could_be_written_to_is_executed_anew_once_and_not_copied() -> Result<()> {
    on_stage(|stage| {
        if stage.runtime().is_runc() {
            return Ok(());
        }
        let counts = count(stage, Place::Writable)?;
        ensure!(
            counts.clone3 == 1 && counts.tasks == 2 && counts.programs == 3,
            "{counts:?}"
        );
        ensure!(
            counts.calls <= MOST_SYSTEM_CALLS + MOST_TO_SEAL,
            "more than {MOST_TO_SEAL} to seal: {counts:?}"
        );
        Ok(())
    })
}
