//! /etc/hosts, /etc/hostname and /etc/resolv.conf: files of the container's own, mounted over the image's.

use crate::args::run::Run;
use crate::flags::namespace::Sharing;
use crate::record::Record;
use anyhow::{Context, Result};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// More than any resolver or hosts file that is one.
const LARGEST: u64 = 1 << 20;

const LOCALHOST: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// Writes the files and says where each belongs.
///
/// # Errors
/// When the record's directory cannot be written.
pub(super) fn write(
    flags: &Run,
    record: &Record,
    hostname: &str,
) -> Result<Vec<(&'static str, PathBuf)>> {
    let host_network = flags.isolation.network == Some(Sharing::Host);
    let (hosts, resolver) = if host_network {
        (
            host_file("/etc/hosts")?.unwrap_or_else(|| LOCALHOST.as_bytes().to_vec()),
            host_file("/etc/resolv.conf")?,
        )
    } else {
        (
            format!("{LOCALHOST}127.0.1.1\t{hostname}\n").into_bytes(),
            None,
        )
    };
    let files = [
        (
            "/etc/hostname",
            "hostname",
            format!("{hostname}\n").into_bytes(),
        ),
        ("/etc/hosts", "hosts", hosts),
        // Without a network there is no server to ask.
        (
            "/etc/resolv.conf",
            "resolv.conf",
            resolver.unwrap_or_default(),
        ),
    ];
    files
        .into_iter()
        .map(|(destination, name, text)| {
            let path = record.dir().join(name);
            write_file(&path, &text)?;
            Ok((destination, path))
        })
        .collect()
}

fn host_file(path: &str) -> Result<Option<Vec<u8>>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read '{path}'")),
    };
    let mut text = Vec::new();
    file.take(LARGEST)
        .read_to_end(&mut text)
        .with_context(|| format!("cannot read '{path}'"))?;
    Ok(Some(text))
}

fn write_file(path: &Path, text: &[u8]) -> Result<()> {
    let written = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o644)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text)?;
            // Whatever our umask is: every user of the container reads these.
            file.set_permissions(std::fs::Permissions::from_mode(0o644))
        });
    written.with_context(|| format!("cannot write '{}'", path.display()))
}
