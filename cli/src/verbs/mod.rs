//! The verbs: their names, what they do, and the tree of each, built only when it is asked for.

use crate::args::plain::Plain;
use crate::globals::{Globals, Name};
use crate::{args, commands, output, report};
use anyhow::Result;
#[cfg(any(test, feature = "pages"))]
use clap::CommandFactory;
use clap::error::ErrorKind;
use std::ffi::OsString;

mod help;

#[cfg(any(test, feature = "pages"))]
pub(crate) use help::tree;
pub(crate) use help::{overview, version};

/// One verb.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    #[cfg(any(test, feature = "pages"))]
    pub(crate) command: fn() -> clap::Command,
    pub(crate) run: fn(&Globals, &[OsString]) -> Result<u8>,
    group: Group,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Containers,
    Images,
    Bundles,
    Hidden,
}

macro_rules! verb {
    // One whose usual forms need no tree.
    (plain $name:literal, $about:literal, $group:ident, $args:ty, $run:path) => {
        Verb {
            run: |globals, words| match <$args as Plain>::plain(words) {
                Some(args) => $run(globals, &args),
                None => {
                    parse::<$args>(globals.name, words)?.map_or(Ok(0), |args| $run(globals, &args))
                }
            },
            ..verb!($name, $about, $group, $args, $run)
        }
    };
    ($name:literal, $about:literal, $group:ident, $args:ty, $run:path) => {
        Verb {
            name: $name,
            about: $about,
            #[cfg(any(test, feature = "pages"))]
            command: <$args as CommandFactory>::command,
            run: |globals, words| match parse::<$args>(globals.name, words)? {
                Some(args) => $run(globals, &args),
                None => Ok(0),
            },
            group: Group::$group,
        }
    };
}

use args::{bundles, checkpoint, containers, doctor, exec, images, registries, run, update};

/// Every verb but `init`, which has no tree because it runs inside containers.
pub(crate) const VERBS: [Verb; 39] = [
    verb!(
        plain "run",
        "Run a command in a new container",
        Containers,
        run::Run,
        commands::run::main
    ),
    verb!(
        plain "exec",
        "Run a command in a running container",
        Containers,
        exec::Exec,
        commands::exec::main
    ),
    verb!(
        "ps",
        "List containers",
        Containers,
        containers::Ps,
        commands::ps::main
    ),
    verb!(
        "logs",
        "Show what a container has written",
        Containers,
        containers::Logs,
        commands::logs::main
    ),
    verb!(
        "stop",
        "Ask containers to end",
        Containers,
        containers::Stop,
        commands::stop::main
    ),
    verb!(
        plain "kill",
        "Send a signal to containers",
        Containers,
        containers::Kill,
        commands::kill::main
    ),
    verb!(
        "rm",
        "Remove containers",
        Containers,
        containers::Rm,
        commands::rm::main
    ),
    verb!(
        "inspect",
        "Show everything as JSON",
        Containers,
        containers::Inspect,
        commands::inspect::main
    ),
    verb!(
        "doctor",
        "Check this machine, and say how to fix it",
        Containers,
        doctor::Doctor,
        commands::doctor::main
    ),
    verb!(
        "load",
        "Load an image into the store",
        Images,
        images::Load,
        commands::load::main
    ),
    verb!(
        "pull",
        "Get an image from a registry",
        Images,
        registries::Pull,
        commands::pull::main
    ),
    verb!(
        "push",
        "Send an image to a registry",
        Images,
        registries::Push,
        commands::push::main
    ),
    verb!(
        "login",
        "Keep a password for a registry",
        Images,
        registries::Login,
        commands::login::login
    ),
    verb!(
        "logout",
        "Forget a registry's password",
        Images,
        registries::Logout,
        commands::login::logout
    ),
    verb!(
        "images",
        "List images",
        Images,
        images::Images,
        commands::images::main
    ),
    verb!(
        "rmi",
        "Remove images",
        Images,
        images::Rmi,
        commands::rmi::main
    ),
    verb!(
        "save",
        "Write images to an archive or layout",
        Images,
        images::Save,
        commands::save::main
    ),
    verb!(
        "import",
        "Make an image of a tar",
        Images,
        images::Import,
        commands::import::main
    ),
    verb!(
        "tag",
        "Give an image one more name",
        Images,
        images::Tag,
        commands::tag::main
    ),
    verb!(
        "history",
        "Show how an image was made",
        Images,
        images::History,
        commands::history::main
    ),
    verb!(
        "prune",
        "Remove images nobody uses",
        Images,
        images::Prune,
        commands::prune::prune
    ),
    verb!(
        "gc",
        "Remove what nothing leads to",
        Images,
        images::Gc,
        commands::prune::gc
    ),
    verb!(
        "df",
        "Show what the store takes",
        Images,
        images::Df,
        commands::df::main
    ),
    verb!(
        "verify",
        "Look whether the store is whole",
        Images,
        images::Verify,
        commands::verify::main
    ),
    verb!(
        "generations",
        "Go back to what names meant",
        Images,
        images::Generations,
        commands::generations::main
    ),
    verb!(
        plain "create",
        "Create a container from a bundle",
        Bundles,
        bundles::Create,
        commands::oci::make::create
    ),
    verb!(
        plain "start",
        "Start a created container",
        Bundles,
        bundles::Start,
        commands::oci::lists::start
    ),
    verb!(
        plain "state",
        "Show a container's state",
        Bundles,
        bundles::State,
        commands::oci::lists::state
    ),
    verb!(
        plain "delete",
        "Delete a container",
        Bundles,
        bundles::Delete,
        commands::oci::lists::delete
    ),
    verb!(
        "list",
        "List what runs under --root",
        Bundles,
        bundles::List,
        commands::oci::lists::list
    ),
    verb!(
        plain "pause",
        "Stop a container's processes where they are",
        Bundles,
        bundles::Pause,
        commands::oci::pause::pause
    ),
    verb!(
        plain "resume",
        "Let a paused container go on",
        Bundles,
        bundles::Resume,
        commands::oci::pause::resume
    ),
    verb!(
        "update",
        "Change what a container may use",
        Bundles,
        update::Update,
        commands::oci::update::main
    ),
    verb!(
        "events",
        "Show what a container uses",
        Bundles,
        bundles::Events,
        commands::oci::events::main
    ),
    verb!(
        "features",
        "Show what this runtime can do",
        Bundles,
        bundles::Features,
        commands::oci::features::main
    ),
    verb!(
        "spec",
        "Write a config.json to begin with",
        Bundles,
        bundles::Spec,
        commands::oci::spec::main
    ),
    verb!(
        "checkpoint",
        "Save a running container to images",
        Bundles,
        checkpoint::Checkpoint,
        commands::oci::checkpoint::checkpoint
    ),
    verb!(
        "restore",
        "Make a container of saved images",
        Bundles,
        checkpoint::Restore,
        commands::oci::checkpoint::restore
    ),
    verb!(
        "sweep",
        "Delete what was removed",
        Hidden,
        images::Sweep,
        commands::sweep::main
    ),
];

