//! Gives files of the host a label that a container may use: those made for it, and volumes with `z` or `Z`.

use crate::report::Failure;
use anyhow::{Context, Result, bail};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, XattrFlags, openat, openat2, setxattr,
    statat,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Deeper than any tree that is not an attack on the stack.
const DEEPEST: usize = 512;

/// Labels a file, or a directory and all below it. No path is walked twice and no link is followed.
///
/// # Errors
/// When it is not there, or the file system has no labels.
pub(super) fn tree(path: &Path, label: &str) -> Result<()> {
    reached(path, label, ResolveFlags::empty())
}

fn reached(path: &Path, label: &str, resolve: ResolveFlags) -> Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let place = openat2(CWD, path, flags, Mode::empty(), resolve);
    place
        .map_err(anyhow::Error::from)
        .and_then(|place| below(&place, label, 0))
        .with_context(|| format!("cannot label '{}'", path.display()))
}

/// The same for a volume of the command line: places that the machine needs as they are stay as they are.
///
/// # Errors
/// As [`tree`], and for such a place.
pub(super) fn volume(path: &Path, label: &str) -> Result<()> {
    let real = path
        .canonicalize()
        .with_context(|| format!("cannot find '{}'", path.display()))?;
    let deep = real.components().count() > 2;
    let own = ["/etc/passwd", "/etc/shadow", "/var/lib", "/var/log"].map(Path::new);
    let below = ["/usr", "/boot", "/dev", "/proc", "/sys"];
    if !deep || own.contains(&real.as_path()) || below.iter().any(|dir| real.starts_with(dir)) {
        let refused = format!(
            "the volume option z or Z would label '{}' anew",
            real.display()
        );
        return Err(Failure::new(refused)
            .hint("mount a directory of its own")
            .into());
    }
    // Nobody puts a link in its place after it was looked at.
    reached(&real, label, ResolveFlags::NO_SYMLINKS)
}

fn below(place: &OwnedFd, label: &str, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        bail!("the directories are nested deeper than {DEEPEST}");
    }
    set(place.as_fd(), label)?;
    let kind = statat(place, c"", AtFlags::EMPTY_PATH)?;
    if FileType::from_raw_mode(kind.st_mode) != FileType::Directory {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = openat(place, c".", flags, Mode::empty())?;
    for entry in Dir::read_from(open)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            below(
                &openat(place, name, flags, Mode::empty())?,
                label,
                depth + 1,
            )?;
        }
    }
    Ok(())
}

/// By the name of the descriptor: what it is of is labelled, a link as well, and no device is opened.
fn set(file: BorrowedFd<'_>, label: &str) -> Result<()> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(setxattr(
        path,
        c"security.selinux",
        label.as_bytes(),
        XattrFlags::empty(),
    )?)
}
