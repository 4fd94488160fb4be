//! Failures as a caller hears of them: a code of gRPC and a sentence.

use crate::messages::rpc;
use hostrun_runtime::{Error, ErrorKind};

/// The codes that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// What a call comes to.
pub(crate) type Answer<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
        }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(Code::NotFound, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(Code::InvalidArgument, message)
    }

    /// It cannot be done now.
    pub(crate) fn not_now(message: impl Into<String>) -> Failure {
        Failure::new(Code::FailedPrecondition, message)
    }

    /// What the library answers, after the words with which containerd's callers expect it to begin.
    pub(crate) fn of(opening: &str, error: &Error) -> Failure {
        let hint = error.hint().map(|hint| format!(" ({hint})"));
        let text = words(error);
        Failure::new(
            code(error.kind()),
            format!("{opening}{text}{}", hint.unwrap_or_default()),
        )
    }

    /// What the kernel answers.
    pub(crate) fn system(doing: &str, errno: rustix::io::Errno) -> Failure {
        use rustix::io::Errno;
        let code = match errno {
            Errno::NOENT | Errno::NXIO | Errno::SRCH => Code::NotFound,
            Errno::ACCESS | Errno::PERM => Code::PermissionDenied,
            Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE | Errno::NOMEM => {
                Code::ResourceExhausted
            }
            _ => Code::Unknown,
        };
        Failure::new(code, format!("{doing}: {errno}"))
    }

    pub(crate) fn status(&self) -> rpc::Status {
        rpc::Status {
            code: self.code as i32,
            message: self.message.clone(),
            details: Vec::new(),
        }
    }
}

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::InvalidSpec => Code::InvalidArgument,
        ErrorKind::WrongState => Code::FailedPrecondition,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::NoSpace => Code::ResourceExhausted,
        ErrorKind::TimedOut => Code::DeadlineExceeded,
        // What containerd knows runc's failures as; a program that is missing is none of its own objects.
        _ => Code::Unknown,
    }
}

/// Docker tells by these words which exit code a program that does not run gets.
fn words(error: &Error) -> String {
    let text = error.to_string();
    let program = matches!(
        error.kind(),
        ErrorKind::ExecNotFound | ErrorKind::ExecDenied
    );
    let quoted = error.subject();
    let cause = text.strip_prefix(&format!("{} {quoted}: ", error.operation()));
    match cause {
        Some("no such file or directory") if program => {
            let plain: String =
                serde_json::from_str(quoted).unwrap_or_else(|_no_json| quoted.to_owned());
            format!(
                "unable to start container process: exec: {quoted}: stat {plain}: no such file or directory"
            )
        }
        Some(cause) if program => {
            format!("unable to start container process: exec: {quoted}: {cause}")
        }
        _ => text,
    }
}
