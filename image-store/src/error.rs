//! The one error of this crate: a kind to branch on, and one line to show.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, coarse enough to branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The image, container, file or member asked for is not there.
    NotFound,
    /// The container id is taken.
    AlreadyExists,
    /// The image is pinned by a container or by further names.
    InUse,
    /// The caller's words do not parse: a name, an id, a source, a platform.
    Invalid,
    /// More than one image fits what was asked.
    Ambiguous,
    /// The image or the store says something that is not so: digest, size, format.
    Corrupt,
    /// The image is larger or deeper than a limit allows.
    TooLarge,
    /// The image or the host needs something this crate or this kernel does not do.
    Unsupported,
    /// The image is for another architecture or operating system.
    WrongArchitecture,
    /// The operating system said no.
    Denied,
    /// The policy of this host does not let the image in.
    Refused,
    /// The disk, its inodes or a quota is full.
    NoSpace,
    /// A registry cannot be reached, broke off, or makes no sense.
    Network,
    /// Any other failure of a system call.
    Io,
}

/// An error: `verb object: cause`, one line, lower case.
///
/// Names that come out of an image are shown quoted and escaped, so that a message is always one
/// line and never carries terminal control bytes.
pub struct Error {
    kind: ErrorKind,
    operation: Cow<'static, str>,
    subject: String,
    cause: String,
    hint: Option<Cow<'static, str>>,
    source: Option<io::Error>,
}

impl Error {
    /// The kind to branch on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The verb: what was being done.
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// The object: on what it was being done.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What a person can do about it, where we know.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub(crate) fn new(
        kind: ErrorKind,
        operation: &'static str,
        subject: impl Into<String>,
        cause: impl Into<String>,
    ) -> Self {
        let (subject, cause) = (subject.into(), cause.into());
        Self {
            kind,
            operation: operation.into(),
            subject,
            cause,
            hint: None,
            source: None,
        }
    }

    pub(crate) fn invalid(
        operation: &'static str,
        subject: &str,
        cause: impl Into<String>,
    ) -> Self {
        Self::new(ErrorKind::Invalid, operation, quoted(subject), cause)
    }

    pub(crate) fn corrupt(
        operation: &'static str,
        subject: impl Into<String>,
        cause: impl Into<String>,
    ) -> Self {
        Self::new(ErrorKind::Corrupt, operation, subject, cause)
    }

    pub(crate) fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names what the subject is part of: `layer sha256:..., entry "x"`.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.subject = match (outer, self.subject.as_str()) {
            ("", _) => self.subject,
            (outer, "") => outer.to_owned(),
            (outer, inner) => format!("{outer}, {inner}"),
        };
        self
    }

    /// Names the subject anew, where a step inside knew less.
    pub(crate) fn about(mut self, subject: &str) -> Self {
        subject.clone_into(&mut self.subject);
        self
    }

    /// An I/O error, or the error of ours that travelled inside one through a reader.
    pub(crate) fn from_io(operation: &'static str, subject: String, error: io::Error) -> Self {
        if matches!(error.get_ref(), Some(inner) if inner.is::<Self>()) {
            let inner = error
                .into_inner()
                .and_then(|inner| inner.downcast::<Self>().ok());
            return match inner {
                // What was read when the network failed has nothing to do with it.
                Some(ours) if ours.kind == ErrorKind::Network => *ours,
                Some(ours) => ours.within(&subject),
                None => Self::new(ErrorKind::Io, operation, subject, "unknown failure"),
            };
        }
        let (kind, cause) = match error.raw_os_error() {
            Some(number) => (kind_of(number), errno_text(number)),
            None if error.kind() == io::ErrorKind::UnexpectedEof => (
                ErrorKind::Corrupt,
                "data ends too early (truncated)".to_owned(),
            ),
            // Decoders report bad data without an errno.
            None => (ErrorKind::Corrupt, one_line(&error.to_string())),
        };
        Self {
            kind,
            operation: operation.into(),
            subject,
            cause,
            hint: None,
            source: Some(error),
        }
    }

    /// Carries this error through an [`io::Read`].
    pub(crate) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}