/// `run` under runc's name.
const RUNC_RUN: Verb = verb!(
    plain "run",
    "Create a container and run its program",
    Bundles,
    bundles::RuncRun,
    commands::oci::make::runc_run
);

/// Verbs that runc has and that mean containers of our own, too.
const SHARED: [&str; 3] = ["exec", "kill", "ps"];

/// What writes this program's manual pages and completions.
#[cfg(feature = "pages")]
const PAGES: [Verb; 2] = [
    verb!(
        "completions",
        "Print a shell's completions",
        Hidden,
        bundles::Completions,
        commands::pages::completions
    ),
    verb!(
        "man",
        "Write the manual pages",
        Hidden,
        bundles::Man,
        commands::pages::man
    ),
];
#[cfg(not(feature = "pages"))]
const PAGES: [Verb; 0] = [];

const MONITOR: Verb = verb!(
    "monitor",
    "Keep a container's logs",
    Hidden,
    bundles::Monitor,
    commands::monitor::main
);

const INIT: Verb = Verb {
    name: "init",
    about: "Process 1 of a container run with --init",
    #[cfg(any(test, feature = "pages"))]
    command: clap::Command::default,
    run: |_globals, words| commands::init::main(words),
    group: Group::Hidden,
};

/// The verb a command line begins with.
pub(crate) fn find(words: &[OsString], name: Name) -> Option<Verb> {
    let word = words.first()?.to_str()?;
    let all = VERBS.into_iter().chain([MONITOR, INIT]).chain(PAGES);
    match name {
        Name::Hostrun => all.into_iter().find(|verb| verb.name == word),
        Name::Runc if word == RUNC_RUN.name => Some(RUNC_RUN),
        Name::Runc => all
            .into_iter()
            .find(|verb| verb.name == word && verb.is_of_runc()),
    }
}

impl Verb {
    /// Whether runc has it.
    fn is_of_runc(&self) -> bool {
        self.group == Group::Bundles || SHARED.contains(&self.name)
    }
}

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
fn parse<T: clap::Parser>(name: Name, words: &[OsString]) -> Result<Option<T>> {
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

#[cfg(test)]
mod tests;
