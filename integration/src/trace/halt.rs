//! Stops a command at a system call that it is about to make, or lets that call go wrong.

use std::collections::HashSet;

use anyhow::Result;
use nix::errno::Errno;
use nix::libc::{self, c_long};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use nix::unistd::Pid;

use super::calls::{go_on, is_birth, rest};
use super::wait;

/// What becomes of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed instead.
    Kill,
    /// It does nothing and fails.
    Error(Errno),
}

/// The end of a shell's exit code for a program that a signal has ended.
const BY_SIGNAL: i32 = 128;

/// The command and all it has started.
#[derive(Debug)]
pub(super) struct Course {
    root: Pid,
    alive: HashSet<Pid>,
    ended: HashSet<Pid>,
    /// Tasks in a call.
    inside: HashSet<Pid>,
    /// Which calls count.
    counted: fn(c_long) -> bool,
    /// Those that were begun.
    calls: Vec<c_long>,
    /// The task whose call fails, and how.
    failing: Option<(Pid, Errno)>,
    code: Option<i32>,
}

impl Course {
    /// A command that stands at its first instruction.
    pub(super) fn new(root: Pid, counted: fn(c_long) -> bool) -> Self {
        Self {
            root,
            alive: HashSet::from([root]),
            ended: HashSet::new(),
            // the execve that made it what it is
            inside: HashSet::from([root]),
            counted,
            calls: Vec::new(),
            failing: None,
            code: None,
        }
    }

    /// All calls it makes, and how it ended.
    pub(super) fn whole(mut self) -> Result<(Vec<c_long>, Option<i32>)> {
        self.run(self.root, usize::MAX)?;
        self.kill()?;
        Ok((self.calls, self.code))
    }

    /// Calls `then` when so many calls were made and the next is about to be, or all has ended; kills
    /// what is left of it. How had it ended before?
    pub(super) fn halt(
        mut self,
        number: usize,
        then: impl FnOnce() -> Result<()>,
    ) -> Result<Option<i32>> {
        let result = self.run(self.root, number).and_then(|_| then());
        self.kill()?;
        result.map(|()| self.code)
    }

    /// Lets one call go wrong, and all else on to the end. How has it ended?
    pub(super) fn fault(mut self, number: usize, fault: Fault) -> Result<Option<i32>> {
        if let Some(pid) = self.run(self.root, number)? {
            match fault {
                Fault::Kill => kill(pid, Signal::SIGKILL)?,
                Fault::Error(errno) => {
                    let mut registers = ptrace::getregs(pid)?;
                    // One without effect. A number that there is not looks to a filter like one of x32, and
                    // ends the thread that made it.
                    registers.orig_rax = libc::SYS_getpid.cast_unsigned();
                    ptrace::setregs(pid, registers)?;
                    self.failing = Some((pid, errno));
                }
            }
            self.run(pid, usize::MAX)?;
        }
        self.kill()?;
        Ok(self.code)
    }

    /// Lets a task go on, and follows all until one begins the call with this number: it stands there.
    fn run(&mut self, standing: Pid, number: usize) -> Result<Option<Pid>> {
        go_on(standing, None)?;
        while !self.alive.is_empty() {
            let news = match self.code {
                None => wait(None, WaitPidFlag::empty())?,
                Some(_) => match rest()? {
                    Some(news) => news,
                    None => break,
                },
            };
            if let WaitStatus::PtraceSyscall(pid) = news {
                self.stop(pid)?;
                if self.calls.len() > number {
                    return Ok(Some(pid));
                }
            }
            self.pass(news)?;
        }
        Ok(None)
    }

