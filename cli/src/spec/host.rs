//! What the host must be asked before a configuration can be made.

use crate::flags::capability;
use crate::flags::device::Device;
use crate::report::Failure;
use anyhow::{Context, Result};
use oci_spec::runtime::{Capability, LinuxDeviceType};
use rustix::fs::{FileType, Stat, major, minor, stat};
use std::path::{Path, PathBuf};

/// A device node of the host, looked up.
#[derive(Debug, Clone)]
pub(crate) struct HostDevice {
    /// Where it is in the container.
    pub(crate) path: PathBuf,
    pub(crate) kind: LinuxDeviceType,
    pub(crate) major: i64,
    pub(crate) minor: i64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) access: String,
}

impl HostDevice {
    /// Looks up what a flag names.
    ///
    /// # Errors
    /// When there is no such file, or it is not a device.
    pub(crate) fn of(device: &Device) -> Result<Self> {
        let shown = device.host.display();
        let stat =
            stat(&device.host).with_context(|| format!("cannot look up device '{shown}'"))?;
        Self::from_stat(&stat, device.container.as_str().into(), &device.access)
            .ok_or_else(|| Failure::new(format!("'{shown}' is not a device")).into())
    }

    fn from_stat(stat: &Stat, path: PathBuf, access: &str) -> Option<Self> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice => LinuxDeviceType::C,
            FileType::BlockDevice => LinuxDeviceType::B,
            _ => return None,
        };
        Some(Self {
            path,
            kind,
            major: major(stat.st_rdev).into(),
            minor: minor(stat.st_rdev).into(),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            access: access.to_owned(),
        })
    }
}

/// Names in /dev that belong to the host's own mounts or terminals, or that every container has its own of.
const NOT_SHARED: [&str; 14] = [
    "pts", "shm", "mqueue", "fd", "console", "ptmx", "null", "zero", "full", "random", "urandom",
    "tty", "stdin", "core",
];

/// Every device node below /dev, for `--privileged`.
pub(crate) fn all_devices() -> Vec<HostDevice> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::from("/dev")];
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries.flatten() {
            let top = dir == Path::new("/dev");
            if top
                && entry
                    .file_name()
                    .to_str()
                    .is_some_and(|name| NOT_SHARED.contains(&name))
            {
                continue;
            }
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => waiting.push(path),
                // A node that vanishes between the two looks is no device of this container.
                Ok(kind) if !kind.is_symlink() => found.extend(device_at(path)),
                _ => {}
            }
        }
    }
    found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    found
}

fn device_at(path: PathBuf) -> Option<HostDevice> {
    let stat = stat(&path).ok()?;
    HostDevice::from_stat(&stat, path, "rwm")
}

/// The capabilities this process could hand on: its bounding set.
///
/// # Errors
/// When /proc does not tell.
pub(crate) fn capabilities() -> Result<Vec<Capability>> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let bits = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .context("/proc/self/status names no bounding set")?;
    Ok(capability::of_bits(bits))
}

/// The host's own name.
pub(crate) fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
