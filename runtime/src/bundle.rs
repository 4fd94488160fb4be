//! A bundle: a directory with `config.json`, runtime-spec "Filesystem Bundle".

use crate::document;
use crate::error::{At, Error, ErrorKind, Result};
use oci_spec::runtime::Spec;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The name of a bundle's config, unless somebody says otherwise.
const CONFIG: &str = "config.json";

/// More than any config seen, less than would hurt: a config is read whole.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

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
        let dir = dir
            .canonicalize()
            .map_err(|error| io_error(&error, "open bundle", dir))?;
        let path = dir.join(config);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| {
                let length = file.metadata()?.len().min(MAX_CONFIG_BYTES);
                // With room to spare, so that the second read already finds the end.
                bytes.reserve_exact(usize::try_from(length).unwrap_or(0) + 64);
                file.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut bytes)
            })
            .map_err(|error| missing(&error, &path))?;
        if bytes.len() as u64 > MAX_CONFIG_BYTES {
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

fn missing(error: &std::io::Error, path: &Path) -> Error {
    if error.kind() != std::io::ErrorKind::NotFound {
        return io_error(error, "read", path);
    }
    let name = path.file_name().unwrap_or_default().display();
    let operation = format!("JSON specification file {name} not found: read");
    io_error(error, &operation, path)
}

fn io_error(error: &std::io::Error, operation: &str, path: &Path) -> Error {
    Error::from_errno(
        error.raw_os_error().unwrap_or(5),
        operation,
        path.display().to_string(),
    )
}

/// Creates nothing, follows nothing odd: plain `openat` of a directory we own.
pub(crate) fn open_dir(path: &Path) -> Result<std::os::fd::OwnedFd> {
    use rustix::fs::{Mode, OFlags, open};
    open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at("open", path.display())
}
