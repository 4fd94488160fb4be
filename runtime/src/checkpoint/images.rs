//! Directories with criu's images. What is in them is data, whoever wrote it: nothing in them is
//! followed anywhere, and no setting is taken from them (CVE-2026-53492, CVE-2026-53489).

use crate::error::{At, Error, ErrorKind, Result};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, mkdirat, openat, readlinkat, unlinkat,
};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Where the container's three standard streams led, for `restore`.
const DESCRIPTORS: &str = "descriptors.json";

/// The link criu itself makes to the images of the dump before, `--parent-path`.
const PARENT: &str = "parent";

/// More than three names ever need.
const MAX_DESCRIPTORS_BYTES: u64 = 64 << 10;

/// An open directory of images, or of logs.
#[derive(Debug)]
pub(super) struct Images {
    fd: OwnedFd,
    path: PathBuf,
}

impl Images {
    /// Opens a directory, made where it is missing.
    pub(super) fn make(path: &Path) -> Result<Images> {
        match mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Images::open(path),
            Err(errno) => Err(errno).at("create", path.display()),
        }
    }

    /// Opens a directory.
    pub(super) fn open(path: &Path) -> Result<Images> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty()).at("open", path.display())?;
        Ok(Images {
            fd,
            path: path.to_owned(),
        })
    }

    /// The same directory as a process with other mounts has it: a mount of ours is none of its own,
    /// and nothing could be mounted there.
    pub(super) fn seen_by(&self, pid: u32) -> Result<Images> {
        let failed = || self.path.display();
        let link = readlinkat(CWD, format!("/proc/self/fd/{}", self.number()), Vec::new());
        let link = link.at("name", failed())?;
        let mut path = format!("/proc/{pid}/root").into_bytes();
        path.extend(link.to_bytes());
        let theirs = Images {
            path: self.path.clone(),
            ..Images::open(Path::new(OsStr::from_bytes(&path)))?
        };
        let identity = |images: &Images| {
            fstat(&images.fd)
                .map(|stat| (stat.st_dev, stat.st_ino))
                .at("check", failed())
        };
        if identity(self)? == identity(&theirs)? {
            return Ok(theirs);
        }
        let path = failed().to_string();
        Err(Error::new(ErrorKind::Denied, "open", path).because("it was moved meanwhile"))
    }

    /// Refuses what criu would follow or wait for: links, pipes, devices.
    pub(super) fn refuse_links(&self) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let again = openat(&self.fd, ".", flags, Mode::empty()).at("open", self.path.display())?;
        for entry in Dir::new(again).at("read", self.path.display())? {
            let entry = entry.at("read", self.path.display())?;
            let name = entry.file_name();
            let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
            let kind = FileType::from_raw_mode(stat.at("check", self.path.display())?.st_mode);
            let ordinary = matches!(kind, FileType::RegularFile | FileType::Directory);
            let own = kind == FileType::Symlink && name.to_bytes() == PARENT.as_bytes();
            if !ordinary && !own {
                let file = self.path.join(name.to_string_lossy().into_owned());
                return Err(Error::new(
                    ErrorKind::Denied,
                    "use checkpoint",
                    file.display().to_string(),
                )
                .because("only plain files belong there"));
            }
        }
        Ok(())
    }

    /// Makes room for a log, so that criu does not write through a link of this name.
    pub(super) fn clear(&self, name: &str) -> Result<()> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).at("remove", self.path.join(name).display()),
        }
    }

    /// Writes down where standard streams lead.
    pub(super) fn write_descriptors(&self, streams: &[String; 3]) -> Result<()> {
        let json = serde_json::to_vec(streams).map_err(|error| self.broken().caused_by(error))?;
        self.clear(DESCRIPTORS)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let path = self.path.join(DESCRIPTORS);
        let file = openat(&self.fd, DESCRIPTORS, flags, Mode::RUSR | Mode::WUSR)
            .at("create", path.display())?;
        std::io::Write::write_all(&mut File::from(file), &json)
            .map_err(|error| self.broken().caused_by(error))
    }

    /// Where they led: only names of pipes, each for the descriptor it stood for. Whatever else an
    /// archive claims is ignored, for criu opens it again by itself.
    pub(super) fn pipes(&self) -> Result<Vec<(i32, String)>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let path = self.path.join(DESCRIPTORS);
        let file =
            openat(&self.fd, DESCRIPTORS, flags, Mode::empty()).at("open", path.display())?;
        let stat = fstat(&file).at("check", path.display())?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.broken().because("it is no plain file"));
        }
        let mut json = Vec::new();
        File::from(file)
            .take(MAX_DESCRIPTORS_BYTES)
            .read_to_end(&mut json)
            .map_err(|error| self.broken().caused_by(error))?;
        pipes_of(&json).map_err(|error| self.broken().caused_by(error))
    }

    fn broken(&self) -> Error {
        let path = self.path.join(DESCRIPTORS).display().to_string();
        Error::new(ErrorKind::System, "use", path)
    }

    /// Its number, by which criu finds it.
    pub(super) fn number(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// Its path, for people.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Images {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(super) fn pipes_of(json: &[u8]) -> serde_json::Result<Vec<(i32, String)>> {
    let streams: Vec<String> = serde_json::from_slice(json)?;
    let pipes = (0..3).zip(streams).filter(|(_, name)| is_pipe(name));
    Ok(pipes.collect())
}

/// `pipe:[NUMBER]`, as /proc/PID/fd has it.
fn is_pipe(name: &str) -> bool {
    let number = name
        .strip_prefix("pipe:[")
        .and_then(|rest| rest.strip_suffix(']'));
    number.is_some_and(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_archive_only_names_of_pipes_reach_criu() {
        let dir = tempfile::tempdir().unwrap();
        let images = Images::open(dir.path()).unwrap();
        let names = ["pipe:[12]", "/etc/shadow", "pipe:[7]", "pipe:[9]"];
        let json = serde_json::to_vec(&names).unwrap();
        std::fs::write(dir.path().join(DESCRIPTORS), json).unwrap();
        assert_eq!(
            images.pipes().unwrap(),
            [(0, "pipe:[12]".into()), (2, "pipe:[7]".into())]
        );
        for name in [
            "pipe:[]",
            "pipe:[1",
            "pipe:[1]x",
            "net[1]:pipe:[1]",
            "pipe:[-1]",
        ] {
            assert!(!is_pipe(name), "{name}");
        }
    }

    #[test]
    fn cve_2026_53489_a_link_in_an_archive_is_refused_and_a_log_is_not_written_through_one() {
        let dir = tempfile::tempdir().unwrap();
        let images = Images::open(dir.path()).unwrap();
        std::os::unix::fs::symlink("/etc/shadow", dir.path().join(DESCRIPTORS)).unwrap();
        assert!(images.pipes().is_err());
        assert_eq!(images.refuse_links().unwrap_err().kind(), ErrorKind::Denied);
        images.clear(DESCRIPTORS).unwrap();
        images.refuse_links().unwrap();
        std::os::unix::fs::symlink("../before", dir.path().join(PARENT)).unwrap();
        images.refuse_links().unwrap();
    }
}
