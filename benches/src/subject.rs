//! A runtime that is measured.

use anyhow::{Context as _, Result, bail};
use hostrun_integration::{bundle::Bundle, elf};
use hostrun_seccomp_profiles::{DEFAULT_CAPABILITIES, default_profile};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A runtime with a state directory and bundles of its own.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: String,
    program: PathBuf,
    root: PathBuf,
    plain: PathBuf,
    filtered: PathBuf,
    runs: u32,
}

impl Subject {
    pub(crate) fn new(name: &str, program: &Path, scratch: &Path) -> Result<Subject> {
        Ok(Subject {
            name: name.to_owned(),
            program: program.to_owned(),
            root: scratch.join(format!("state-{name}")),
            plain: bundle(scratch, name, false)?,
            filtered: bundle(scratch, name, true)?,
            runs: 0,
        })
    }

    /// Runs a bundle once, in the foreground, and takes the time.
    pub(crate) fn run(&mut self, seccomp: bool) -> Result<Duration> {
        self.runs += 1;
        let id = format!("hostrun-bench-{}-{}", std::process::id(), self.runs);
        let bundle = if seccomp { &self.filtered } else { &self.plain };
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

/// The parent of all cgroups of this run.
pub(crate) fn cgroup() -> String {
    format!("/hostrun-bench-{}", std::process::id())
}

/// A bundle whose program only exits.
fn bundle(scratch: &Path, name: &str, seccomp: bool) -> Result<PathBuf> {
    let dir = scratch.join(format!("bundle-{name}-{seccomp}"));
    let bundle = Bundle::new(&dir, &format!("{}/{name}", cgroup()))?;
    // Limits of the default config may be above what this machine allows.
    let bundle = bundle
        .file("/exit", 0o755, &elf::exit(0))?
        .args(&["/exit"])
        .unset("/process/rlimits");
    let bundle = if seccomp {
        bundle.set("/linux/seccomp", profile()?)
    } else {
        bundle
    };
    Ok(bundle.write()?.to_owned())
}

/// A filter of the size docker's has, of rules that every runtime takes: those on `socket` overlap,
/// which libseccomp refuses, so it is plainly allowed here.
fn profile() -> Result<Value> {
    let mut profile = serde_json::to_value(default_profile(&DEFAULT_CAPABILITIES))?;
    let rules = profile
        .pointer_mut("/syscalls")
        .and_then(Value::as_array_mut)
        .context("no rules")?;
    let on_socket = |rule: &Value| {
        rule.pointer("/names")
            .and_then(Value::as_array)
            .is_some_and(|names| names.contains(&json!("socket")))
    };
    rules.retain(|rule| !on_socket(rule));
    rules.push(json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW"}));
    Ok(profile)
}

/// The program of this name on PATH or where Debian keeps programs of root.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs =
        std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    dirs.map(|dir| dir.join(name)).find(|file| file.is_file())
}
