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
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// How a server is asked to start a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Cold,
    Parked,
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
        Server::start(program, words, name)
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
        Server::start(program, words, name)
    }

    fn start(program: &Path, words: Vec<OsString>, name: &str) -> Result<Server> {
        // in the scheduling class that `spawn` is in; util-linux's chrt is not in the timed path
        let mut command = Command::new("sh");
        let fifo = "chrt -f 1 true 2>/dev/null && exec chrt -f 1 \"$@\"; exec \"$@\"";
        command.args(["-c", fifo, "sh"]).arg(program).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start a server")?;
        let answers = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Server {
            name: name.to_owned(),
            requests: child.stdin.take(),
            child,
            answers,
        })
    }

    /// Starts one container and waits until it is gone.
    pub(crate) fn ask(&mut self, start: Start) -> Result<Took> {
        let byte = match start {
            Start::Cold => b"r",
            Start::Parked => b"p",
        };
        let requests = self.requests.as_mut().context("it has ended")?;
        requests.write_all(byte)?;
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
