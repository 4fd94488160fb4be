//! Programs of hostrun's own beside its binary: what few need, and what must not have our rights.

use crate::report;
use anyhow::Result;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where they are installed, seen from the folder our own binary is in, and where distributions put it. They are never
/// looked for in PATH: one of them gets credentials.
const FOLDERS: [&str; 4] = [
    "",
    "../libexec/hostrun",
    "/usr/libexec/hostrun",
    "/usr/local/libexec/hostrun",
];

/// A program of ours by its name; `what` it does is told to whoever has not got it.
///
/// # Errors
/// When it is not installed.
pub(crate) fn find(name: &str, what: &str) -> Result<PathBuf> {
    let own = own_path().unwrap_or_default();
    let folder = own.parent().map(Path::to_owned).unwrap_or_default();
    let mut places = FOLDERS.iter().map(|place| folder.join(place).join(name));
    let is_there = |path: &PathBuf| path.is_absolute() && path.is_file();
    places.find(is_there).ok_or_else(|| {
        let failure = report::Failure::new(format!("{name} is not installed"));
        failure
            .hint(format!(
                "it is a part of hostrun, in PREFIX/libexec/hostrun, and {what}"
            ))
            .into()
    })
}

/// Where our own binary is. One that was executed anew through a mount without a place (`seal`) is found
/// by the word it was called by, if the file there is the one that runs.
pub(crate) fn own_path() -> Option<PathBuf> {
    let own = std::fs::metadata("/proc/self/exe").ok()?;
    let is_it = |path: &Path| {
        let file = std::fs::metadata(path);
        file.is_ok_and(|file| (file.dev(), file.ino()) == (own.dev(), own.ino()))
    };
    let word = PathBuf::from(std::env::args_os().next()?);
    let search = std::env::var_os("PATH").filter(|_| !word.as_os_str().as_bytes().contains(&b'/'));
    let searched = search.iter().flat_map(std::env::split_paths);
    let named = std::fs::read_link("/proc/self/exe").ok();
    let called = std::path::absolute(&word).ok();
    let mut places = named
        .into_iter()
        .chain(called)
        .chain(searched.map(|folder| folder.join(&word)));
    places.find(|path| is_it(path))
}
