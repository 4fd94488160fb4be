//! Output that goes to a file. A thread writes it: a disk may take its time, or be full, and nobody else
//! is to wait for that.

use super::pipe;
use crate::wire::status::{Answer, Code, Failure};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a full disk is left alone.
const FULL: Duration = Duration::from_millis(500);

/// Enough for a loop and what it calls.
const STACK: usize = 128 << 10;

/// Opens the file, with the directories on the way to it, and a pipe that leads to its end.
pub(super) fn append(path: &Path) -> Answer<(JoinHandle<()>, OwnedFd)> {
    let failed = |error: std::io::Error| {
        let code = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::ResourceExhausted,
            ErrorKind::PermissionDenied => Code::PermissionDenied,
            ErrorKind::NotFound => Code::NotFound,
            _ => Code::Unknown,
        };
        Failure::new(code, format!("open log {}: {error}", path.display()))
    };
    if let Some(parent) = path.parent() {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o755);
        builder.create(parent).map_err(failed)?;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o644);
    let file = options.open(path).map_err(failed)?;
    let (from, end) = pipe()?;
    let writer = thread::Builder::new().stack_size(STACK);
    let writer = writer.spawn(move || copy(File::from(from), file));
    let writer = writer.map_err(failed)?;
    Ok((writer, end))
}

/// Until nobody can write any more. What does not fit waits, and whoever writes waits with it.
fn copy(mut from: File, mut to: File) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_broken) => return,
        };
        let mut rest = buffer.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            match to.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_full) => thread::sleep(FULL),
            }
        }
    }
}
