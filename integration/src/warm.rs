//! Pools of the library, through its example `warm`.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::json;

use crate::runtime::{Call, Running};
use crate::{Bundle, Stage, cgroup, example};

/// The example on a bundle, found beside the test.
///
/// # Errors
/// When it was not built.
pub fn call(stage: &Stage, bundle: &Bundle, words: &[&str]) -> Result<Call> {
    let program = example::program("warm")?;
    let root = stage.root().to_string_lossy().into_owned();
    let dir = bundle.write()?.to_string_lossy().into_owned();
    let words = [root.as_str(), dir.as_str()]
        .into_iter()
        .chain(words.iter().copied());
    Ok(Call::new(&program, words))
}

/// With a root that may be shared.
///
/// # Errors
/// When it cannot be made.
pub fn bundle(stage: &Stage) -> Result<Bundle> {
    Ok(stage.bundle()?.set("/root/readonly", json!(true)))
}

/// A process that holds a full pool, and takes a container of it for every name it is told.
#[derive(Debug)]
pub struct Holder {
    /// The process.
    pub running: Running,
    input: fs::File,
}

impl Holder {
    /// With so many sandboxes.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn new(stage: &Stage, bundle: &Bundle, count: usize) -> Result<Self> {
        let (input, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        let call = call(stage, bundle, &["hold", &count.to_string()])?;
        let mut running = call.stdin(input).spawn()?;
        running.wait_for(&format!("{count} ready, 0 more"))?;
        let input = fs::File::from(ours);
        Ok(Self { running, input })
    }

    /// Tells it a line.
    ///
    /// # Errors
    /// When it is gone.
    pub fn say(&mut self, line: &str) -> Result<()> {
        Ok(std::io::Write::write_all(
            &mut self.input,
            format!("{line}\n").as_bytes(),
        )?)
    }

    /// Tells it a line and waits for this answer.
    ///
    /// # Errors
    /// When another comes, or none.
    pub fn ask(&mut self, line: &str, answer: &str) -> Result<()> {
        self.say(line)?;
        self.running.wait_for(&format!("{line}: {answer}"))
    }

    /// Ends it in peace and gives what it has said.
    ///
    /// # Errors
    /// When it fails.
    pub fn end(self) -> Result<String> {
        drop(self.input);
        self.running.wait()?.ok()
    }
}

/// The cgroups of all that is parked, in order.
pub fn parked(stage: &Stage) -> Vec<PathBuf> {
    let groups = cgroup::below(&stage.cgroup()).into_iter();
    let mut groups: Vec<_> = groups
        .filter(|group| group.to_string_lossy().contains("parked-"))
        .collect();
    groups.sort();
    groups
}
