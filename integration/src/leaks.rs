//! What a test may not leave behind: mounts, processes, cgroups, state.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{cgroup, host};

/// Whatever still carries the name of a test or of one of its containers.
///
/// # Errors
/// When the machine cannot be asked.
pub fn of(token: &str, ids: &[String], folders: &[PathBuf]) -> Result<Vec<String>> {
    let mut left: Vec<String> = host::mounts()?
        .into_iter()
        .filter(|line| line.contains(token))
        .collect();
    for (pid, what) in host::processes_with(token)? {
        left.push(format!("process {pid}: {what}"));
    }
    let parent = cgroup::dir(&format!("/{token}"));
    let named = |path: &Path| {
        path.file_name()
            .is_some_and(|name| ids.iter().any(|id| name.to_string_lossy().contains(id)))
    };
    let groups = cgroup::below("/");
    let leaves = groups
        .iter()
        .filter(|path| named(path) || path.starts_with(&parent) && **path != parent);
    left.extend(leaves.map(|path| format!("cgroup {}", path.display())));
    for folder in folders {
        let found = walk(folder).into_iter().filter(|path| named(path));
        left.extend(found.map(|path| format!("state {}", path.display())));
    }
    Ok(left)
}

/// Every path below a folder, but not the files of images.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let layers = path.ends_with("layers") || path.ends_with("blobs");
            if !layers && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}
