//! The words of a command line: to a verb's arguments, or to a sentence about what is wrong with them.

use crate::globals::Name;
use crate::{output, report};
use anyhow::Result;
use clap::error::ErrorKind;
use std::ffi::OsString;

/// Turns `help VERB` into `VERB --help`, and `help` alone into nothing.
pub(crate) fn helped(mut words: Vec<OsString>) -> Vec<OsString> {
    if words.first().is_none_or(|word| word != "help") {
        return words;
    }
    words.remove(0);
    words.truncate(1);
    words.extend((!words.is_empty()).then(|| OsString::from("--help")));
    words
}

/// What is said when no verb has this name.
pub(crate) fn unknown(words: &[OsString], name: Name) -> anyhow::Error {
    let word = words
        .first()
        .map(|word| word.to_string_lossy().into_owned())
        .unwrap_or_default();
    match name {
        Name::Runc => report::Failure::new(format!("No help topic for '{word}'")).code(3),
        Name::Hostrun => report::Failure::new(format!("'{word}' is not a hostrun command"))
            .hint("'hostrun --help' lists them"),
    }
    .into()
}

/// The tree of a verb, named as we were called. Readers of runc's help look at its first two lines.
fn named(command: clap::Command, name: Name, words: &[OsString]) -> clap::Command {
    if name == Name::Hostrun {
        return command;
    }
    let verb = words
        .first()
        .map(|word| word.to_string_lossy().into_owned());
    let full = format!("runc {}", verb.unwrap_or_default());
    let template =
        format!("NAME:\n   {full} - {{about}}\n\nUSAGE:\n   {{usage}}\n\nOPTIONS:\n{{options}}\n");
    command
        .override_usage(format!("{full} [command options] [arguments...]"))
        .bin_name(full)
        .help_template(template)
}

/// Parses a verb's words; `None` when it only printed its help. What does not depend on the verb is
/// elsewhere: this is there once for each of them.
pub(super) fn parse<T: clap::Parser>(name: Name, words: &[OsString]) -> Result<Option<T>> {
    let Some(matches) = matches(T::command(), name, words)? else {
        return Ok(None);
    };
    match T::from_arg_matches(&matches) {
        Ok(args) => Ok(Some(args)),
        Err(error) => Err(refusal(&error, words)),
    }
}

#[inline(never)]
fn matches(
    command: clap::Command,
    name: Name,
    words: &[OsString],
) -> Result<Option<clap::ArgMatches>> {
    let error = match named(command, name, words).try_get_matches_from(words) {
        Ok(matches) => return Ok(Some(matches)),
        Err(error) => error,
    };
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        output::text(&error.render().to_string())?;
        return Ok(None);
    }
    Err(refusal(&error, words))
}

#[inline(never)]
fn refusal(error: &clap::Error, words: &[OsString]) -> anyhow::Error {
    let verb = words
        .first()
        .map(|word| word.to_string_lossy().into_owned())
        .unwrap_or_default();
    sentence(&verb, &error.render().to_string())
}

/// Turns clap's paragraphs into our one line and one hint.
fn sentence(verb: &str, rendered: &str) -> anyhow::Error {
    const MISSING: &str = "the following required arguments were not provided: ";
    let mut paragraphs = rendered.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    let message = words.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let message = match message
        .strip_prefix(MISSING)
        .map(|names| names.split([' ', '>']).next())
    {
        Some(name) => format!(
            "{} is missing",
            name.unwrap_or_default().trim_start_matches('<')
        ),
        None => message.to_owned(),
    };
    let tip = paragraphs.find_map(|paragraph| paragraph.trim().strip_prefix("tip: "));
    let hint = match tip
        .and_then(|tip| tip.lines().next())
        .filter(|tip| tip.contains("similar"))
    {
        Some(tip) => tip.to_owned(),
        None => format!("'hostrun {verb} --help' shows the options"),
    };
    report::Failure::new(format!("{verb}: {message}"))
        .hint(hint)
        .into()
}
