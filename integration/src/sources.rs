//! The sources as text: tables that name tests are held against them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};

/// The folder of the whole workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the workspace.
///
/// # Errors
/// When it is not there.
pub fn read(path: &str) -> Result<String> {
    fs::read_to_string(workspace().join(path)).with_context(|| format!("read {path}"))
}

/// Every source file of the workspace with its text.
///
/// # Errors
/// When a folder cannot be read.
fn files() -> Result<&'static [(String, String)]> {
    static FILES: OnceLock<Vec<(String, String)>> = OnceLock::new();
    if FILES.get().is_none() {
        let mut found = Vec::new();
        let top = workspace();
        let mut open: Vec<PathBuf> = [
            "integration",
            "runtime",
            "cli",
            "image-store",
            "seccomp-profiles",
        ]
        .map(|name| top.join(name))
        .to_vec();
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
                let path = entry?.path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path)?;
                    found.push((path.to_string_lossy().into_owned(), text));
                }
            }
        }
        drop(FILES.set(found));
    }
    FILES.get().map(Vec::as_slice).context("no sources")
}

/// Fails unless `file.rs: name` names a test that is there. The name may end in `…` where what
/// comes before is enough to find it; a file may be named with folders, as `evil/links.rs`.
///
/// # Errors
/// What is missing.
pub fn test_exists(reference: &str) -> Result<()> {
    let (file, name) = reference
        .split_once(": ")
        .with_context(|| format!("{reference:?} is not `file.rs: test`"))?;
    let ending = format!("/{file}");
    let mut texts = files()?
        .iter()
        .filter(|(path, _)| path.ends_with(&ending))
        .map(|(_, text)| text)
        .peekable();
    ensure!(texts.peek().is_some(), "{reference}: no such file");
    let start = match name.strip_suffix('…') {
        Some(start) => format!("fn {start}"),
        None => format!("fn {name}("),
    };
    // an attack of the corpus is a test, too
    let attack = format!("name: \"{name}\"");
    let there = texts.any(|text| text.contains(&start) || text.contains(&attack));
    ensure!(there, "{reference}: no such test");
    Ok(())
}

/// Everything between backticks in a line of Markdown.
pub fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The cells of a row of a Markdown table; none for other lines and for its head.
pub fn row(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix("| ")?.strip_suffix('|')?;
    Some(inner.split(" | ").map(str::trim).collect())
}
