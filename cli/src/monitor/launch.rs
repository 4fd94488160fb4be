//! The handshake between `run -d` and the monitor it leaves behind.
//!
//! The monitor is hostrun again, told nothing but the container's id: everything else is in the record. Its standard
//! input is the container's root, already mounted; its standard output is the pipe on which it says, in one line of
//! JSON, whether the container started.

use crate::globals::Globals;
use crate::record::Record;
use crate::report::{Failure, Told};
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// More than any honest report.
const LONGEST_REPORT: u64 = 64 * 1024;

/// How a detached start went.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// The container runs.
    Started { pid: i32 },
    /// It does not.
    Failed(Told),
}

/// Leaves a monitor behind and waits until it says how the start went.
///
/// # Errors
/// What the monitor met, as if we had met it.
pub(crate) fn launch(globals: &Globals, record: &Record, root: OwnedFd) -> Result<i32> {
    let (report, their_report) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("hostrun")
        .arg("--root")
        .arg(&globals.root)
        .arg("--store")
        .arg(&globals.store)
        .args(["monitor", record.id()])
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::from(root))
        .stdout(Stdio::from(their_report))
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start the monitor")?;
    let mut line = String::new();
    BufReader::new(File::from(report))
        .take(LONGEST_REPORT)
        .read_line(&mut line)
        .context("cannot hear the monitor")?;
    match serde_json::from_str(&line) {
        Ok(Outcome::Started { pid }) => Ok(pid),
        Ok(Outcome::Failed(told)) => {
            // It has said its last word; not waiting would leave a zombie until we end, no more.
            child.wait().context("cannot wait for the monitor")?;
            Err(told.into_error())
        }
        Err(_silent) => {
            let ended = child.wait().context("cannot wait for the monitor")?;
            Err(Failure::new(format!(
                "the monitor of container {} died: {ended}",
                record.short()
            ))
            .into())
        }
    }
}

/// The monitor's side: becomes a session of its own and takes over what it was given.
///
/// # Errors
/// When the standard streams are not what `run -d` hands over.
pub(crate) fn adopt() -> Result<(OwnedFd, Reporter)> {
    rustix::process::setsid()
        .context("cannot begin a session; 'monitor' is started by 'run -d'")?;
    let root = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)
        .context("no root on standard input")?;
    let pipe = rustix::io::fcntl_dupfd_cloexec(std::io::stdout(), 3)
        .context("no pipe on standard output")?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .context("cannot open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).context("cannot let go of standard input")?;
    rustix::stdio::dup2_stdout(&null).context("cannot let go of standard output")?;
    Ok((root, Reporter(File::from(pipe))))
}

/// The pipe back to `run -d`; can be used once.
#[derive(Debug)]
pub(crate) struct Reporter(File);

impl Reporter {
    /// Says how the start went.
    pub(crate) fn report(mut self, outcome: &Outcome) {
        if let Ok(mut line) = serde_json::to_vec(outcome) {
            line.push(b'\n');
            // If `run -d` was killed meanwhile, the container runs all the same.
            drop(self.0.write_all(&line));
        }
    }
}
