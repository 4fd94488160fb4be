//! A bundle: a directory with `config.json`, runtime-spec "Filesystem Bundle".

use crate::error::{At, Error, ErrorKind, Result};
use oci_spec::runtime::{Capability, Spec};
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

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
        let dir = dir
            .canonicalize()
            .map_err(|error| io_error(&error, "open bundle", dir))?;
        let path = dir.join("config.json");
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| {
                let length = file.metadata()?.len().min(MAX_CONFIG_BYTES);
                // With room to spare, so that the second read already finds the end.
                bytes.reserve_exact(usize::try_from(length).unwrap_or(0) + 64);
                file.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut bytes)
            })
            .map_err(|error| io_error(&error, "read", &path))?;
        if bytes.len() as u64 > MAX_CONFIG_BYTES {
            return Err(
                Error::new(ErrorKind::InvalidSpec, "read", path.display().to_string())
                    .because("it is larger than 16 MiB"),
            );
        }
        let (spec, unknown_keys) = parse(&bytes).map_err(|error| {
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

/// Parses a config, with the JSON paths of what nobody reads.
pub(crate) fn parse(bytes: &[u8]) -> serde_json::Result<(Spec, Vec<String>)> {
    let mut unknown = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    match serde_ignored::deserialize(&mut json, |path| unknown.push(path.to_string())) {
        Ok(spec) => json.end().map(|()| (spec, unknown)),
        Err(error) => parse_without_unknown_capabilities(bytes, error),
    }
}

/// A capability that is not known cannot be granted; config "Linux Process" wants a warning and
/// no error, because configs are written for newer kernels as well. The types know none, so such
/// names are taken out and named to the caller; every other error stays what it is.
fn parse_without_unknown_capabilities(
    bytes: &[u8],
    error: serde_json::Error,
) -> serde_json::Result<(Spec, Vec<String>)> {
    let mut value: Value = serde_json::from_slice(bytes)?;
    let mut unknown = Vec::new();
    let sets = value
        .pointer_mut("/process/capabilities")
        .and_then(Value::as_object_mut);
    for (set, names) in sets.into_iter().flatten() {
        let Some(names) = names.as_array_mut() else {
            continue;
        };
        names.retain(|name| {
            let known =
                !name.is_string() || serde_json::from_value::<Capability>(name.clone()).is_ok();
            if !known {
                unknown.push(format!("process.capabilities.{set}: {name}"));
            }
            known
        });
    }
    if unknown.is_empty() {
        return Err(error);
    }
    let spec = serde_ignored::deserialize(&value, |path| unknown.push(path.to_string()))?;
    Ok((spec, unknown))
}

/// A config made in memory, as it is kept for later verbs.
pub(crate) fn to_bytes(spec: &Spec) -> Result<Vec<u8>> {
    serde_json::to_vec(spec)
        .map_err(|error| Error::new(ErrorKind::System, "write", "config").caused_by(error))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_named_with_their_path() {
        let json = br#"{"ociVersion":"1.2.0","surprise":1,"process":{"cwd":"/","user":{"uid":0,"gid":0},"odd":{}}}"#;
        let (_, unknown) = parse(json).unwrap();
        assert_eq!(unknown, ["surprise", "process.?.odd"]);
    }

    #[test]
    fn an_unknown_capability_is_named_and_not_granted() {
        let json = br#"{"ociVersion":"1.2.0","process":{"cwd":"/","user":{"uid":0,"gid":0},"capabilities":{"bounding":["CAP_KILL","CAP_FOO"]}}}"#;
        let (spec, unknown) = parse(json).unwrap();
        assert_eq!(unknown, ["process.capabilities.bounding: \"CAP_FOO\""]);
        let process = spec.process().as_ref().unwrap();
        let bounding = process
            .capabilities()
            .as_ref()
            .unwrap()
            .bounding()
            .clone()
            .unwrap();
        assert_eq!(bounding.into_iter().collect::<Vec<_>>(), [Capability::Kill]);
    }

    #[test]
    fn text_after_the_config_is_refused() {
        assert!(parse(br#"{"ociVersion":"1.2.0"} {"#).is_err());
    }
}
