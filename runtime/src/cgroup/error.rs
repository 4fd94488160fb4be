//! The one error of this module, one lower-case line: `op subject: cause`.

use std::fmt;

use nix::errno::Errno as Named;
use rustix::io::Errno;

/// What a caller can do about a [`CgroupError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CgroupErrorKind {
    /// No cgroup2 file system is mounted anywhere.
    NoCgroup2,
    /// The cgroup path of the configuration is not one we accept.
    InvalidPath,
    /// The cgroup exists and has processes or sub-cgroups.
    InUse,
    /// The cgroup or one of its ancestors is frozen.
    Frozen,
    /// A limit was asked for whose controller this host or parent does not give.
    ControllerMissing,
    /// Not allowed to the caller: not root, not delegated, or mounted read-only.
    Permission,
    /// The kernel lacks it.
    Unsupported,
    /// The deadline passed first.
    TimedOut,
    /// The cgroup is gone.
    NotFound,
    /// A value was refused by the kernel.
    InvalidValue,
    /// Anything else the kernel said.
    Io,
}

impl CgroupErrorKind {
    fn of(errno: Errno) -> Self {
        match errno {
            Errno::PERM | Errno::ACCESS | Errno::ROFS => Self::Permission,
            Errno::NOENT | Errno::NODEV => Self::NotFound,
            Errno::INVAL | Errno::RANGE => Self::InvalidValue,
            Errno::NOSYS | Errno::OPNOTSUPP => Self::Unsupported,
            Errno::BUSY | Errno::NOTEMPTY | Errno::EXIST => Self::InUse,
            _ => Self::Io,
        }
    }
}

/// A failure of this module. `Display` is one line without the hint; print the hint after it.
#[derive(Debug, thiserror::Error)]
#[error("{op} {subject}{}: {cause}", Of(setting.as_deref()))]
pub(crate) struct CgroupError {
    /// The verb: `create`, `set`, `freeze`.
    pub(crate) op: &'static str,
    /// What the verb was applied to.
    pub(crate) subject: String,
    /// JSON path of the setting of config.json that asked for it.
    pub(crate) setting: Option<String>,
    /// What a caller can do about it.
    pub(crate) kind: CgroupErrorKind,
    /// An errno name, or a short text.
    pub(crate) cause: String,
    /// The errno, when a system call failed.
    pub(crate) errno: Option<Errno>,
    /// What the person at the keyboard can do about it.
    pub(crate) hint: Option<String>,
}

/// Result of this module.
pub(crate) type Result<T, E = CgroupError> = std::result::Result<T, E>;

struct Of<'a>(Option<&'a str>);

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(setting) => write!(f, " ({setting})"),
            None => Ok(()),
        }
    }
}

impl CgroupError {
    /// An error that is not a system call's.
    pub(crate) fn new(
        op: &'static str,
        subject: impl Into<String>,
        kind: CgroupErrorKind,
        cause: impl Into<String>,
    ) -> Self {
        Self {
            op,
            subject: subject.into(),
            setting: None,
            kind,
            cause: cause.into(),
            errno: None,
            hint: None,
        }
    }

    /// An error of a system call.
    pub(crate) fn sys(op: &'static str, subject: impl Into<String>, errno: Errno) -> Self {
        let mut error = Self::new(op, subject, CgroupErrorKind::of(errno), name(errno));
        error.errno = Some(errno);
        error
    }

    /// Says what the person can do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the setting of config.json that asked for it.
    pub(crate) fn setting(mut self, json: impl Into<String>) -> Self {
        self.setting = Some(json.into());
        self
    }

    /// Changes the kind.
    pub(crate) fn kind(mut self, kind: CgroupErrorKind) -> Self {
        self.kind = kind;
        self
    }
}

/// `ENOENT`, not "No such file or directory".
pub(crate) fn name(errno: Errno) -> String {
    format!("{:?}", Named::from_raw(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_operation_subject_setting_and_errno_name() {
        let error = CgroupError::sys("set", "memory.max of cgroup /x to 5", Errno::NOENT)
            .setting("linux.resources.memory.limit");
        assert_eq!(
            error.to_string(),
            "set memory.max of cgroup /x to 5 (linux.resources.memory.limit): ENOENT"
        );
        assert_eq!(error.kind, CgroupErrorKind::NotFound);
        let plain = CgroupError::sys("freeze", "cgroup /x", Errno::ACCESS);
        assert_eq!(plain.to_string(), "freeze cgroup /x: EACCES");
        assert_eq!(plain.kind, CgroupErrorKind::Permission);
    }
}
