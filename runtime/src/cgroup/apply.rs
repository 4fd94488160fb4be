//! Sets the limits of a new cgroup: first those that libcgroups sets, then ours.

use std::error::Error;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use libcgroups::common::{CgroupManager, ControllerOpt, WrappedIoError};
use libcgroups::v2::manager::{Manager, V2ManagerError};
use rustix::io::Errno;

use super::devices;
use super::dir;
use super::error::{CgroupError, CgroupErrorKind, Result};
use super::group::Cgroup;
use super::resources::{IoWeight, Resources, Written};

const IO_WEIGHT_FILES: [&str; 2] = ["io.bfq.weight", "io.weight"];

/// Sets every limit; no system call where there is none.
///
/// # Errors
/// The first that fails, with file, value and JSON path.
pub(crate) fn apply(cgroup: &Cgroup, resources: &Resources) -> Result<()> {
    for written in &resources.first {
        write(cgroup, written)?;
    }
    if !resources.lib_files.is_empty() {
        by_libcgroups(cgroup, resources)?;
    }
    for weight in &resources.io_weights {
        io_weight(cgroup, weight)?;
    }
    for written in &resources.writes {
        write(cgroup, written)?;
    }
    Ok(())
}

/// Changes the limits of a cgroup that lives: all of them, or none where one fails.
///
/// # Errors
/// The first that fails, with file, value and JSON path.
pub(crate) fn update(cgroup: &Cgroup, resources: &Resources) -> Result<()> {
    refuse_below_usage(cgroup, resources)?;
    let before = Before::of(cgroup, resources);
    let outcome = apply(cgroup, resources).and_then(|()| match &resources.devices {
        Some(program) => devices::replace(cgroup, program),
        None => Ok(()),
    });
    if outcome.is_err() {
        before.restore(cgroup);
    }
    outcome
}

/// `memory.checkBeforeUpdate`: lowering a limit below what is in use would kill.
pub(super) fn refuse_below_usage(cgroup: &Cgroup, resources: &Resources) -> Result<()> {
    let usage = || -> Option<u64> {
        let text = dir::read(cgroup.as_fd(), "memory.current").ok()?;
        text.trim().parse().ok()
    };
    let Some((check, usage)) = resources.check.zip(usage()) else {
        return Ok(());
    };
    for (what, setting, limit) in [
        ("memory+swap", "linux.resources.memory.swap", check.total),
        ("memory", "linux.resources.memory.limit", check.limit),
    ] {
        if limit > 0 && u64::try_from(limit).is_ok_and(|limit| limit <= usage) {
            let cause = format!("rejecting {what} limit {limit} <= usage {usage}");
            let subject = format!("limits of cgroup {}", cgroup.path());
            return Err(
                CgroupError::new("set", subject, CgroupErrorKind::InvalidValue, cause)
                    .setting(setting),
            );
        }
    }
    Ok(())
}

/// The files an update writes, as they were.
struct Before(Vec<(String, String)>);

impl Before {
    fn of(cgroup: &Cgroup, resources: &Resources) -> Self {
        let weights = resources.io_weights.first().map(|_| IO_WEIGHT_FILES);
        let written = [&resources.first, &resources.lib_files, &resources.writes];
        let files = written.into_iter().flatten().map(|written| &*written.file);
        let mut files: Vec<&str> = files.chain(weights.into_iter().flatten()).collect();
        files.sort_unstable();
        files.dedup();
        let read = |file: &str| Some((file.to_owned(), dir::read(cgroup.as_fd(), file).ok()?));
        Self(files.into_iter().filter_map(read).collect())
    }

    /// As far as it can be done: the error that led here is the one that is reported. A device that had
    /// no limit before keeps the new one.
    fn restore(&self, cgroup: &Cgroup) {
        // Swap before memory and a burst after its quota, as when they are set.
        for (file, text) in self.0.iter().rev() {
            let lines = text.lines().filter(|line| !line.is_empty());
            let lines: Vec<&str> = lines.collect();
            for line in if lines.is_empty() { vec!["\n"] } else { lines } {
                dir::write(cgroup.as_fd(), file, line).unwrap_or_default();
            }
        }
    }
}

fn write(cgroup: &Cgroup, written: &Written) -> Result<()> {
    match dir::write(cgroup.as_fd(), &written.file, &written.value) {
        Err(errno) if written.forgiven == Some(errno) => Ok(()),
        answer => answer.map_err(|errno| not_set(cgroup, written, errno)),
    }
}

