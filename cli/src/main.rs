//! `hostrun`: runs OCI images and bundles.
//!
//! The verb is picked by hand before any argument tree exists, so that a short verb costs only its own flags.

#![forbid(unsafe_code)]

mod args;
mod assembly;
mod attend;
mod cell;
mod clock;
mod commands;
mod companion;
mod entrance;
mod flags;
mod globals;
mod handover;
mod logline;
mod monitor;
mod output;
mod progress;
mod record;
mod report;
mod spec;
mod stopwatch;
mod system;
mod table;
mod target;
mod verbs;

use globals::{Globals, Name, Words};
use std::ffi::OsString;
use std::process::ExitCode;

/// Takes memory from the kernel in large pieces: musl's allocator makes some forty system calls more in a start.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let name = Name::of(words.first());
    let (globals, rest) = match globals::read(words.into_iter().skip(1).collect(), name) {
        Ok(Words::Verb(globals, rest)) => (globals, rest),
        Ok(Words::Help) => return written(name, output::text(&verbs::overview(name))),
        Ok(Words::Version) => return written(name, output::text(&verbs::version(name))),
        Err(error) => return report::failure(&Globals::called(name), &error),
    };
    report::tell_as(&globals);
    if let Err(error) = report::check_log(&globals) {
        return report::failure(
            &Globals {
                log: None,
                ..globals
            },
            &error,
        );
    }
    let rest = verbs::helped(rest);
    if rest.is_empty() {
        return written(name, output::text(&verbs::overview(name)));
    }
    let Some(verb) = verbs::find(&rest, name) else {
        let error = verbs::unknown(&rest, name);
        return report::failure(&globals, &error);
    };
    match (verb.run)(&globals, &rest) {
        Ok(status) => ExitCode::from(status),
        Err(error) => report::failure(&globals, &error),
    }
}

fn written(name: Name, result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report::failure(&Globals::called(name), &error),
    }
}
