//! What is wrong with a file, and where.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong. A file with any is not made into a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, or the drop-in, it is in.
    pub file: PathBuf,
    /// From 1; 0 where something is missing that could be anywhere.
    pub line: usize,
    /// What.
    pub message: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

impl fmt::Display for Problem {
    /// `FILE:LINE: MESSAGE`, as editors and compilers have it, and the hint on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.message)?,
            line => write!(f, "{}:{line}: {}", self.file.display(), self.message)?,
        }
        match self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