/// Kinds by number, for the way between processes; the last one stands for all others.
const KINDS: [ErrorKind; 14] = [
    ErrorKind::NotFound,
    ErrorKind::AlreadyExists,
    ErrorKind::InUse,
    ErrorKind::Invalid,
    ErrorKind::Ambiguous,
    ErrorKind::Corrupt,
    ErrorKind::TooLarge,
    ErrorKind::Unsupported,
    ErrorKind::WrongArchitecture,
    ErrorKind::Denied,
    ErrorKind::Refused,
    ErrorKind::NoSpace,
    ErrorKind::Network,
    ErrorKind::Io,
];

impl Error {
    /// For another process of ours.
    pub(crate) fn into_words(self) -> Vec<String> {
        let number = KINDS.iter().position(|kind| *kind == self.kind);
        let mut words = vec![
            number.unwrap_or(KINDS.len() - 1).to_string(),
            self.operation.into_owned(),
            self.subject,
            self.cause,
        ];
        words.extend(self.hint.map(Cow::into_owned));
        words
    }

    /// Whoever tells may have been taken over: its words are shown as an image's are.
    pub(crate) fn of_words(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let kind = words.next()?.parse::<usize>().ok()?;
        let mut word = || words.next().map(|word| printable(&word));
        Some(Self {
            kind: *KINDS.get(kind)?,
            operation: word()?.into(),
            subject: word()?,
            cause: word()?,
            hint: word().map(Cow::from),
            source: None,
        })
    }
}

fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject.as_str() {
            "" => write!(f, "{}: {}", self.operation, self.cause),
            subject => write!(f, "{} {subject}: {}", self.operation, self.cause),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

fn kind_of(number: i32) -> ErrorKind {
    use nix::errno::Errno;
    match Errno::from_raw(number) {
        Errno::ENOENT => ErrorKind::NotFound,
        Errno::EACCES | Errno::EPERM | Errno::EROFS => ErrorKind::Denied,
        Errno::ENOSPC | Errno::EDQUOT => ErrorKind::NoSpace,
        Errno::EEXIST => ErrorKind::AlreadyExists,
        // Names in images do this; our own do not.
        Errno::ELOOP | Errno::ENAMETOOLONG => ErrorKind::Corrupt,
        Errno::EOPNOTSUPP | Errno::ENODEV | Errno::ENOSYS => ErrorKind::Unsupported,
        _ => ErrorKind::Io,
    }
}

/// `no space left on device (ENOSPC)`
pub(crate) fn errno_text(number: i32) -> String {
    let errno = nix::errno::Errno::from_raw(number);
    let text = errno.desc();
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_lowercase());
    let text: String = first.into_iter().chain(letters).collect();
    format!("{text} ({errno:?})")
}

fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { ' ' } else { c }.to_lowercase())
        .collect()
}

/// A name out of an image or a command line, as it may be shown: quoted, escaped, at most 200
/// characters.
pub(crate) fn quoted(name: impl AsRef<OsStr>) -> String {
    let mut text: String = String::from_utf8_lossy(name.as_ref().as_bytes())
        .chars()
        .flat_map(char::escape_debug)
        .take(201)
        .collect();
    if text.chars().count() > 200 {
        text = text.chars().take(199).chain(['…']).collect();
    }
    format!("\"{text}\"")
}

/// [`quoted`] for raw bytes.
pub(crate) fn quoted_bytes(name: &[u8]) -> String {
    quoted(OsStr::from_bytes(name))
}

/// Says on what a failed call was made; the only way from an errno to an [`Error`].
pub(crate) trait At<T> {
    /// `operation "subject": cause`
    fn at(self, operation: &'static str, subject: impl AsRef<OsStr>) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, operation: &'static str, subject: impl AsRef<OsStr>) -> Result<T> {
        self.map_err(|error| Error::from_io(operation, quoted(subject), error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_one_line_and_keeps_the_errno_name() {
        let error = Err::<(), _>(rustix::io::Errno::NOSPC)
            .at("write", "a\nb\u{1b}")
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        let text = error.to_string();
        assert_eq!(
            text,
            "write \"a\\nb\\u{1b}\": no space left on device (ENOSPC)"
        );
    }

    #[test]
    fn own_error_survives_a_reader() {
        let inner = Error::new(ErrorKind::TooLarge, "unpack", "entry", "too big");
        let outer = Error::from_io("read", "layer 1".to_owned(), inner.into_io());
        assert_eq!(outer.kind(), ErrorKind::TooLarge);
        assert_eq!(outer.to_string(), "unpack layer 1, entry: too big");
    }
}
