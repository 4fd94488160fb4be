//! What a command costs in numbers that do not depend on load: system calls, tasks, programs, page
//! faults, bytes written, waits for the kernel's grace periods, and instructions. And a command is
//! stopped where such a number says, whatever time it takes to come there.
//!
//! The command runs under ptrace(2), as under strace, from its first instruction to its end. What
//! it leaves running is let go once it has come to rest.

mod calls;
mod halt;
mod steps;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::libc::c_long;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

pub use halt::{Fault, changes_files, commits};
pub use steps::Steps;

use crate::program;
use crate::runtime::PATIENCE;

/// What a command cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// System calls begun, by all its tasks.
    pub calls: usize,
    /// Tasks there were, its own included.
    pub tasks: usize,
    /// Programs executed, its own included.
    pub programs: usize,
    /// Calls of `clone3(2)`.
    pub clone3: usize,
    /// Page faults served without a disk, of the tasks that have ended. A few come and go with
    /// where the kernel put the stack.
    pub faults: usize,
    /// The most memory that its own process had resident at a time, in KiB; pages of its file that
    /// others share are among it.
    pub peak: usize,
    /// Bytes written, to whatever.
    pub written: usize,
    /// Waits for an RCU grace period that the command asks for itself.
    pub waits: Waits,
}

/// What makes the kernel wait until every processor has moved on: 40 us on a machine with nothing
/// to do, milliseconds on a busy one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Calls of `umount2(2)`.
    pub umounts: usize,
    /// Detached mounts that were never attached, and are dissolved when they are closed.
    pub dissolved: usize,
    /// Processes moved by a write to `cgroup.procs` or `cgroup.threads`.
    pub moved: usize,
}

impl Waits {
    /// All of them.
    pub fn total(self) -> usize {
        self.umounts + self.dissolved + self.moved
    }
}

/// A command that is about to be counted.
#[derive(Clone, Debug)]
#[must_use]
pub struct Trace {
    before: Vec<OsString>,
    words: Vec<OsString>,
    errors: Option<PathBuf>,
}

impl Trace {
    /// Of a program with its arguments.
    pub fn of<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Self {
        let own = |word: S| word.as_ref().to_owned();
        Self {
            before: Vec::new(),
            words: words.into_iter().map(own).collect(),
            errors: None,
        }
    }

