//! How a failure is told: one line of what failed, on what and why, perhaps a hint, and an exit code.

use crate::globals::{Globals, Name};
use crate::{logline, output};
use anyhow::Result;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;

/// How this call talks; set once, before its verb runs.
static TELLER: OnceLock<Globals> = OnceLock::new();

/// Talks as the words before the verb ask for.
pub(crate) fn tell_as(globals: &Globals) {
    // A second call would be of the same process and say the same.
    drop(TELLER.set(globals.clone()));
}

/// hostrun itself failed, or was called wrongly.
pub(crate) const USAGE: u8 = 125;

/// A failure of the command line itself.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
    bare: bool,
}

impl Failure {
    /// A failure with exit code 125.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            code: USAGE,
            bare: false,
        }
    }

    /// Says what a person can do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says whether it is told without time and level under runc's name.
    pub(crate) fn bare(mut self, bare: bool) -> Self {
        self.bare = bare;
        self
    }

    /// Sets the exit code.
    pub(crate) fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// A wrong call.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Failure::new(message).into()
}

/// A failure in all its parts, as it is told and as a monitor hands it on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Told {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) code: u8,
    /// Under runc's name it is told without time and level: the words are the program's own fate.
    pub(crate) bare: bool,
}

impl Told {
    /// Reads a chain of errors; the code is 125 when no link of it knows better.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let mut message = String::new();
        let mut told = Self {
            message: String::new(),
            hint: None,
            code: USAGE,
            bare: false,
        };
        for cause in error.chain() {
            let text = without_numbers(&one_line(&cause.to_string()));
            // An error that already quotes its source in its own text is not quoted twice.
            if message.is_empty() {
                message = text;
            } else if !message.ends_with(&text) {
                message = format!("{message}: {text}");
            }
            told.learn(cause);
        }
        told.message = message;
        let root = rustix::process::geteuid().is_root();
        if told.hint.is_none() && !root && error.chain().any(is_denied) {
            told.hint =
                Some("hostrun needs root for this: run it as root, or through sudo".to_owned());
        }
        told
    }

    fn learn(&mut self, cause: &(dyn std::error::Error + 'static)) {
        let hint = if let Some(failure) = cause.downcast_ref::<Failure>() {
            self.code = failure.code;
            self.bare |= failure.bare;
            failure.hint.clone()
        } else if let Some(error) = cause.downcast_ref::<hostrun_runtime::Error>() {
            self.code = error.exit_code();
            error.hint().map(str::to_owned)
        } else if let Some(error) = cause.downcast_ref::<hostrun_image_store::Error>() {
            error.hint().map(str::to_owned)
        } else {
            None
        };
        if self.hint.is_none() {
            self.hint = hint.map(|hint| one_line(&hint));
        }
    }

    /// Tells it on standard error, in one piece: others may be telling theirs at the same time.
    pub(crate) fn say(&self) {
        let hint = self
            .hint
            .as_ref()
            .map(|hint| format!("\nhint: {hint}"))
            .unwrap_or_default();
        output::say(&format!("hostrun: {}{hint}", self.message));
    }

    /// The same failure as an error again.
    pub(crate) fn into_error(self) -> anyhow::Error {
        Failure {
            message: self.message,
            hint: self.hint,
            code: self.code,
            bare: self.bare,
        }
        .into()
    }
}

