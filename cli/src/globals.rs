//! The options before the verb, read by hand.

use crate::report;
use anyhow::Result;
use std::ffi::OsString;
use std::path::PathBuf;

/// Where things are and how errors are told.
#[derive(Debug, Clone)]
pub(crate) struct Globals {
    /// Container state, gone after a reboot.
    pub(crate) root: PathBuf,
    /// Images and containers.
    pub(crate) store: PathBuf,
    /// A file that also gets the error.
    pub(crate) log: Option<PathBuf>,
    /// Whether that file holds JSON lines.
    pub(crate) log_json: bool,
}

impl Default for Globals {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/run/hostrun"),
            store: PathBuf::from("/var/lib/hostrun"),
            log: None,
            log_json: false,
        }
    }
}

/// What the first words of the command line ask for.
#[derive(Debug)]
pub(crate) enum Words {
    /// A verb with all that follows it, the verb first.
    Verb(Globals, Vec<OsString>),
    /// The overview.
    Help,
    /// The version.
    Version,
}

/// Splits the command line into global options and the verb with its arguments.
///
/// # Errors
/// When an option before the verb is unknown or lacks its value.
pub(crate) fn read(words: Vec<OsString>) -> Result<Words> {
    let mut globals = Globals::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let Some(option) = word.to_str().filter(|word| word.starts_with('-')) else {
            let mut rest = vec![word];
            rest.extend(words);
            return Ok(Words::Verb(globals, rest));
        };
        let (name, inline) = match option.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (option, None),
        };
        match name {
            "-h" | "--help" => return Ok(Words::Help),
            "-v" | "--version" => return Ok(Words::Version),
            "--debug" => {}
            "--root" | "--store" | "--log" | "--log-format" => {
                let value = inline
                    .or_else(|| words.next())
                    .filter(|value| !value.is_empty());
                let value = value.ok_or_else(|| report::usage(format!("{name} needs a value")))?;
                set(&mut globals, name, &value)?;
            }
            _ => {
                return Err(report::usage(format!(
                    "'{option}' is not an option that may stand before the verb"
                )));
            }
        }
    }
    Ok(Words::Help)
}

fn set(globals: &mut Globals, name: &str, value: &OsString) -> Result<()> {
    if name == "--log-format" {
        globals.log_json = match value.to_str() {
            Some("json") => true,
            Some("text") => false,
            _ => return Err(report::usage("--log-format is text or json")),
        };
        return Ok(());
    }
    // The monitor of a detached container works from another directory.
    let path = std::path::absolute(value)
        .map_err(|error| report::usage(format!("{name} '{}': {error}", value.display())))?;
    match name {
        "--root" => globals.root = path,
        "--store" => globals.store = path,
        _ => globals.log = Some(path),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn options_before_the_verb_are_ours_and_the_rest_is_not() {
        let Words::Verb(globals, rest) = read(words("--root=/r --store /s run --root /x")).unwrap()
        else {
            panic!("a verb was given");
        };
        assert_eq!((globals.root, globals.store), ("/r".into(), "/s".into()));
        assert_eq!(rest, words("run --root /x"));
    }

    #[test]
    fn nothing_at_all_is_a_call_for_help() {
        assert!(matches!(read(words("")), Ok(Words::Help)));
        assert!(matches!(read(words("-v")), Ok(Words::Version)));
    }

    #[test]
    fn unknown_and_unfinished_options_are_refused() {
        assert!(read(words("--frob run")).is_err());
        assert!(read(words("--root")).is_err());
        assert!(read(words("--log-format xml run")).is_err());
    }
}
