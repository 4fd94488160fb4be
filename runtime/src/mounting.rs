//! A mount that failed in the room, in words: the plan's names, and the kernel's own reasons.

use crate::error::{Error, ErrorKind};
use crate::failure::Names;
use crate::plan::mounts::MountPlan;
use crate::plan::sources::SourcePlan;
use hostrun_inside::{Step, byte};
use nix::errno::Errno;
use rustix::mount::{FsOpenFlags, fsconfig_set_flag, fsconfig_set_string, fsopen};
use std::ffi::CString;

/// The sentence, with runc's beginning.
pub(crate) fn explain(step: Step, index: usize, errno: i32, names: &Names<'_>) -> Error {
    if index == usize::from(byte::ROOT) {
        return Error::from_errno(errno, "open root", String::new());
    }
    let Some(mount) = names.plan.and_then(|plan| plan.root.mounts.get(index)) else {
        return Error::from_errno(errno, verb(step), "a mount");
    };
    let subject = format!(
        "{:?} to rootfs at {:?}: {}",
        mount.source_name(),
        mount.destination.to_string_lossy(),
        verb(step)
    );
    let error = Error::from_errno(errno, "error mounting", subject).with_kind(ErrorKind::System);
    let errno = Errno::from_raw(errno);
    match (step, errno) {
        (Step::MountTarget, Errno::ELOOP | Errno::ENOTDIR) if mount.strict_target => {
            error.with_kind(ErrorKind::Denied).because(format!(
                "filesystem {:?} must be mounted on ordinary directory",
                kind(mount)
            ))
        }
        (Step::MountTarget, Errno::EPERM) => {
            error.because("it cannot be mounted because it is inside /proc (EPERM)")
        }
        (Step::MountAttach, Errno::EINVAL | Errno::ENOTDIR) => {
            error.with_hint("a file can only be mounted on a file, a directory on a directory")
        }
        (Step::MountSource, Errno::EINVAL) => error.with_hint(
            "in a user namespace a bind that leaves out the mounts below it would show what they \
             cover: use rbind",
        ),
        (Step::MountAttributes, Errno::ENOSYS) => {
            error.because("attributes of a whole tree need mount_setattr(2) of Linux 5.12 (ENOSYS)")
        }
        (Step::MountCreate, _) => creation(error, errno, mount),
        _ => error,
    }
}

fn verb(step: Step) -> &'static str {
    match step {
        Step::MountTarget => "find the mount target",
        Step::MountCreate => "make the file system",
        Step::MountSource => "open the source",
        Step::MountIds => "map the ids",
        Step::MountCopy => "tmpcopyup: copy what is there",
        Step::MountAttach => "mount",
        _ => "set attributes",
    }
}

fn kind(mount: &MountPlan) -> String {
    match &mount.source {
        SourcePlan::New { fstype, .. } => fstype.to_string_lossy().into_owned(),
        _ => "sysfs".to_owned(),
    }
}

fn creation(error: Error, errno: Errno, mount: &MountPlan) -> Error {
    let SourcePlan::New {
        fstype, options, ..
    } = &mount.source
    else {
        return error;
    };
    let name = fstype.to_string_lossy();
    match errno {
        Errno::ENODEV => error.with_kind(ErrorKind::Unsupported).because(format!(
            "the kernel knows no file system of type {name:?}: no such device (ENODEV)"
        )),
        Errno::EINVAL => match kernels_words(fstype, options) {
            Some(words) => error
                .with_kind(ErrorKind::InvalidSpec)
                .because(format!("invalid argument (EINVAL): {words}")),
            None => error,
        },
        _ => error,
    }
}

/// Which option a file system refuses, and why, it says where it is configured: so it is once
/// more, here, without making one.
fn kernels_words(fstype: &CString, options: &[(CString, CString)]) -> Option<String> {
    let context = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    let refused = options.iter().find(|(key, value)| {
        let set = if value.is_empty() {
            fsconfig_set_flag(&context, key)
        } else {
            fsconfig_set_string(&context, key, value)
        };
        set.is_err()
    })?;
    let mut words = [0_u8; 256];
    let length = rustix::io::read(&context, &mut words).unwrap_or(0);
    let words = String::from_utf8_lossy(words.get(..length).unwrap_or_default());
    // The first letter is the level of the message.
    let words = words.trim().trim_start_matches(['e', 'w', 'i']).trim();
    if words.is_empty() {
        return Some(format!(
            "option {:?} is refused",
            refused.0.to_string_lossy()
        ));
    }
    Some(words.to_owned())
}