/// libcgroups takes paths. `/proc/thread-self/fd/N` is the one that names the directory we hold.
fn by_libcgroups(cgroup: &Cgroup, resources: &Resources) -> Result<()> {
    let directory = format!("/proc/thread-self/fd/{}", cgroup.as_fd().as_raw_fd());
    let options = ControllerOpt {
        resources: &resources.lib,
        disable_oom_killer: false,
        oom_score_adj: None,
        freezer_state: None,
    };
    Manager::new(PathBuf::from(directory), PathBuf::new())
        .and_then(|manager| manager.apply(&options))
        .map_err(|error| explain(cgroup, resources, &error))
}

/// Finds the file, the errno and so the setting in an error of libcgroups.
fn explain(cgroup: &Cgroup, resources: &Resources, error: &V2ManagerError) -> CgroupError {
    let unknown = || {
        let subject = format!("limits of cgroup {}", cgroup.path());
        CgroupError::new("set", subject, CgroupErrorKind::Io, error.to_string())
    };
    let Some(io) = io_error(error) else {
        return unknown();
    };
    let errno = Errno::from_io_error(io.inner()).unwrap_or(Errno::IO);
    let (path, data) = match io {
        WrappedIoError::Write { path, data, .. } => (path, Some(data)),
        WrappedIoError::Open { path, .. }
        | WrappedIoError::Read { path, .. }
        | WrappedIoError::CreateDir { path, .. }
        | WrappedIoError::Other { path, .. } => (path, None),
    };
    let file = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let same_file = |written: &&Written| written.file == file;
    let of_file = || resources.lib_files.iter().filter(same_file);
    let exact = of_file().find(|written| data.is_some_and(|data| *data == written.value));
    match exact.or_else(|| of_file().next()) {
        Some(written) => not_set(cgroup, written, errno),
        None => not_set(
            cgroup,
            &Written {
                file: file.to_owned(),
                value: data.cloned().unwrap_or_default(),
                setting: "linux.resources".to_owned(),
                forgiven: None,
            },
            errno,
        ),
    }
}

fn io_error(error: &V2ManagerError) -> Option<&WrappedIoError> {
    if let V2ManagerError::CpuSetController(io) | V2ManagerError::PidsController(io) = error {
        return Some(io);
    }
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref() {
            return Some(io);
        }
        source = error.source();
    }
    None
}

/// BFQ's own file where the kernel has it, with the scale of the spec; `io.weight` otherwise, whose scale
/// is ten times as long.
fn io_weight(cgroup: &Cgroup, weight: &IoWeight) -> Result<()> {
    let prefix = weight
        .device
        .map_or_else(String::new, |(major, minor)| format!("{major}:{minor} "));
    let [bfq, plain] = IO_WEIGHT_FILES;
    let written = |file: &str, weight_value: u32| Written {
        file: file.to_owned(),
        value: format!("{prefix}{weight_value}"),
        setting: weight.setting.clone(),
        forgiven: None,
    };
    let bfq = written(bfq, u32::from(weight.weight));
    match dir::write(cgroup.as_fd(), &bfq.file, &bfq.value) {
        Err(Errno::NOENT) => {}
        answer => return answer.map_err(|errno| not_set(cgroup, &bfq, errno)),
    }
    let plain = written(plain, io_weight_of_v1(weight.weight));
    dir::write(cgroup.as_fd(), &plain.file, &plain.value)
        .map_err(|errno| not_set(cgroup, &plain, errno))
}

/// 10..=1000 to 1..=10000, linear.
fn io_weight_of_v1(weight: u16) -> u32 {
    1 + u32::from(weight).saturating_sub(10) * 9999 / 990
}

fn not_set(cgroup: &Cgroup, written: &Written, errno: Errno) -> CgroupError {
    let Written {
        file,
        value,
        setting,
        ..
    } = written;
    let subject = format!("{file} of cgroup {} to {value:?}", cgroup.path());
    let error = CgroupError::sys("set", subject, errno).setting(setting);
    match errno {
        Errno::NOENT => error
            .kind(CgroupErrorKind::ControllerMissing)
            .hint("this kernel has no such file: drop the setting or use another kernel"),
        Errno::PERM | Errno::ACCESS | Errno::ROFS => {
            error.hint("the cgroup is not delegated to this user: choose another linux.cgroupsPath")
        }
        Errno::INVAL | Errno::RANGE => error.hint("the kernel refuses this value"),
        Errno::NODEV | Errno::NXIO => error
            .kind(CgroupErrorKind::InvalidValue)
            .hint("no such device on this host"),
        Errno::BUSY => error
            .kind(CgroupErrorKind::InvalidValue)
            .hint("more is in use already than the limit allows"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_weights_keep_their_ends_and_the_default() {
        assert_eq!(io_weight_of_v1(10), 1);
        assert_eq!(io_weight_of_v1(500), 4950);
        assert_eq!(io_weight_of_v1(1000), 10000);
    }
}
