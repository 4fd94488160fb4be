//! Namespaces as files: which one a process is in, and new ones to be joined by path.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::program;

/// The identity of a namespace of a process, such as `net:[4026531840]`.
///
/// # Errors
/// When the process is gone.
pub fn of(pid: i32, kind: &str) -> Result<String> {
    let path = format!("/proc/{pid}/ns/{kind}");
    let link = fs::read_link(&path).with_context(|| format!("read {path}"))?;
    Ok(link.to_string_lossy().into_owned())
}

/// The identity of a namespace of the test itself.
///
/// # Errors
/// When `/proc` does not have it.
pub fn own(kind: &str) -> Result<String> {
    of(i32::try_from(std::process::id())?, kind)
}

/// A new namespace that lives as long as this value, held by a sleeping process.
#[derive(Debug)]
pub struct Held {
    child: Child,
    path: PathBuf,
}

impl Held {
    /// Makes one; `option` is an option of unshare(1) such as `--net`, `file` its name in
    /// `/proc/PID/ns`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new(options: &[&str], file: &str) -> Result<Self> {
        let mut command = Command::new("unshare");
        command
            .args(options)
            .args(["sh", "-c", "echo ready; exec sleep 600"])
            .stdout(Stdio::piped());
        let mut child = program::start(&mut command).context("start unshare")?;
        let path = PathBuf::from(format!("/proc/{}/ns/{file}", child.id()));
        let mut line = String::new();
        let out = child.stdout.take().context("no output")?;
        BufReader::new(out).read_line(&mut line)?;
        let held = Self { child, path };
        ensure!(line == "ready\n", "unshare {options:?} failed");
        Ok(held)
    }

    /// The path to join it by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its identity, as [`of`] gives it.
    ///
    /// # Errors
    /// When the holder is gone.
    pub fn identity(&self) -> Result<String> {
        let link = fs::read_link(&self.path)?;
        Ok(link.to_string_lossy().into_owned())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
