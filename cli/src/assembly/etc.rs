//! /etc/hosts, /etc/hostname and /etc/resolv.conf: files of the container's own, mounted over the image's.
//!
//! They mean something while it runs and no longer, so they lie beside its state, which is in memory on
//! most hosts: `ROOT/@etc/ID/`. No container's id begins with an `@`.

use crate::args::run::Run;
use crate::flags::namespace::Sharing;
use crate::globals::Globals;
use crate::record::{self, Record};
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
/// When the state's directory cannot be written.
pub(super) fn write(
    globals: &Globals,
    flags: &Run,
    record: &Record,
    hostname: &str,
) -> Result<Vec<(&'static str, PathBuf)>> {
    let dir = dir(globals, record);
    record::make_private(&dir)?;
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
            let path = dir.join(name);
            write_file(&path, &text)?;
            Ok((destination, path))
        })
        .collect()
}

/// Removes them; that there are none is no error.
///
/// # Errors
/// When they cannot be removed.
pub(crate) fn remove(globals: &Globals, record: &Record) -> Result<()> {
    let dir = dir(globals, record);
    match std::fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove '{}'", dir.display()))
        }
        _ => Ok(()),
    }
}

fn dir(globals: &Globals, record: &Record) -> PathBuf {
    globals.root.join("@etc").join(record.id())
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
