//! A process that stays and starts containers itself: `runtime/examples/serve.rs`, or the floor's own.

use crate::place::{Kind, Place};
use anyhow::{Context as _, Result, ensure};
use hostrun_integration::cgroup;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Such a process; it ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) is_floor: bool,
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// How a server is asked to start a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// From nothing.
    Cold,
    /// The same, its mount namespace copied from a template.
    Template,
    /// The same, its network namespace made before.
    Network,
    /// Of a container that was created before.
    Created,
    /// Of a sandbox that was parked before anybody asked for the container.
    Sandbox,
}

impl Start {
    /// The floor has no pools: it does what comes nearest.
    fn byte(self, floor: bool) -> u8 {
        match self {
            Start::Cold => b'r',
            Start::Template | Start::Network if floor => b'r',
            Start::Sandbox if floor => b'p',
            Start::Template => b't',
            Start::Network => b'n',
            Start::Created => b'p',
            Start::Sandbox => b'w',
        }
    }
}

/// What one start took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// Until the payload's first instruction.
    pub(crate) first: Duration,
    /// Until nothing was left of the container.
    pub(crate) total: Duration,
}

impl Server {
    /// hostrun's library.
    pub(crate) fn library(program: &Path, place: &Place, kind: Kind, name: &str) -> Result<Server> {
        let root = place.dir().join(format!("state-{name}"));
        let bundle = place.bundle(name, kind, 0)?;
        let words = vec![root.into_os_string(), bundle.into_os_string(), name.into()];
        Server::start(program, words, name, false)
    }

    /// The floor in one process.
    pub(crate) fn floor(program: &Path, place: &Place, kind: Kind, name: &str) -> Result<Server> {
        let filter = if kind.filtered {
            place.filter_file().into_os_string()
        } else {
            "-".into()
        };
        let words = vec![
            place.dir().into(),
            "serve".into(),
            name.into(),
            place.rootfs().into_os_string(),
            cgroup::dir(&place.cgroup_of(name, 0)).into_os_string(),
            filter,
            kind.payload.path().into(),
        ];
        Server::start(program, words, name, true)
    }

    fn start(program: &Path, words: Vec<OsString>, name: &str, is_floor: bool) -> Result<Server> {
        // in the scheduling class that `spawn` is in; util-linux's chrt is not in the timed path
        let mut command = Command::new("sh");
        let fifo = "chrt -f 1 true 2>/dev/null && exec chrt -f 1 \"$@\"; exec \"$@\"";
        command.args(["-c", fifo, "sh"]).arg(program).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start a server")?;
        let answers = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Server {
            name: name.to_owned(),
            is_floor,
            requests: child.stdin.take(),
            child,
            answers,
        })
    }

    /// Starts one container and waits until it is gone.
    pub(crate) fn ask(&mut self, start: Start) -> Result<Took> {
        let byte = start.byte(self.is_floor);
        let requests = self.requests.as_mut().context("it has ended")?;
        requests.write_all(&[byte])?;
        requests.flush()?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "{} has ended", self.name);
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let mut next = || numbers.next().and_then(Result::ok).context("a number");
        let (first, total) = (next()?, next()?);
        Ok(Took {
            first: Duration::from_nanos(first),
            total: Duration::from_nanos(total),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.requests.take());
        drop(self.child.wait());
    }
}
