//! Follows a command and all it starts from one system call to the next.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::thread::sleep;
use std::time::Instant;

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::libc::{self, c_long, user_regs_struct};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use nix::unistd::Pid;

use super::{Counts, Event, REST, wait};

/// The flag that makes `open_tree(2)` return a mount nobody has attached.
const OPEN_TREE_CLONE: u64 = 1;

/// The flag that makes `move_mount(2)` attach what a descriptor stands for.
const MOVE_MOUNT_F_EMPTY_PATH: u64 = 4;

/// A call that a task is in.
#[derive(Clone, Copy, Debug)]
struct Begun {
    number: c_long,
    args: [u64; 5],
}

/// What is known of the tasks while they run.
#[derive(Debug, Default)]
struct Tally {
    counts: Counts,
    inside: HashMap<Pid, Begun>,
    /// Descriptors of files a write to which moves processes, by task.
    movers: HashSet<(Pid, u64)>,
    made: usize,
    attached: usize,
    root: Option<Pid>,
}

/// Counts from the first instruction of `root`.
pub(super) fn follow(root: Pid) -> Result<Counts> {
    let mut tally = Tally {
        root: Some(root),
        ..Tally::default()
    };
    tally.counts.tasks = 1;
    tally.counts.programs = 1;
    let mut alive = 1_usize;
    let mut status = None;
    // a call has begun that executed the command: it counts, and its end is the next stop
    tally.counts.calls = 1;
    let execve = Begun {
        number: libc::SYS_execve,
        args: [0; 5],
    };
    tally.inside.insert(root, execve);
    go_on(root, None)?;
    while alive > 0 {
        let news = match status {
            None => wait(None, WaitPidFlag::empty())?,
            Some(_) => match rest()? {
                Some(news) => news,
                None => break,
            },
        };
        match news {
            WaitStatus::Exited(pid, code) => {
                alive -= 1;
                status = if pid == root { Some(code) } else { status };
            }
            WaitStatus::Signaled(pid, signal, _) => {
                alive -= 1;
                ensure!(pid != root, "ended by {signal}");
            }
            WaitStatus::PtraceSyscall(pid) => {
                tally.stop(pid)?;
                go_on(pid, None)?;
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                alive += tally.event(pid, event);
                go_on(pid, None)?;
            }
            WaitStatus::Stopped(pid, signal) => go_on(pid, signal)?,
            WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
    }
    ensure!(status == Some(0), "exit code {status:?}");
    tally.counts.waits.dissolved = tally.made.saturating_sub(tally.attached);
    Ok(tally.counts)
}

/// Lets a task run to its next stop. One that another thread ended meanwhile is told of by its end.
pub(super) fn go_on(pid: Pid, signal: impl Into<Option<Signal>>) -> Result<()> {
    match ptrace::syscall(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The next news of what is left when the command has ended, if it comes soon.
pub(super) fn rest() -> Result<Option<WaitStatus>> {
    let end = Instant::now() + REST;
    while Instant::now() < end {
        match wait(None, WaitPidFlag::WNOHANG)? {
            WaitStatus::StillAlive => sleep(REST / 50),
            news => return Ok(Some(news)),
        }
    }
    Ok(None)
}

/// Whether an event says that a task has another one made.
pub(super) fn is_birth(event: i32) -> bool {
    let made = [
        ptrace::Event::PTRACE_EVENT_CLONE,
        ptrace::Event::PTRACE_EVENT_FORK,
        ptrace::Event::PTRACE_EVENT_VFORK,
    ];
    made.into_iter().any(|kind| kind as i32 == event)
}

impl Tally {
    /// How many tasks more there are.
    fn event(&mut self, pid: Pid, event: i32) -> usize {
        if event == Event::Exec as i32 {
            self.counts.programs += 1;
            self.movers.retain(|(task, _)| *task != pid);
        } else if event == Event::Exit as i32 {
            self.counts.faults += faults(pid);
            if self.root == Some(pid) {
                self.counts.peak = peak(pid);
            }
        } else if is_birth(event) {
            self.counts.tasks += 1;
            return 1;
        }
        0
    }

    /// A task begins a call or returns from one.
    fn stop(&mut self, pid: Pid) -> Result<()> {
        let registers = match ptrace::getregs(pid) {
            // ended by another thread while it stood still
            Err(Errno::ESRCH) => return Ok(()),
            registers => registers?,
        };
        match self.inside.remove(&pid) {
            Some(begun) => self.ended(pid, begun, registers.rax.cast_signed()),
            None => self.begins(pid, &registers),
        }
        Ok(())
    }

    fn begins(&mut self, pid: Pid, registers: &user_regs_struct) {
        let begun = Begun {
            number: registers.orig_rax.cast_signed(),
            args: [
                registers.rdi,
                registers.rsi,
                registers.rdx,
                registers.r10,
                registers.r8,
            ],
        };
        self.counts.calls += 1;
        self.counts.clone3 += usize::from(begun.number == libc::SYS_clone3);
        self.counts.waits.umounts += usize::from(begun.number == libc::SYS_umount2);
        self.inside.insert(pid, begun);
    }

    fn ended(&mut self, pid: Pid, begun: Begun, result: i64) {
        let Ok(returned) = u64::try_from(result) else {
            return;
        };
        let [first, second, third, _, fifth] = begun.args;
        match begun.number {
            libc::SYS_write | libc::SYS_writev | libc::SYS_pwrite64 | libc::SYS_sendto => {
                self.counts.written += usize::try_from(returned).unwrap_or_default();
                let moves = self.movers.contains(&(pid, first));
                self.counts.waits.moved += usize::from(moves);
            }
            libc::SYS_openat if moves_processes(pid, second) => {
                self.movers.insert((pid, returned));
            }
            libc::SYS_close => {
                self.movers.remove(&(pid, first));
            }
            libc::SYS_fsmount => self.made += 1,
            libc::SYS_open_tree if third & OPEN_TREE_CLONE != 0 => self.made += 1,
            libc::SYS_move_mount if fifth & MOVE_MOUNT_F_EMPTY_PATH != 0 => self.attached += 1,
            _ => {}
        }
    }
}

/// Whether the path at an address of a task ends in a file that moves who is written to it.
fn moves_processes(pid: Pid, address: u64) -> bool {
    let mut bytes = [0_u8; 512];
    let memory = File::open(format!("/proc/{pid}/mem"));
    let read = memory.and_then(|memory| memory.read_at(&mut bytes, address));
    let path = bytes.get(..read.unwrap_or_default()).unwrap_or_default();
    let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
    path.ends_with(b"cgroup.procs") || path.ends_with(b"cgroup.threads")
}

/// The most memory that the program of a task about to end had resident at a time, in KiB. Not what
/// wait4(2) tells: that begins at the resident set of whoever started the task.
fn peak(pid: Pid) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

/// Minor faults of a task that is about to end: the tenth field of proc_pid_stat(5).
fn faults(pid: Pid) -> usize {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let field = rest.split(' ').nth(7).unwrap_or_default();
    field.parse().unwrap_or_default()
}
