//! `hostrun`: runs OCI images and bundles.
//!
//! The verb is picked by hand before any argument tree exists, so that a short verb costs only its own flags.

#![forbid(unsafe_code)]

mod args;
mod assembly;
mod attend;
mod clock;
mod commands;
mod flags;
mod globals;
mod monitor;
mod output;
mod record;
mod report;
mod spec;
mod stopwatch;
mod table;
mod target;
mod verbs;

use globals::{Globals, Words};
use std::ffi::OsString;
use std::process::ExitCode;

/// Takes memory from the kernel in large pieces: musl's allocator makes some forty system calls more in a start.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let (globals, rest) = match globals::read(words.into_iter().skip(1).collect()) {
        Ok(Words::Verb(globals, rest)) => (globals, rest),
        Ok(Words::Help) => return written(output::text(&verbs::overview())),
        Ok(Words::Version) => return written(output::text(&verbs::version())),
        Err(error) => return report::failure(&Globals::default(), &error),
    };
    let rest = verbs::helped(rest);
    if rest.is_empty() {
        return written(output::text(&verbs::overview()));
    }
    let Some(verb) = verbs::find(&rest) else {
        let error = verbs::unknown(&rest);
        return report::failure(&globals, &error);
    };
    match (verb.run)(&globals, &rest) {
        Ok(status) => ExitCode::from(status),
        Err(error) => report::failure(&globals, &error),
    }
}

fn written(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report::failure(&Globals::default(), &error),
    }
}
