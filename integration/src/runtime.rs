//! The runtime under test, called as its users call it: as a command, with a time limit.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::program;

/// How long a call may take before it counts as hung. A busy two-core machine needs a second.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A container runtime: hostrun or runc.
#[derive(Clone, Debug)]
pub struct Runtime {
    program: PathBuf,
}

impl Runtime {
    /// The one `HOSTRUN_TEST_RUNTIME` names: a path, or the word `runc`; hostrun when unset.
    ///
    /// # Errors
    /// When it cannot be found.
    pub fn under_test() -> Result<Self> {
        match std::env::var_os("HOSTRUN_TEST_RUNTIME") {
            None => Self::hostrun(),
            Some(name) if name == "runc" => Self::oracle(),
            Some(path) => Self::at(path.into()),
        }
    }

    /// hostrun: `HOSTRUN_BINARY`, or the release binary beside the running test.
    ///
    /// # Errors
    /// When it was not built.
    pub fn hostrun() -> Result<Self> {
        if let Some(path) = std::env::var_os("HOSTRUN_BINARY") {
            return Self::at(path.into());
        }
        // <target>/<triple>/debug/deps/<test>
        let test = std::env::current_exe()?;
        let triple = test.ancestors().nth(3).context("no target folder")?;
        Self::at(triple.join("release/hostrun"))
    }

    /// Debian's runc, whose behaviour tells a wrong test from a wrong runtime.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn oracle() -> Result<Self> {
        let found = ["/usr/sbin/runc", "/usr/bin/runc"]
            .into_iter()
            .find(|path| Path::new(path).exists());
        Self::at(
            found
                .context("runc is not installed: run `make setup`")?
                .into(),
        )
    }

    /// Any, by the path of its binary.
    ///
    /// # Errors
    /// When there is none.
    pub fn at(program: PathBuf) -> Result<Self> {
        ensure!(
            program.is_file(),
            "no runtime at {}: run `make build`",
            program.display()
        );
        Ok(Self { program })
    }

    /// Another runtime of this machine by its name, where it is installed.
    pub fn installed(name: &str) -> Option<Self> {
        let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
        let paths = folders.map(|folder| Path::new(folder).join(name));
        paths.into_iter().find_map(|path| Self::at(path).ok())
    }

    /// The path of its binary.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A copy of it in `dir`, for a test that would not have the binary itself overwritten.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn copy_to(&self, dir: &Path) -> Result<Self> {
        let name = self.program.file_name().context("no file name")?;
        let program = dir.join(name);
        program::copy(&self.program, &program)?;
        Self::at(program)
    }

    /// Whether this is the oracle, which has its own error texts and exit codes.
    pub fn is_runc(&self) -> bool {
        self.program.file_name().is_some_and(|name| name == "runc")
    }

    /// Whether this is hostrun, which alone knows options that are its own.
    pub fn is_hostrun(&self) -> bool {
        let peers = ["runc", "crun", "youki"];
        !peers.iter().any(|peer| self.program.ends_with(peer))
    }

    /// A call with these arguments; output and time limit can be set before it runs.
    pub fn call<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Call {
        Call::new(&self.program, args)
    }
}

/// One command that is about to run.
#[derive(Debug)]
#[must_use]
pub struct Call {
    words: Vec<OsString>,
    stdin: Option<Stdio>,
    input: Vec<u8>,
    outputs: Option<(OwnedFd, OwnedFd)>,
    dir: Option<PathBuf>,
    patience: Duration,
}

impl Call {
    /// Any program, for what is not a runtime.
    pub fn new<S: AsRef<OsStr>>(program: &Path, args: impl IntoIterator<Item = S>) -> Self {
        let mut words = vec![program.as_os_str().to_owned()];
        words.extend(args.into_iter().map(|word| word.as_ref().to_owned()));
        Self {
            words,
            stdin: None,
            input: vec![],
            outputs: None,
            dir: None,
            patience: PATIENCE,
        }
    }

