//! Hooks that leave notes of when and as whom they ran.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{Bundle, Stage, cgroup};

/// In the order of a container's life.
pub const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A hook that is a line of shell.
pub fn shell(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
}

/// The bundle with one hook more of this kind.
pub fn with(bundle: Bundle, kind: &str, hook: Value) -> Bundle {
    let pointer = format!("/hooks/{kind}");
    let mut list = bundle.config().pointer(&pointer).cloned();
    let list = list.get_or_insert_with(|| json!([]));
    list.as_array_mut()
        .map(|list| list.push(hook))
        .unwrap_or_default();
    bundle.set(&pointer, list.clone())
}

/// A bundle with a folder that hooks on the host and inside can both write to, at the same path.
///
/// # Errors
/// When they cannot be made.
pub fn noted(stage: &Stage) -> Result<(Bundle, PathBuf)> {
    let notes = stage.folder("notes")?;
    let at = notes.to_string_lossy().into_owned();
    Ok((stage.bundle()?.bind(&notes, &at, &["rbind"]), notes))
}

/// What a hook noted under this name.
///
/// # Errors
/// When there is no such note.
pub fn read(notes: &Path, name: &str) -> Result<String> {
    fs::read_to_string(notes.join(name)).with_context(|| format!("no note of {name}"))
}

/// Nothing of the stage's containers is left.
///
/// # Errors
/// When their state or their cgroup is still there.
pub fn gone(stage: &Stage, bundle: &Bundle, what: &str) -> Result<()> {
    let state = stage.root();
    let left = fs::read_dir(&state).map_or(0, Iterator::count);
    ensure!(left == 0, "{what}: state is left");
    let group = cgroup::dir(&bundle.cgroup()?);
    // runc 1.1 now and then leaves that of a start that failed
    ensure!(
        stage.runtime().is_runc() || !group.exists(),
        "{what}: its cgroup is left"
    );
    Ok(())
}
