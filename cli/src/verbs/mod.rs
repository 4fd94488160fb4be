//! The verbs: their names, what they do, and the tree of each, built only when it is asked for.

use crate::args::plain::Plain;
use crate::globals::{Globals, Name};
use crate::{args, commands, entrance};
use anyhow::Result;
use std::ffi::OsString;

mod help;
mod words;

#[cfg(any(test, feature = "pages"))]
pub(crate) use help::tree;
pub(crate) use help::{overview, version};
use words::parse;
pub(crate) use words::{helped, unknown};

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
    (plain $name:literal, $about:literal, $group:ident, $args:ty => $run:path) => {
        Verb {
            run: |globals, words| match <$args as Plain>::plain(words) {
                Some(args) => $run(globals, &args),
                None => {
                    parse::<$args>(globals.name, words)?.map_or(Ok(0), |args| $run(globals, &args))
                }
            },
            ..verb!($name, $about, $group, $args => $run)
        }
    };
    // One about the store, where root is needed, be it the root of a user's own namespace.
    (store $name:literal, $about:literal, $group:ident, $args:ty => $run:path) => {
        Verb {
            run: |globals, words| match parse::<$args>(globals.name, words)? {
                Some(args) => entrance::pass(globals).and_then(|()| $run(globals, &args)),
                None => Ok(0),
            },
            ..verb!($name, $about, $group, $args => $run)
        }
    };
    ($name:literal, $about:literal, $group:ident, $args:ty => $run:path) => {
        Verb {
            name: $name,
            about: $about,
            #[cfg(any(test, feature = "pages"))]
            command: <$args as clap::CommandFactory>::command,
            run: |globals, words| match parse::<$args>(globals.name, words)? {
                Some(args) => $run(globals, &args),
                None => Ok(0),
            },
            group: Group::$group,
        }
    };
}

use args::{
    bundles, checkpoint, containers, doctor, exec, health, images, registries, run, unit, update,
};

/// Every verb but `init`, which has no tree because it runs inside containers.
pub(crate) const VERBS: [Verb; 41] = [
    verb!(plain "run", "Run a command in a new container", Containers, run::Run => commands::run::main),
    verb!(plain "exec", "Run a command in a running container", Containers, exec::Exec => commands::exec::main),
    verb!("ps", "List containers", Containers, containers::Ps => commands::ps::main),
    verb!("logs", "Show what a container has written", Containers, containers::Logs => commands::logs::main),
    verb!("stop", "Ask containers to end", Containers, containers::Stop => commands::stop::main),
    verb!(plain "kill", "Send a signal to containers", Containers, containers::Kill => commands::kill::main),
    verb!("rm", "Remove containers", Containers, containers::Rm => commands::rm::main),
    verb!("inspect", "Show everything as JSON", Containers, containers::Inspect => commands::inspect::main),
    verb!("health", "Tell what is healthy and what is not", Containers, health::Health => commands::health::main),
    verb!("unit", "Check files that become services", Containers, unit::Unit => commands::unit::main),
    verb!("doctor", "Check this machine, and say how to fix it", Containers, doctor::Doctor => commands::doctor::main),
    verb!(store "load", "Load an image into the store", Images, images::Load => commands::load::main),
    verb!(store "pull", "Get an image from a registry", Images, registries::Pull => commands::pull::main),
    verb!(store "push", "Send an image to a registry", Images, registries::Push => commands::push::main),
    verb!("login", "Keep a password for a registry", Images, registries::Login => commands::login::login),
    verb!("logout", "Forget a registry's password", Images, registries::Logout => commands::login::logout),
    verb!(store "images", "List images", Images, images::Images => commands::images::main),
    verb!(store "rmi", "Remove images", Images, images::Rmi => commands::rmi::main),
    verb!(store "save", "Write images to an archive or layout", Images, images::Save => commands::save::main),
    verb!(store "import", "Make an image of a tar", Images, images::Import => commands::import::main),
    verb!(store "tag", "Give an image one more name", Images, images::Tag => commands::tag::main),
    verb!(store "history", "Show how an image was made", Images, images::History => commands::history::main),
    verb!(store "prune", "Remove images nobody uses", Images, images::Prune => commands::prune::prune),
    verb!(store "gc", "Remove what nothing leads to", Images, images::Gc => commands::prune::gc),
    verb!(store "df", "Show what the store takes", Images, images::Df => commands::df::main),
    verb!(store "verify", "Look whether the store is whole", Images, images::Verify => commands::verify::main),
    verb!(store "generations", "Go back to what names meant", Images, images::Generations => commands::generations::main),
    verb!(plain "create", "Create a container from a bundle", Bundles, bundles::Create => commands::oci::make::create),
    verb!(plain "start", "Start a created container", Bundles, bundles::Start => commands::oci::lists::start),
    verb!(plain "state", "Show a container's state", Bundles, bundles::State => commands::oci::lists::state),
    verb!(plain "delete", "Delete a container", Bundles, bundles::Delete => commands::oci::lists::delete),
    verb!("list", "List what runs under --root", Bundles, bundles::List => commands::oci::lists::list),
    verb!(plain "pause", "Stop a container's processes where they are", Bundles, bundles::Pause => commands::oci::pause::pause),
    verb!(plain "resume", "Let a paused container go on", Bundles, bundles::Resume => commands::oci::pause::resume),
    verb!("update", "Change what a container may use", Bundles, update::Update => commands::oci::update::main),
    verb!("events", "Show what a container uses", Bundles, bundles::Events => commands::oci::events::main),
    verb!("features", "Show what this runtime can do", Bundles, bundles::Features => commands::oci::features::main),
    verb!("spec", "Write a config.json to begin with", Bundles, bundles::Spec => commands::oci::spec::main),
    verb!("checkpoint", "Save a running container to images", Bundles, checkpoint::Checkpoint => commands::oci::checkpoint::checkpoint),
    verb!("restore", "Make a container of saved images", Bundles, checkpoint::Restore => commands::oci::checkpoint::restore),
    verb!("sweep", "Delete what was removed", Hidden, images::Sweep => commands::sweep::main),
];

/// `run` under runc's name.
const RUNC_RUN: Verb = verb!(plain "run", "Create a container and run its program", Bundles, bundles::RuncRun => commands::oci::make::runc_run);

/// Verbs that runc has and that mean containers of our own, too.
const SHARED: [&str; 3] = ["exec", "kill", "ps"];

/// What writes this program's manual pages and completions.
#[cfg(feature = "pages")]
const PAGES: [Verb; 2] = [
    verb!("completions", "Print a shell's completions", Hidden, bundles::Completions => commands::pages::completions),
    verb!("man", "Write the manual pages", Hidden, bundles::Man => commands::pages::man),
];
#[cfg(not(feature = "pages"))]
const PAGES: [Verb; 0] = [];

const MONITOR: Verb = verb!("monitor", "Keep a container's logs", Hidden, bundles::Monitor => commands::monitor::main);

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

#[cfg(test)]
mod tests;
