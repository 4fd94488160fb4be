//! The one error of this library: what was done, to what, why it failed, and what may help.

use crate::cgroup::{CgroupError, CgroupErrorKind};
use nix::errno::Errno;
use std::fmt;

/// What sort of failure it was; decides the exit code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No such container, bundle or file.
    NotFound,
    /// The id, name or cgroup is taken.
    AlreadyExists,
    /// The config contradicts itself, the spec or the host.
    InvalidSpec,
    /// The config asks for what this version or this host does not have.
    Unsupported,
    /// The container is not in a state that allows this.
    WrongState,
    /// Not permitted.
    Denied,
    /// A file system is full.
    NoSpace,
    /// The kernel or the service manager did not answer in time.
    TimedOut,
    /// The program is not there: exit code 127.
    ExecNotFound,
    /// The program is there but cannot run: exit code 126.
    ExecDenied,
    /// Anything else the kernel answered.
    System,
}

/// An error of the runtime. Displays as one line.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: String,
    subject: String,
    cause: Cause,
    hint: Option<String>,
}

enum Cause {
    None,
    Errno(Errno),
    Text(String),
    Source(Box<dyn std::error::Error + Send + Sync>),
}

/// Result of this library.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(
        kind: ErrorKind,
        operation: impl Into<String>,
        subject: impl Into<String>,
    ) -> Error {
        Error(Box::new(Inner {
            kind,
            operation: operation.into(),
            subject: subject.into(),
            cause: Cause::None,
            hint: None,
        }))
    }

    /// The errno it came from, if it did.
    pub(crate) fn errno(&self) -> Option<i32> {
        match self.0.cause {
            Cause::Errno(errno) => Some(errno as i32),
            _ => None,
        }
    }

    /// From an errno, with the kind it suggests.
    pub(crate) fn from_errno(
        errno: impl Into<i32>,
        operation: impl Into<String>,
        subject: impl Into<String>,
    ) -> Error {
        let errno = Errno::from_raw(errno.into());
        let kind = match errno {
            Errno::ENOENT | Errno::ESRCH => ErrorKind::NotFound,
            Errno::EEXIST => ErrorKind::AlreadyExists,
            Errno::EPERM | Errno::EACCES => ErrorKind::Denied,
            Errno::ENOSPC | Errno::EDQUOT => ErrorKind::NoSpace,
            _ => ErrorKind::System,
        };
        let mut error = Error::new(kind, operation, subject);
        error.0.cause = Cause::Errno(errno);
        error
    }

    pub(crate) fn because(mut self, text: impl Into<String>) -> Error {
        self.0.cause = Cause::Text(text.into());
        self
    }

    /// Adds what else went wrong while this was cleaned up after.
    pub(crate) fn besides(self, others: &[Error]) -> Error {
        if others.is_empty() {
            return self;
        }
        let others: Vec<String> = others.iter().map(ToString::to_string).collect();
        self.with_hint(format!("besides: {}", others.join("; ")))
    }

    /// Adds the first of what a program said, if it said anything.
    pub(crate) fn quoting(mut self, said: &[u8]) -> Error {
        let said = String::from_utf8_lossy(said);
        let said = said.trim();
        if let (Cause::Text(text), false) = (&mut self.0.cause, said.is_empty()) {
            *text = format!("{text}, output: {said:?}");
        }
        self
    }

    pub(crate) fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        self.0.cause = Cause::Source(source.into());
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Error {
        self.0.kind = kind;
        self
    }

    /// What sort of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was being done, as a verb.
    pub fn operation(&self) -> &str {
        &self.0.operation
    }

    /// What it was done to.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// What the user may do about it.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// 127 and 126 as a shell means them, 125 for everything that is our failure.
    pub fn exit_code(&self) -> u8 {
        match self.0.kind {
            ErrorKind::ExecNotFound => 127,
            ErrorKind::ExecDenied => 126,
            _ => 125,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            operation,
            subject,
            cause,
            ..
        } = &*self.0;
        f.write_str(operation)?;
        if !subject.is_empty() {
            write!(f, " {subject}")?;
        }
        match cause {
            Cause::None => Ok(()),
            Cause::Errno(errno) => write!(f, ": {} ({errno:?})", errno.desc().to_lowercase()),
            Cause::Text(text) => write!(f, ": {text}"),
            Cause::Source(source) => write!(f, ": {source}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}, \"{self}\")", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.cause {
            Cause::Source(source) => Some(&**source),
            _ => None,
        }
    }
}

impl From<CgroupErrorKind> for ErrorKind {
    fn from(kind: CgroupErrorKind) -> ErrorKind {
        match kind {
            CgroupErrorKind::InUse => ErrorKind::AlreadyExists,
            CgroupErrorKind::Frozen => ErrorKind::WrongState,
            CgroupErrorKind::InvalidPath | CgroupErrorKind::InvalidValue => ErrorKind::InvalidSpec,
            CgroupErrorKind::NoCgroup2
            | CgroupErrorKind::ControllerMissing
            | CgroupErrorKind::Unsupported => ErrorKind::Unsupported,
            CgroupErrorKind::Permission => ErrorKind::Denied,
            CgroupErrorKind::NotFound => ErrorKind::NotFound,
            CgroupErrorKind::TimedOut => ErrorKind::TimedOut,
            CgroupErrorKind::Io => ErrorKind::System,
        }
    }
}

impl From<CgroupError> for Error {
    fn from(error: CgroupError) -> Error {
        let kind = error.kind.into();
        let subject = match &error.setting {
            Some(setting) => format!("{} ({setting})", error.subject),
            None => error.subject,
        };
        let converted = match error.errno {
            Some(errno) => {
                Error::from_errno(errno.raw_os_error(), error.op, subject).with_kind(kind)
            }
            None => Error::new(kind, error.op, subject).because(error.cause),
        };
        match error.hint {
            Some(hint) => converted.with_hint(hint),
            None => converted,
        }
    }
}

/// Puts the operation and its subject to a bare errno.
pub(crate) trait At<T> {
    fn at(self, operation: &str, subject: impl fmt::Display) -> Result<T>;
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, operation: &str, subject: impl fmt::Display) -> Result<T> {
        self.map_err(|errno| {
            Error::from_errno(errno.raw_os_error(), operation, subject.to_string())
        })
    }
}

impl<T> At<T> for nix::Result<T> {
    fn at(self, operation: &str, subject: impl fmt::Display) -> Result<T> {
        self.map_err(|errno| Error::from_errno(errno as i32, operation, subject.to_string()))
    }
}
