//! A bundle: a directory with `config.json`, runtime-spec "Filesystem Bundle".

use crate::document;
use crate::error::{At, Error, ErrorKind, Result};
use oci_spec::runtime::Spec;
use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, open, readlink};
use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The name of a bundle's config, unless somebody says otherwise.
const CONFIG: &str = "config.json";

/// More than any config seen, less than would hurt: a config is read whole.
const MAX_CONFIG_BYTES: usize = 16 << 20;

/// Room for most files that are read whole: one system call reads them, another finds the end.
const FIRST_READ: usize = 8 << 10;

/// A parsed bundle.
#[derive(Debug)]
pub struct Bundle {
    dir: PathBuf,
    spec: Spec,
    bytes: Vec<u8>,
    unknown_keys: Vec<String>,
}

impl Bundle {
    /// Reads and parses `config.json` in `dir`.
    ///
    /// # Errors
    /// `NotFound` where there is none, `InvalidSpec` where it is not a config.
    pub fn load(dir: &Path) -> Result<Bundle> {
        Bundle::load_config(dir, Path::new(CONFIG))
    }

    /// As [`Bundle::load`], with a config of another name; `config` is relative to `dir`.
    ///
    /// # Errors
    /// As [`Bundle::load`].
    pub fn load_config(dir: &Path, config: &Path) -> Result<Bundle> {
        let dir = absolute(dir)?;
        let path = dir.join(config);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let bytes = open(&path, flags, Mode::empty())
            .and_then(|file| read_whole(&file, MAX_CONFIG_BYTES))
            .map_err(|errno| missing(errno, &path))?;
        if bytes.len() > MAX_CONFIG_BYTES {
            return Err(
                Error::new(ErrorKind::InvalidSpec, "read", path.display().to_string())
                    .because("it is larger than 16 MiB"),
            );
        }
        let (spec, unknown_keys) = document::spec(&bytes).map_err(|error| {
            Error::new(ErrorKind::InvalidSpec, "parse", path.display().to_string()).caused_by(error)
        })?;
        Ok(Bundle {
            dir,
            spec,
            bytes,
            unknown_keys,
        })
    }

    /// The config.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The directory, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keys of the config, and names of capabilities, that no version of the spec known here has.
    /// The spec wants them ignored; a caller should name them to the user.
    pub fn unknown_keys(&self) -> &[String] {
        &self.unknown_keys
    }

    pub(crate) fn into_parts(self) -> (PathBuf, Spec, Vec<u8>) {
        (self.dir, self.spec, self.bytes)
    }
}

/// A config made in memory, as it is kept for later verbs.
pub(crate) fn to_bytes(spec: &Spec) -> Result<Vec<u8>> {
    serde_json::to_vec(spec)
        .map_err(|error| Error::new(ErrorKind::System, "write", "config").caused_by(error))
}

fn missing(errno: rustix::io::Errno, path: &Path) -> Error {
    let name = path.file_name().unwrap_or_default().display();
    let operation = match errno {
        rustix::io::Errno::NOENT => format!("JSON specification file {name} not found: read"),
        _ => "read".to_owned(),
    };
    Error::from_errno(errno.raw_os_error(), operation, path.display().to_string())
}

/// The directory's own path. The kernel knows it; `realpath(3)` would ask for every part of it.
fn absolute(dir: &Path) -> Result<PathBuf> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let path = open(dir, flags, Mode::empty()).and_then(|fd| {
        let own = format!("/proc/self/fd/{}", fd.as_raw_fd());
        readlink(own, Vec::new())
    });
    let path = path.at("open bundle", dir.display())?;
    let path = PathBuf::from(OsString::from_vec(path.into_bytes()));
    if path.is_absolute() {
        return Ok(path);
    }
    // Out of our reach: below a root that is not ours any more.
    Err(Error::from_errno(
        libc::ENOENT,
        "open bundle",
        dir.display().to_string(),
    ))
}

/// Reads a file to its end, or a byte more than `limit`, to tell that it is too long.
pub(crate) fn read_whole(file: &OwnedFd, limit: usize) -> rustix::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(FIRST_READ);
    while bytes.len() <= limit {
        bytes.reserve(1);
        match rustix::io::read(file, spare_capacity(&mut bytes)) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(bytes)
}

/// Creates nothing, follows nothing odd: plain `openat` of a directory we own.
pub(crate) fn open_dir(path: &Path) -> Result<OwnedFd> {
    open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at("open", path.display())
}
