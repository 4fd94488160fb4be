//! One record: its files, its status, and who attends to it.

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What was asked for; never changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Meta {
    pub(crate) name: Option<String>,
    /// The image as it was named.
    pub(crate) image: String,
    /// The digest the name stood for.
    pub(crate) image_id: String,
    pub(crate) command: Vec<String>,
    /// RFC 3339.
    pub(crate) created: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) stop_signal: String,
    /// Remove everything at the end.
    pub(crate) auto_remove: bool,
    pub(crate) detached: bool,
    pub(crate) terminal: bool,
    /// Standard input is held open.
    pub(crate) interactive: bool,
    /// What was said of its health check, written as images write theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<Value>,
    /// SELinux' label of its files, whose categories are its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mount_label: Option<String>,
}

/// How far a container is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Not started yet.
    #[default]
    Created,
    /// Started.
    Running,
    /// Over.
    Exited,
}

/// What the one who waits for a container knows of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) phase: Phase,
    pub(crate) pid: Option<i32>,
    /// RFC 3339.
    pub(crate) started: Option<String>,
    /// RFC 3339.
    pub(crate) finished: Option<String>,
    /// `None` after an end nobody saw.
    pub(crate) exit_code: Option<u8>,
    pub(crate) error: Option<String>,
    /// It ended for want of memory, and `error` says on which limit.
    pub(crate) oom_killed: bool,
}

/// The right to wait for a container; given back when dropped, or by the kernel when its holder dies.
#[derive(Debug)]
pub(crate) struct Attendance(OwnedFd);

/// The record of one container.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    id: String,
    dir: PathBuf,
}

impl Record {
    pub(super) fn new(id: String, dir: PathBuf) -> Self {
        Self { id, dir }
    }

    /// All 64 digits.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The first digits.
    pub(crate) fn short(&self) -> &str {
        self.id.get(..super::SHORT).unwrap_or(&self.id)
    }

    /// Where the record is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a detached container's output is.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Reads what was asked for.
    ///
    /// # Errors
    /// When the file is missing or not ours.
    pub(crate) fn meta(&self) -> Result<Meta> {
        self.read("meta.json")
    }

    /// Reads how far it is; a container without a status is only created. So is one whose status is a file of nothing:
    /// it is not synced, for it means little after a boot, and that is what a power cut makes of it.
    ///
    /// # Errors
    /// When the file is there but not ours.
    pub(crate) fn status(&self) -> Result<Status> {
        let path = self.dir.join("status.json");
        if !path.exists() {
            return Ok(Status::default());
        }
        let text = read(&path)?;
        if text.iter().all(|byte| *byte == 0) {
            return Ok(Status::default());
        }
        parse(&path, &text)
    }

    /// Reads the OCI configuration.
    ///
    /// # Errors
    /// When the file is missing or not one.
    pub(crate) fn config<T: DeserializeOwned>(&self) -> Result<T> {
        self.read("config.json")
    }

    /// Writes what was asked for.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(crate) fn write_meta(&self, meta: &Meta) -> Result<()> {
        self.write("meta.json", meta)
    }

    /// Writes the OCI configuration, before anything that leads others to look for it.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(crate) fn write_config(&self, config: &[u8]) -> Result<()> {
        let path = self.dir.join("config.json");
        std::fs::File::create_new(&path)
            .and_then(|mut file| file.write_all(config))
            .with_context(|| format!("cannot write '{}'", path.display()))
    }

    /// Replaces the status.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(crate) fn write_status(&self, status: &Status) -> Result<()> {
        self.write("status.json", status)
    }

    /// Becomes the one who waits for the container; blocks while another does.
    ///
    /// # Errors
    /// When the lock cannot be made.
    pub(crate) fn attend(&self) -> Result<Attendance> {
        self.lock(FlockOperation::LockExclusive)?
            .with_context(|| format!("cannot lock '{}'", self.dir.display()))
    }

    /// Whether somebody waits for the container now.
    ///
    /// # Errors
    /// When the lock cannot be tried.
    pub(crate) fn is_attended(&self) -> Result<bool> {
        Ok(self
            .lock(FlockOperation::NonBlockingLockExclusive)?
            .is_none())
    }

    fn lock(&self, operation: FlockOperation) -> Result<Option<Attendance>> {
        // The directory itself: one file less to make and remove. Whoever watches it hears of files in
        // it, not of who opens it.
        let path = &self.dir;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty())
            .with_context(|| format!("cannot open '{}'", path.display()))?;
        loop {
            match rustix::fs::flock(&file, operation) {
                Ok(()) => return Ok(Some(Attendance(file))),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot lock '{}'", path.display()));
                }
            }
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.dir.join(name);
        parse(&path, &read(&path)?)
    }

    /// Writes beside and renames, so that a reader sees the old file or the new one.
    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.dir.join(name);
        let beside = self.dir.join(format!("{name}.new"));
        let bytes = serde_json::to_vec(value)
            .with_context(|| format!("cannot write '{}'", path.display()))?;
        std::fs::File::create(&beside)
            .and_then(|mut file| file.write_all(&bytes))
            .and_then(|()| std::fs::rename(&beside, &path))
            .with_context(|| format!("cannot write '{}'", path.display()))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read '{}'", path.display()))
}

fn parse<T: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).with_context(|| format!("cannot read '{}'", path.display()))
}

impl Attendance {
    /// Gives the right back.
    pub(crate) fn end(self) {
        drop(self.0);
    }
}