    /// Takes note of a task's life, and lets it go on.
    fn pass(&mut self, news: WaitStatus) -> Result<()> {
        match news {
            WaitStatus::Exited(pid, code) => self.end(pid, code),
            WaitStatus::Signaled(pid, signal, _) => self.end(pid, BY_SIGNAL + signal as i32),
            WaitStatus::PtraceSyscall(pid) => go_on(pid, None)?,
            WaitStatus::PtraceEvent(pid, _, event) => {
                if let (true, Ok(task)) = (is_birth(event), ptrace::getevent(pid)) {
                    let task = Pid::from_raw(i32::try_from(task)?);
                    // it may have lived its life before we heard of its birth
                    if !self.ended.contains(&task) {
                        self.alive.insert(task);
                    }
                }
                go_on(pid, None)?;
            }
            WaitStatus::Stopped(pid, signal) => go_on(pid, signal)?,
            WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
        Ok(())
    }

    fn end(&mut self, pid: Pid, code: i32) {
        self.alive.remove(&pid);
        self.ended.insert(pid);
        if pid == self.root {
            self.code = Some(code);
        }
    }

    /// A task begins a call or returns from one.
    fn stop(&mut self, pid: Pid) -> Result<()> {
        let mut registers = match ptrace::getregs(pid) {
            // ended by another thread while it stood still
            Err(Errno::ESRCH) => return Ok(()),
            registers => registers?,
        };
        if self.inside.remove(&pid) {
            if let Some((_, errno)) = self.failing.take_if(|(failing, _)| *failing == pid) {
                registers.rax = i64::from(-(errno as i32)).cast_unsigned();
                ptrace::setregs(pid, registers)?;
            }
            return Ok(());
        }
        self.inside.insert(pid);
        let call = registers.orig_rax.cast_signed();
        if (self.counted)(call) {
            self.calls.push(call);
        }
        Ok(())
    }

    /// Ends all there is, and waits until it is gone: open files keep a file system busy.
    fn kill(&mut self) -> Result<()> {
        for pid in &self.alive {
            kill(*pid, Signal::SIGKILL).unwrap_or_default();
        }
        while !self.alive.is_empty() {
            match wait(None, WaitPidFlag::empty()) {
                // not what it was, but what was done to it
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => {
                    self.alive.remove(&pid);
                }
                // born when we heard the last of its parent
                Ok(WaitStatus::PtraceSyscall(pid) | WaitStatus::PtraceEvent(pid, ..)) => {
                    kill(pid, Signal::SIGKILL).unwrap_or_default();
                    go_on(pid, None)?;
                }
                Ok(news) => self.pass(news)?,
                Err(error) if error.downcast_ref() == Some(&Errno::ECHILD) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether a call changes what a file holds, or is like.
fn changes_content(call: c_long) -> bool {
    matches!(
        call,
        libc::SYS_write
            | libc::SYS_writev
            | libc::SYS_pwrite64
            | libc::SYS_pwritev
            | libc::SYS_ftruncate
            | libc::SYS_fallocate
            | libc::SYS_fchmod
            | libc::SYS_fchmodat
            | libc::SYS_fchown
            | libc::SYS_fchownat
            | libc::SYS_utimensat
            | libc::SYS_fsetxattr
            | libc::SYS_lsetxattr
            | libc::SYS_mkdirat
            | libc::SYS_mknodat
            | libc::SYS_copy_file_range
            | libc::SYS_sendfile
    )
}

/// Whether a call makes a name come, go or lead elsewhere, or something last. Names that come one by
/// one in what is unpacked are not among them.
pub fn commits(call: c_long) -> bool {
    matches!(
        call,
        libc::SYS_fsync
            | libc::SYS_fdatasync
            | libc::SYS_sync
            | libc::SYS_syncfs
            | libc::SYS_sync_file_range
            | libc::SYS_rename
            | libc::SYS_renameat
            | libc::SYS_renameat2
            | libc::SYS_link
            | libc::SYS_linkat
            | libc::SYS_symlink
            | libc::SYS_symlinkat
            | libc::SYS_unlink
            | libc::SYS_unlinkat
            | libc::SYS_mkdir
            | libc::SYS_rmdir
    )
}

/// Whether a call changes a file or a name.
pub fn changes_files(call: c_long) -> bool {
    changes_content(call) || commits(call)
}