    /// Puts a command in front that prepares the place and executes its arguments; it does not count.
    pub fn after<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.before = words
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        self
    }

    /// Writes what the command says on standard error into a file.
    pub fn errors_to(mut self, path: &Path) -> Self {
        self.errors = Some(path.to_owned());
        self
    }

    /// Counts what the command does until it, and what it started, has ended or rests.
    ///
    /// # Errors
    /// When it cannot be traced, hangs, or does not exit with 0.
    pub fn count(self) -> Result<Counts> {
        self.traced(calls::follow)
    }

    /// Counts the instructions of a command that starts no other task.
    ///
    /// # Errors
    /// As [`Trace::count`], and when it does start one.
    pub fn step(self) -> Result<Steps> {
        self.traced(steps::follow)
    }

    /// Lists the system calls of the command and all it starts by their numbers, in the order they
    /// begin in; only those that are `counted`.
    ///
    /// # Errors
    /// As [`Trace::count`].
    pub fn calls(self, counted: fn(c_long) -> bool) -> Result<Vec<c_long>> {
        let follow = move |root| halt::Course::new(root, counted).whole();
        let (calls, code) = self.traced(follow)?;
        ensure!(code == Some(0), "exit code {code:?}");
        Ok(calls)
    }

    /// Runs the command until it is about to make the call after this many, or to its end where there
    /// are fewer; calls `then`, and kills what is left. The exit code, if it had ended before.
    ///
    /// # Errors
    /// When it cannot be traced or hangs, and those of `then`.
    pub fn halt(
        self,
        counted: fn(c_long) -> bool,
        number: usize,
        then: impl FnOnce() -> Result<()> + Send,
    ) -> Result<Option<i32>> {
        self.traced(move |root| halt::Course::new(root, counted).halt(number, then))
    }

    /// Runs the command to its end, with a fault at the call after this many of those that are `counted`: no other
    /// call goes wrong, though threads do not take the same turns each time. The exit code; as a shell has
    /// it, where a signal has ended it.
    ///
    /// # Errors
    /// When it cannot be traced or hangs.
    pub fn fault(
        self,
        counted: fn(c_long) -> bool,
        number: usize,
        fault: Fault,
    ) -> Result<Option<i32>> {
        self.traced(move |root| halt::Course::new(root, counted).fault(number, fault))
    }

    /// Runs a tracer on a thread of its own: the kernel lets go what a thread traces when it ends.
    fn traced<T: Send>(self, follow: impl FnOnce(Pid) -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(move || self.follow(follow));
            thread
                .join()
                .unwrap_or_else(|_| Err(anyhow!("the tracer panicked")))
        })
    }

    fn follow<T>(&self, follow: impl FnOnce(Pid) -> Result<T>) -> Result<T> {
        let root = Pid::from_raw(i32::try_from(self.launch()?.id())?);
        let (ended, end) = mpsc::channel::<()>();
        // a tracer sleeps in wait4(2); who hangs is ended from outside
        let guard = thread::spawn(move || {
            let hangs = end.recv_timeout(SLOW * PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
            if hangs {
                kill(root, Signal::SIGKILL).unwrap_or_default();
            }
            hangs
        });
        let result = seize(root).and_then(|()| follow(root));
        drop(ended);
        // else the kill would pass for one that was asked for
        ensure!(!guard.join().unwrap_or(true), "{:?} hangs", self.words);
        if result.is_err() {
            kill(root, Signal::SIGKILL).unwrap_or_default();
        }
        result.with_context(|| format!("trace {:?}", self.words))
    }

    /// Starts a shell that stops itself and then becomes the command.
    fn launch(&self) -> Result<Child> {
        const STOP: &str = "kill -STOP $$; exec \"$@\"";
        let shell = ["sh", "-c", STOP, "sh"].map(OsString::from);
        let words: Vec<&OsString> = self
            .before
            .iter()
            .chain(&shell)
            .chain(&self.words)
            .collect();
        let (name, args) = words.split_first().context("no command")?;
        let mut command = Command::new(name);
        command.args(args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(match &self.errors {
                Some(path) => File::create(path)?.into(),
                None => Stdio::inherit(),
            });
        program::start(&mut command).context("start a shell")
    }
}

/// Takes hold of the stopped shell and lets it run up to the first instruction of the command.
fn seize(root: Pid) -> Result<()> {
    let stopped = waitpid(root, Some(WaitPidFlag::WUNTRACED))?;
    ensure!(
        matches!(stopped, WaitStatus::Stopped(..)),
        "the shell did not stop: {stopped:?}"
    );
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACEEXIT;
    ptrace::seize(root, options).context("PTRACE_SEIZE")?;
    kill(root, Signal::SIGCONT)?;
    loop {
        match wait(Some(root), WaitPidFlag::empty())? {
            WaitStatus::PtraceEvent(_, _, event) if event == Event::Exec as i32 => return Ok(()),
            WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(_, Signal::SIGCONT) => {
                ptrace::cont(root, None)?;
            }
            WaitStatus::Stopped(_, signal) => ptrace::cont(root, signal)?,
            other => return Err(anyhow!("the shell did not become the command: {other:?}")),
        }
    }
}

/// Events of ptrace(2) that a tracer acts upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Exec = ptrace::Event::PTRACE_EVENT_EXEC as isize,
    Exit = ptrace::Event::PTRACE_EVENT_EXIT as isize,
}

/// The next news of the tasks this thread traces; other threads' children are theirs.
fn wait(whose: Option<Pid>, flags: WaitPidFlag) -> Result<WaitStatus> {
    let flags = flags | WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    Ok(waitpid(whose, Some(flags))?)
}

/// How many times longer than others a command may take that stops at every instruction.
const SLOW: u32 = 10;

/// How long a task must have nothing to say to be at rest.
const REST: Duration = Duration::from_millis(150);

/// Whether the command is below `folder`, as one built for debugging is below `debug`.
pub fn is_below(program: &Path, folder: &str) -> bool {
    program
        .components()
        .any(|part| part.as_os_str() == OsStr::new(folder))
}
