//! Finds cgroup2 wherever it is mounted: one open and one `fstatfs` on a unified host, the mount table
//! only on a hybrid one.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FsWord, Mode, OFlags};
use rustix::io::Errno;

use super::controllers::Controllers;
use super::dir;
use super::error::{CgroupError, CgroupErrorKind, Result};

/// Where every unified host has it.
const USUAL: &str = "/sys/fs/cgroup";

/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const CGROUP2: FsWord = 0x6367_7270;

/// The root of the cgroup2 mount; cloning it costs no system call.
#[derive(Clone, Debug)]
pub(crate) struct CgroupRoot(Arc<Root>);

#[derive(Debug)]
struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

impl CgroupRoot {
    /// Finds the mount.
    ///
    /// # Errors
    /// `NoCgroup2` when there is none.
    pub(crate) fn find() -> Result<Self> {
        if let Some(root) = Self::at(Path::new(USUAL))? {
            return Ok(root);
        }
        let table = std::fs::read("/proc/self/mountinfo").map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            CgroupError::sys("read", "/proc/self/mountinfo", errno)
        })?;
        for path in mounts_of(&table, b"cgroup2") {
            if let Some(root) = Self::at(&path)? {
                return Ok(root);
            }
        }
        Err(CgroupError::new(
            "find",
            "a cgroup2 mount",
            CgroupErrorKind::NoCgroup2,
            "none in /proc/self/mountinfo",
        )
        .hint("mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup"))
    }

    /// Opens `path` if it is cgroup2, otherwise `None`.
    ///
    /// # Errors
    /// Anything but absence.
    pub(crate) fn at(path: &Path) -> Result<Option<Self>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let failed = |errno| CgroupError::sys("open", path.display().to_string(), errno);
        let fd = match rustix::fs::open(path, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => return Ok(None),
            answer => answer.map_err(failed)?,
        };
        let kind = rustix::fs::fstatfs(&fd).map_err(failed)?.f_type;
        let path = path.to_owned();
        Ok((kind == CGROUP2).then(|| Self(Arc::new(Root { path, fd }))))
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Controllers that this hierarchy offers; read when asked, limits are rare.
    ///
    /// # Errors
    /// The errno of reading `cgroup.controllers`.
    pub(crate) fn controllers(&self) -> Result<Controllers> {
        dir::read(self.as_fd(), "cgroup.controllers")
            .map(|text| Controllers::parse(&text))
            .map_err(|errno| {
                let file = self.path().join("cgroup.controllers");
                CgroupError::sys("read", file.display().to_string(), errno)
            })
    }
}

/// An `O_PATH` directory.
impl AsFd for CgroupRoot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

/// Mount points of a type, those that show the whole hierarchy first. `proc_pid_mountinfo(5)`.
pub(crate) fn mounts_of(table: &[u8], wanted: &[u8]) -> Vec<PathBuf> {
    let mut found: Vec<(bool, PathBuf)> = table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ');
            let root = fields.nth(3)?;
            let point = fields.next()?;
            let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
            (kind == wanted).then(|| (root != b"/", unescape(point)))
        })
        .collect();
    found.sort_by_key(|(partial, _point)| *partial);
    found.into_iter().map(|(_partial, point)| point).collect()
}

/// `\040` and its like back into bytes.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        if let [
            b'\\',
            a @ b'0'..=b'3',
            b @ b'0'..=b'7',
            c @ b'0'..=b'7',
            tail @ ..,
        ] = rest
        {
            out.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
            rest = tail;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HYBRID: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory\n\
        40 31 0:38 /docker/x /mnt/part rw - cgroup2 cgroup2 rw\n\
        41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime shared:1 master:2 - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_mount_of_the_whole_hierarchy_comes_first_and_is_unescaped() {
        let found = mounts_of(HYBRID, b"cgroup2");
        assert_eq!(
            found,
            [
                PathBuf::from("/sys/fs/cgroup/uni fied"),
                PathBuf::from("/mnt/part")
            ]
        );
    }

    #[test]
    fn a_directory_of_another_file_system_is_not_cgroup2() {
        assert!(CgroupRoot::at(Path::new("/proc")).unwrap().is_none());
        assert!(CgroupRoot::at(Path::new("/no/such/dir")).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn any_mount_table_is_read_without_panic(table in proptest::collection::vec(
            prop_oneof![Just(b' '), Just(b'-'), Just(b'\\'), Just(b'0'), Just(b'\n'), any::<u8>()], 0..200)) {
            for path in mounts_of(&table, b"cgroup2") {
                prop_assert!(path.as_os_str().len() <= table.len());
            }
        }
    }
}