    /// Puts another program in front, such as `setpriv` or `strace` with their options.
    pub fn under<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        let mut words: Vec<OsString> = wrapper
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        words.append(&mut self.words);
        self.words = words;
        self
    }

    /// The program and its arguments.
    pub fn words(&self) -> &[OsString] {
        &self.words
    }

    /// Feeds these bytes to standard input, then ends it.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Connects standard input to something open.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// Connects standard output and error to something open, such as a terminal.
    pub fn outputs(mut self, stdout: OwnedFd, stderr: OwnedFd) -> Self {
        self.outputs = Some((stdout, stderr));
        self
    }

    /// Runs in this folder.
    pub fn in_dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// Another time limit than [`PATIENCE`].
    pub fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time; it is killed then.
    pub fn run(self) -> Result<Outcome> {
        self.spawn()?.wait()
    }

    /// Starts it and returns at once.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(self) -> Result<Running> {
        // Output goes to files, not pipes: a container that outlives the call may keep them open.
        let folder = tempfile::tempdir()?;
        let (stdout, stderr) = (folder.path().join("stdout"), folder.path().join("stderr"));
        let stdin = match self.stdin {
            Some(stdin) => stdin,
            None if self.input.is_empty() => Stdio::null(),
            None => {
                let input = folder.path().join("stdin");
                fs::write(&input, &self.input)?;
                File::open(input)?.into()
            }
        };
        let (name, args) = self.words.split_first().context("an empty command")?;
        let mut command = Command::new(name);
        command.args(args).stdin(stdin);
        match self.outputs {
            Some((out, err)) => command.stdout(out).stderr(err),
            None => command
                .stdout(File::create(&stdout)?)
                .stderr(File::create(&stderr)?),
        };
        if let Some(dir) = self.dir {
            command.current_dir(dir);
        }
        let child =
            program::start(&mut command).with_context(|| format!("start {}", name.display()))?;
        Ok(Running {
            child,
            folder,
            what: self.words,
            patience: self.patience,
        })
    }
}

/// A command that runs; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    folder: tempfile::TempDir,
    what: Vec<OsString>,
    patience: Duration,
}

impl Running {
    /// Its process id.
    ///
    /// # Panics
    /// Never: the kernel gives out no larger numbers.
    pub fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap_or(i32::MAX)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.as_pid()?, signal).with_context(|| format!("signal {:?}", self.what))
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).unwrap_or_default()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// Waits until standard output holds `text`.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        let end = std::time::Instant::now() + self.patience;
        while !self.stdout().contains(text) {
            let ended = self.child.try_wait()?;
            let late = std::time::Instant::now() > end;
            if (ended.is_some() || late) && !self.stdout().contains(text) {
                let errors = fs::read_to_string(self.folder.path().join("stderr"))?;
                bail!(
                    "{:?} ({ended:?}) did not say {text:?}: {} {errors}",
                    self.what,
                    self.stdout()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then.
    pub fn wait(mut self) -> Result<Outcome> {
        let pidfd = pidfd_open(self.as_pid()?, PidfdFlags::empty()).context("pidfd_open")?;
        let limit = Timespec::try_from(self.patience)?;
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        if poll(&mut fds, Some(&limit)).context("poll")? == 0 {
            bail!("{:?} did not end within {:?}", self.what, self.patience);
        }
        let status = self.child.wait()?;
        let read = |name: &str| fs::read(self.folder.path().join(name)).unwrap_or_default();
        Ok(Outcome {
            status,
            stdout: read("stdout"),
            stderr: read("stderr"),
        })
    }

    fn as_pid(&self) -> Result<Pid> {
        Pid::from_raw(self.pid()).context("no process id")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// What a command that ended left to look at.
#[derive(Debug)]
pub struct Outcome {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Outcome {
    /// Exit code; a death by signal is 1000 and the signal, so that it never passes for a code.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 1000 + self.status.signal().unwrap_or(0))
    }

    /// Standard output.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Standard output of a command that must have succeeded.
    ///
    /// # Errors
    /// When it did not.
    pub fn ok(&self) -> Result<String> {
        ensure!(
            self.code() == 0,
            "exit code {}: {}{}",
            self.code(),
            self.stdout(),
            self.stderr()
        );
        Ok(self.stdout())
    }
}
