//! Follows a command from one instruction to the next.

use anyhow::{Result, bail, ensure};
use nix::sys::ptrace::{self, AddressType};
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use nix::unistd::Pid;

use super::wait;

/// What a command executed outside of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Instructions. A string instruction is one, however often it repeats.
    pub instructions: usize,
    /// `CPUID`s among them: each leaves a virtual machine, which costs as much as some thousand others.
    pub cpuids: usize,
}

/// `0f a2`, as read from memory into the low half of a word.
const CPUID: i64 = 0xa20f;

/// Steps from the first instruction of `root` to its end.
pub(super) fn follow(root: Pid) -> Result<Steps> {
    let mut steps = Steps::default();
    loop {
        let at = ptrace::getregs(root)?.rip;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "of the same size on x86-64"
        )]
        let word = ptrace::read(root, at as usize as AddressType).unwrap_or_default();
        steps.instructions += 1;
        steps.cpuids += usize::from(word & 0xffff == CPUID);
        ptrace::step(root, None)?;
        loop {
            match wait(Some(root), WaitPidFlag::empty())? {
                WaitStatus::Stopped(_, nix::sys::signal::Signal::SIGTRAP) => break,
                WaitStatus::Stopped(_, signal) => ptrace::step(root, signal)?,
                WaitStatus::Exited(_, code) => {
                    ensure!(code == 0, "exit code {code}");
                    return Ok(steps);
                }
                WaitStatus::PtraceEvent(_, _, event) => {
                    let task = [
                        ptrace::Event::PTRACE_EVENT_CLONE,
                        ptrace::Event::PTRACE_EVENT_FORK,
                        ptrace::Event::PTRACE_EVENT_VFORK,
                    ];
                    ensure!(
                        task.into_iter().all(|kind| kind as i32 != event),
                        "it starts another task"
                    );
                    ptrace::step(root, None)?;
                }
                other => bail!("not stepped but {other:?}"),
            }
        }
    }
}
