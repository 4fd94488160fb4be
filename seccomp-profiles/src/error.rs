//! The one error of this crate.
//!
//! It names the place in the profile as a JSON path, since that is what its reader can edit.

/// What kind of mistake a profile has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Not JSON, or JSON of another shape.
    Syntax,
    /// A word this crate does not know: an action, operator, architecture, flag or capability.
    Unknown,
    /// A value out of its range.
    Range,
    /// Two statements that cannot both hold, or one that the kernel refuses.
    Contradiction,
    /// More instructions than the kernel takes in one program (`BPF_MAXINSNS`, 4096).
    TooLarge,
}

/// Why a profile was refused: the place in it and the reason, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seccomp profile {path}: {reason}")]
pub struct Error {
    kind: ErrorKind,
    path: String,
    reason: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            kind,
            path: path.into(),
            reason: reason.into(),
        }
    }

    /// What kind of mistake it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Where it is, as a JSON path below the profile, such as `syscalls[3].args[0].index`.
    pub fn path(&self) -> &str {
        &self.path
    }
}
