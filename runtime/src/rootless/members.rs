//! Who is in the user's namespace: a file below the state root, locked by whoever enters.
//!
//! A process is written down by its number and its start, which together name one process for ever. The
//! file says where to look, no more: what is joined is looked at by descriptor.

use crate::error::{At, Result};
use crate::host::Host;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::BorrowedFd;

/// No container can have this name.
const FILE: &str = "@namespace";

/// More than all members of a user will ever take.
const MAX_BYTES: u64 = 1 << 20;

/// A process: its number and its start, in ticks since boot.
pub(super) type Member = (i32, u64);

/// The file, locked; the lock is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Members {
    file: File,
    listed: Vec<Member>,
}

impl Members {
    /// Waits for the lock and reads. Two who enter one after the other cannot both find nobody.
    ///
    /// # Errors
    /// What the file system answers.
    pub(super) fn lock(root: BorrowedFd<'_>) -> Result<Members> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(root, FILE, flags, Mode::RUSR | Mode::WUSR).at("open", FILE)?;
        rustix::io::retry_on_intr(|| flock(&fd, FlockOperation::LockExclusive)).at("lock", FILE)?;
        let mut file = File::from(fd);
        let mut text = String::new();
        // One that was cut short says less, which is found out by looking.
        if (&mut file)
            .take(MAX_BYTES)
            .read_to_string(&mut text)
            .is_err()
        {
            text.clear();
        }
        let listed = text.lines().filter_map(parse).collect();
        Ok(Members { file, listed })
    }

    /// Forgets those that have ended; the others.
    pub(super) fn living(&mut self, host: &Host) -> &[Member] {
        self.listed
            .retain(|(pid, start)| host.start_time(*pid) == Some(*start));
        &self.listed
    }

    /// Writes down one more.
    ///
    /// # Errors
    /// What the file system answers.
    pub(super) fn add(mut self, member: Member) -> Result<()> {
        self.listed.push(member);
        let lines = self.listed.iter();
        let lines: Vec<String> = lines
            .map(|(pid, start)| format!("{pid} {start}\n"))
            .collect();
        let text = lines.concat();
        let written = self
            .file
            .rewind()
            .and_then(|()| self.file.write_all(text.as_bytes()))
            .and_then(|()| self.file.set_len(text.len() as u64));
        written
            .map_err(|error| {
                rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
            })
            .at("write", FILE)
    }
}

fn parse(line: &str) -> Option<Member> {
    let (pid, start) = line.split_once(' ')?;
    let pid = pid.parse().ok().filter(|pid| *pid > 0)?;
    Some((pid, start.parse().ok()?))
}
