//! A runtime that is measured.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A runtime with a state directory of its own.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: String,
    program: PathBuf,
    root: PathBuf,
    runs: u32,
}

impl Subject {
    pub(crate) fn new(name: &str, program: &Path, scratch: &Path) -> Subject {
        let root = scratch.join(format!("state-{name}"));
        Subject {
            name: name.to_owned(),
            program: program.to_owned(),
            root,
            runs: 0,
        }
    }

    /// Runs the bundle once, in the foreground, and takes the time.
    pub(crate) fn run(&mut self, bundle: &Path) -> Result<Duration> {
        self.runs += 1;
        let id = format!("hostrun-bench-{}-{}", std::process::id(), self.runs);
        let mut command = Command::new(&self.program);
        command
            .arg("--root")
            .arg(&self.root)
            .arg("run")
            .arg("--bundle")
            .arg(bundle)
            .arg(id);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let start = Instant::now();
        let output = command
            .output()
            .with_context(|| format!("run {}", self.program.display()))?;
        let taken = start.elapsed();
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!(
                "{}: {}",
                output.status,
                text.lines().last().unwrap_or("no message")
            );
        }
        Ok(taken)
    }
}

/// The program of this name on PATH or where Debian keeps programs of root.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs =
        std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    dirs.map(|dir| dir.join(name)).find(|file| file.is_file())
}
