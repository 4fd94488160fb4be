//! Who stands below an engine: a runtime, with what it is called with written down by a script between
//! the two, or a shim, which is called by nobody else.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::program;
use crate::runtime::Runtime;

/// How many of the last calls are shown when a case fails.
const SHOWN: usize = 25;

/// A runtime behind a script that keeps its command lines.
#[derive(Clone, Debug)]
pub struct Journal {
    name: String,
    program: PathBuf,
    log: PathBuf,
    shim: bool,
}

/// The name of our shim's program.
pub const SHIM: &str = "containerd-shim-hostrun-v1";

impl Journal {
    /// Puts the script for `runtime` into `dir`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(dir: &Path, runtime: &Runtime) -> Result<Self> {
        let name = if runtime.is_runc() { "runc" } else { "hostrun" };
        let journal = Self {
            name: name.to_owned(),
            program: dir.join(name),
            log: dir.join(format!("{name}.calls")),
            shim: false,
        };
        let script = format!(
            "#!/bin/sh\necho \"$*\" >>{}\nexec {} \"$@\"\n",
            journal.log.display(),
            runtime.program().display()
        );
        program::write(&journal.program, 0o755, script)?;
        Ok(journal)
    }

    /// The runtime itself, with nobody between who would take time, and nothing written down.
    pub fn none(runtime: &Runtime) -> Self {
        let name = runtime.program().file_name().unwrap_or_default();
        Self {
            name: name.to_string_lossy().into_owned(),
            program: runtime.program().to_owned(),
            log: PathBuf::new(),
            shim: false,
        }
    }

    /// Our shim: `HOSTRUN_SHIM`, or what was built beside the program `hostrun`.
    ///
    /// # Errors
    /// When it was not built.
    pub fn ours() -> Result<Self> {
        let program = match std::env::var_os("HOSTRUN_SHIM") {
            Some(path) => path.into(),
            None => Runtime::hostrun()?.program().with_file_name(SHIM),
        };
        ensure!(program.is_file(), "no shim at {}", program.display());
        Ok(Self {
            name: "shim".to_owned(),
            program,
            log: PathBuf::new(),
            shim: true,
        })
    }

    /// Whether it is our shim, and not a runtime below containerd's own.
    pub fn is_shim(&self) -> bool {
        self.shim
    }

    /// The runtime's name, under which an engine knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A name for the container `number` of the test that runs.
    pub fn unique(&self, number: u32) -> String {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("test").rsplit("::").next();
        let test: String = test.unwrap_or_default().chars().take(40).collect();
        format!("{}-{}-{number}", self.name, test.trim_matches('_'))
    }

    /// The script, to be given to an engine as the runtime.
    ///
    /// # Errors
    /// When its path is no text.
    pub fn program(&self) -> Result<&str> {
        self.program.to_str().context("a path that is no text")
    }

    /// The last calls, the newest at the end.
    pub fn last_calls(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<String> = log.lines().rev().take(SHOWN).map(short).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n  ")
    }

    /// Whether any call had this verb.
    pub fn has_verb(&self, verb: &str) -> bool {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.split_whitespace().any(|word| word == verb)
    }
}

/// A command line with its long names cut.
fn short(line: &str) -> String {
    let cut = |word: &str| match word.char_indices().nth(60) {
        Some(_) => {
            let end: Vec<char> = word.chars().rev().take(40).collect();
            format!("...{}", end.into_iter().rev().collect::<String>())
        }
        None => word.to_owned(),
    };
    line.split(' ').map(cut).collect::<Vec<_>>().join(" ")
}
