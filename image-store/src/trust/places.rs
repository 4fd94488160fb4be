//! Where the host's files are, by systemd's rule: the one of the administrator replaces the one of the system that has
//! its name, whole, and drop-ins of both come behind, by their names (systemd-system.conf(5)).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::file;
use crate::error::{At, ErrorKind, Result};

/// The system's, then the administrator's, whose files replace those.
const PLACES: [&str; 2] = ["usr/lib/hostrun", "etc/hostrun"];

/// A file that was read.
pub(super) type Text = (PathBuf, Vec<u8>);

/// The first of these files that is there. One that is masked is there, and says nothing.
pub(super) fn first(root: &Path, names: &[&str]) -> Result<Option<Text>> {
    for name in names {
        let path = root.join(name);
        if is_masked(&path) {
            return Ok(None);
        }
        match file::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            read => return Ok(Some((path, read?))),
        }
    }
    Ok(None)
}

/// All `*.json` in the folders of this name, in the order in which they count.
pub(super) fn drop_ins(root: &Path, folder: &str) -> Result<Vec<Text>> {
    let mut by_name = BTreeMap::new();
    for place in PLACES {
        let dir = root.join(place).join(folder);
        for name in names(&dir)? {
            by_name.insert(name.clone(), dir.join(name));
        }
    }
    let kept = by_name.into_values().filter(|path| !is_masked(path));
    kept.map(|path| file::read(&path).map(|text| (path, text)))
        .collect()
}

/// A link to `/dev/null` takes the system's file away. An empty file does not: that is what a power cut makes
/// of one that was being written.
fn is_masked(path: &Path) -> bool {
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::stat(path).is_ok_and(|stat| {
        let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        is_device && stat.st_rdev == null
    })
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = match rustix::fs::open(dir, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        opened => opened.at("open", dir)?,
    };
    let mut names = Vec::new();
    for entry in Dir::read_from(&fd).at("list", dir)? {
        let entry = entry.at("list", dir)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name
            .strip_suffix(".json")
            .is_some_and(|stem| !stem.starts_with('.'))
        {
            names.push(name);
        }
    }
    Ok(names)
}