/// Whether the system said that this user may not.
fn is_denied(cause: &(dyn std::error::Error + 'static)) -> bool {
    use rustix::io::Errno;
    if let Some(error) = cause.downcast_ref::<hostrun_runtime::Error>() {
        error.kind() == hostrun_runtime::ErrorKind::Denied
    } else if let Some(error) = cause.downcast_ref::<hostrun_image_store::Error>() {
        error.kind() == hostrun_image_store::ErrorKind::Denied
    } else if let Some(error) = cause.downcast_ref::<std::io::Error>() {
        error.kind() == std::io::ErrorKind::PermissionDenied
    } else {
        matches!(cause.downcast_ref(), Some(&(Errno::ACCESS | Errno::PERM)))
    }
}

/// Tells a failure on standard error, and in the log file if there is one.
pub(crate) fn failure(globals: &Globals, error: &anyhow::Error) -> ExitCode {
    let told = Told::of(error);
    if globals.name == Name::Hostrun {
        told.say();
        log(globals, "error", &told.message);
        return ExitCode::from(told.code);
    }
    // As runc does it: the log line goes to the log, which is standard error where there is no
    // other; and where there is, standard error gets the message.
    if told.bare || globals.log.is_some() {
        output::say(&told.message);
    } else {
        output::say(&logline::line(globals.log_json, "error", &told.message));
    }
    log(globals, "error", &told.message);
    ExitCode::from(if told.code == USAGE { 1 } else { told.code })
}

/// Warns: something was asked for that is done differently.
pub(crate) fn warn(message: &str) {
    let message = one_line(message);
    match TELLER.get() {
        Some(globals) if globals.name == Name::Runc => aside(globals, "warning", &message),
        Some(globals) => {
            output::say(&format!("hostrun: warning: {message}"));
            log(globals, "warning", &message);
        }
        None => output::say(&format!("hostrun: warning: {message}")),
    }
}

/// Whether anybody wants to hear details: what costs something to find out is not looked for otherwise.
pub(crate) fn debugs() -> bool {
    TELLER.get().is_some_and(|globals| globals.debug)
}

/// Tells a stage that was reached, if the caller wants to know.
pub(crate) fn debug(message: &str) {
    if let Some(globals) = TELLER.get().filter(|globals| globals.debug) {
        aside(globals, "debug", &one_line(message));
    }
}

/// Writes to the log file, or to standard error where there is none.
fn aside(globals: &Globals, level: &str, message: &str) {
    if globals.log.is_some() {
        log(globals, level, message);
    } else {
        output::say(&logline::line(globals.log_json, level, message));
    }
}

/// Tells what poststop hooks had to complain about; their container is deleted all the same.
pub(crate) fn deleted(deleted: &hostrun_runtime::Deleted) {
    for warning in deleted.warnings() {
        warn(&warning.to_string());
    }
}

/// Appends to the file of `--log`, in the shape that callers of OCI runtimes parse.
fn log(globals: &Globals, level: &str, message: &str) {
    let Some(path) = &globals.log else { return };
    let line = logline::line(globals.log_json, level, message);
    // An error went to standard error already; a log that cannot be written must not hide it.
    drop(open_log(path).and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())));
}

fn open_log(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o644)
        .open(path)
}

/// Makes the file of `--log`: a caller who reads what went wrong from there would hear nothing.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn check_log(globals: &Globals) -> Result<()> {
    let Some(path) = &globals.log else {
        return Ok(());
    };
    let refused = |error| Failure::new(format!("open {}: {error}", path.display())).into();
    open_log(path).map(drop).map_err(refused)
}

/// What the system said, without the number Rust puts behind it.
pub(crate) fn without_numbers(text: &str) -> String {
    const BEFORE: &str = " (os error ";
    let Some((before, rest)) = text.split_once(BEFORE) else {
        return text.to_owned();
    };
    match rest.split_once(')') {
        Some((number, after)) if number.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{}{}", in_lower_case(before), without_numbers(after))
        }
        _ => format!("{before}{BEFORE}{}", without_numbers(rest)),
    }
}

/// Rust begins what the system said with a capital; callers look for it as C writes it in the middle of a line.
fn in_lower_case(text: &str) -> String {
    let start = text.rfind(": ").map_or(0, |at| at + 2);
    let (before, said) = text.split_at(start);
    let mut letters = said.chars();
    match letters.next() {
        Some(first) if letters.as_str().starts_with(|c: char| c.is_lowercase()) => {
            format!("{before}{}{}", first.to_lowercase(), letters.as_str())
        }
        _ => text.to_owned(),
    }
}

/// One line without control bytes, whatever an error carried.
pub(crate) fn one_line(text: &str) -> String {
    text.trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_chain_becomes_one_line_with_the_innermost_code_and_hint() {
        let inner = Failure::new("no such\nthing").hint("make one").code(127);
        let error = Err::<(), _>(anyhow::Error::from(inner))
            .context("cannot start 'web'")
            .unwrap_err();
        let told = Told::of(&error);
        assert_eq!(told.message, "cannot start 'web': no such thing");
        assert_eq!((told.hint.as_deref(), told.code), (Some("make one"), 127));
    }

    #[test]
    fn numbers_of_errors_are_left_out() {
        assert_eq!(
            without_numbers("a: b (os error 2): c (os error 17)"),
            "a: b: c"
        );
        assert_eq!(
            without_numbers("open 'A': No such file (os error 2)"),
            "open 'A': no such file"
        );
        assert_eq!(without_numbers("x (os error y)"), "x (os error y)");
        assert_eq!(without_numbers("x (os error 2"), "x (os error 2");
    }

    #[test]
    fn a_source_already_quoted_is_not_repeated() {
        let error = Err::<(), _>(anyhow::anyhow!("ENOENT"))
            .context("open '/x': ENOENT")
            .unwrap_err();
        assert_eq!(Told::of(&error).message, "open '/x': ENOENT");
    }
}
