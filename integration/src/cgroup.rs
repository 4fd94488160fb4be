//! The cgroup2 tree as a test sees it: `/sys/fs/cgroup`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::runtime::PATIENCE;

/// Where the suite has cgroup2 mounted.
pub const ROOT: &str = "/sys/fs/cgroup";

/// The folder of a cgroup given by its path from the root of the tree.
pub fn dir(cgroup: &str) -> PathBuf {
    Path::new(ROOT).join(cgroup.trim_start_matches('/'))
}

/// Whether the machine hands out a controller, so that limits of that kind can be set.
pub fn has_controller(name: &str) -> bool {
    fs::read_to_string(dir("cgroup.controllers"))
        .is_ok_and(|list| list.split_whitespace().any(|controller| controller == name))
}

/// Reads one file of a cgroup, without the last newline.
///
/// # Errors
/// When the cgroup or the file is not there.
pub fn read(cgroup: &str, file: &str) -> Result<String> {
    let path = dir(cgroup).join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.trim_end().to_owned())
}

/// One number out of a file of `key value` lines, such as `cpu.stat`.
///
/// # Errors
/// When there is no such file or key.
pub fn value(cgroup: &str, file: &str, key: &str) -> Result<u64> {
    let text = read(cgroup, file)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
        .with_context(|| format!("{cgroup}/{file} has no {key}"))?;
    Ok(line.parse()?)
}

/// The cgroups at and below `cgroup`, deepest first; empty when there is none.
pub fn below(cgroup: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir(cgroup)];
    while let Some(path) = open.pop() {
        let Ok(entries) = fs::read_dir(&path) else {
            continue;
        };
        open.extend(
            entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.is_dir()),
        );
        found.push(path);
    }
    found.reverse();
    found
}

/// Kills what runs in a cgroup and removes it with all below.
///
/// # Errors
/// When something stays after a minute.
pub fn remove(cgroup: &str) -> Result<()> {
    if !dir(cgroup).exists() {
        return Ok(());
    }
    fs::write(dir(cgroup).join("cgroup.kill"), "1").context("write cgroup.kill")?;
    let end = Instant::now() + PATIENCE;
    loop {
        let mut last = Ok(());
        for path in below(cgroup) {
            if let Err(error) = fs::remove_dir(&path) {
                last = Err(error).with_context(|| format!("remove {}", path.display()));
            }
        }
        if last.is_ok() || Instant::now() > end {
            return last;
        }
        sleep(Duration::from_millis(20));
    }
}
