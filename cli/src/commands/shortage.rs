//! An end for want of memory, in words. A process that the kernel kills for it ends as if somebody had sent it
//! SIGKILL; only its cgroup, until that is removed, tells the difference.

use crate::globals::Globals;
use crate::report::{Failure, Told};
use hostrun_runtime::{ContainerId, Exit};

/// How a process that was killed ends, as shells count. A shell that waited for one ends so, too.
const KILLED: u8 = 128 + 9;

/// What to say of an end that may have been one for want of memory. Nothing is asked after any other, and nothing is
/// said where its cgroup cannot tell.
pub(in crate::commands) fn of(globals: &Globals, id: &str, exit: Exit) -> Option<Told> {
    if exit.status() != KILLED {
        return None;
    }
    let container = globals
        .runtime()
        .ok()?
        .container(&ContainerId::new(id).ok()?);
    let memory = container
        .and_then(|container| container.stats())
        .ok()?
        .memory?;
    let event = |name: &str| memory.events.get(name).copied().unwrap_or(0);
    if event("oom_kill") == 0 {
        return None;
    }
    // The kernel counts `oom` where the limit is, and the kill where the process was.
    let (whose, hint) = match memory.max.filter(|_| event("oom") > 0) {
        Some(max) => (
            format!("its limit is {}", size(max)),
            "give it more by --memory; 'hostrun events --stats' shows what one uses",
        ),
        None => (
            "not at a limit of its own".to_owned(),
            "the host, or the slice or service it runs in, had no more to give",
        ),
    };
    let message = format!(
        "container {}: the kernel killed a process of it for want of memory: {whose}",
        super::ps::short(id, false)
    );
    let failure = Failure::new(message).hint(hint).code(KILLED);
    Some(Told::of(&failure.into()))
}

/// As `--memory` takes it.
fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes.is_multiple_of(MIB) {
        format!("{} MiB", bytes / MIB)
    } else {
        format!("{bytes} bytes")
    }
}
