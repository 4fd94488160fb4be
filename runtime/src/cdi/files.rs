//! The files of one directory. They say what is mounted into containers and which programs run as
//! root, so whoever can write one is root: it is read only if that is nobody new.

use crate::error::{At, Error, ErrorKind, Result};
use crate::host::Host;
use rustix::fs::{Dir, FileType, Mode, OFlags, Stat, fstat, open, openat};
use rustix::io::Errno;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What one file may hold at most.
const MAX_FILE: u64 = 4 << 20;

/// A file, and its text or why it was passed over.
pub(super) type Entry = (PathBuf, std::result::Result<Vec<u8>, String>);

/// Reads those whose names end in `.json`, in order of their names; none where there is no directory.
///
/// # Errors
/// `Denied` for a directory that others may write to, or what the kernel answers.
pub(super) fn read(dir: &Path) -> Result<Vec<Entry>> {
    let shown = &dir.display();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = match open(dir, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        other => other.at("open CDI directory", shown)?,
    };
    let stat = fstat(&fd).at("check CDI directory", shown)?;
    let machines = Machines::of(dir);
    if let Err(why) = machines.check(&stat) {
        return Err(
            Error::new(ErrorKind::Denied, "use CDI directory", shown.to_string())
                .because(why)
                .with_hint("it must belong to root, and only root may write to it"),
        );
    }
    let mut names = Vec::new();
    for entry in Dir::read_from(&fd).at("read CDI directory", shown)? {
        let name = entry
            .at("read CDI directory", shown)?
            .file_name()
            .to_owned();
        if name.to_bytes().ends_with(b".json") {
            names.push(name);
        }
    }
    names.sort_unstable();
    let entries = names.iter().map(|name| {
        let path = dir.join(name.to_string_lossy().as_ref());
        (path, text(&fd, name, machines))
    });
    Ok(entries.collect())
}

fn text(
    dir: &OwnedFd,
    name: &std::ffi::CStr,
    machines: Machines,
) -> std::result::Result<Vec<u8>, String> {
    // Neither a link, which may lead where others write, nor a fifo that waits for somebody.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let said = |errno: Errno| match errno {
        Errno::LOOP => "it is a symbolic link".to_owned(),
        errno => nix::errno::Errno::from_raw(errno.raw_os_error())
            .desc()
            .to_lowercase(),
    };
    let file = openat(dir, name, flags, Mode::empty()).map_err(said)?;
    let stat = fstat(&file).map_err(said)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("it is no file".to_owned());
    }
    machines.check(&stat)?;
    let mut text = Vec::new();
    let mut file = std::fs::File::from(file).take(MAX_FILE + 1);
    file.read_to_end(&mut text)
        .map_err(|error| error.to_string())?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_FILE) {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    Ok(text)
}

/// Who stands for root of the machine.
#[derive(Debug, Clone, Copy)]
struct Machines {
    /// In a user namespace without an id for it the machine's root shows as nobody. Only in folders that it
    /// alone can have made, for nobody is also who that is in a container.
    nobody_is_root: bool,
}

impl Machines {
    fn of(dir: &Path) -> Self {
        let usual = super::DIRS.iter().any(|usual| dir == Path::new(usual));
        Self {
            nobody_is_root: usual && Host::default().is_in_user_namespace(),
        }
    }

    fn check(self, stat: &Stat) -> std::result::Result<(), String> {
        const NOBODY: u32 = 65534;
        let caller = rustix::process::geteuid().as_raw();
        let is_root = stat.st_uid == 0 || (self.nobody_is_root && stat.st_uid == NOBODY);
        if !is_root && stat.st_uid != caller {
            return Err(format!("it belongs to user {}", stat.st_uid));
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(format!(
                "others may write to it: its mode is {:04o}",
                stat.st_mode & 0o7777
            ));
        }
        Ok(())
    }
}
