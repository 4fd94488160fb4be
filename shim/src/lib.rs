//! `containerd-shim-hostrun-v1`: what containerd starts for a container, or for a pod of them, and asks to
//! make, start, watch and delete them. `docs/shim.md` describes it; `docs/decisions/0013-shim.md` says why it is as
//! it is.
//!
//! One thread owns all state ([`shim`]); it hears calls ([`wire`], [`messages`], [`service`]), gives what takes time
//! to others ([`crew`]), and tells containerd what happened ([`publisher`]). Containers are made by the library in
//! this process.

#![forbid(unsafe_code)]

mod arguments;
mod bootstrap;
mod calls;
mod cleanup;
mod crew;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod info;
mod journal;
mod lanes;
mod messages;
mod options;
mod poll;
mod process;
mod publisher;
mod rootfs;
mod server;
mod service;
mod shim;
mod signals;
mod stdio;
mod task;
mod timers;
mod wire;

use arguments::Arguments;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// The program.
pub fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            #[allow(
                clippy::print_stderr,
                reason = "containerd shows what a shim's verbs write there"
            )]
            {
                eprintln!("io.containerd.hostrun.v1: {sentence}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(words: Vec<OsString>) -> Result<(), String> {
    if words
        .first()
        .is_some_and(|word| word == stdio::logger::VERB)
    {
        let error = stdio::logger::become_logger(words.into_iter().skip(1));
        return Err(format!("become a logger: {error}"));
    }
    let arguments = Arguments::read(words)?;
    if arguments.version {
        return print(info::version().as_bytes());
    }
    if arguments.info {
        return print(&info::info()?);
    }
    if arguments.namespace.is_empty() {
        return Err("shim namespace cannot be empty".to_owned());
    }
    if arguments.id.is_empty() {
        return Err("shim id cannot be empty".to_owned());
    }
    match &*arguments.verb {
        "start" => print(&server::start(&arguments, &bundle(&arguments)?)?),
        "delete" => print(&cleanup::run(&arguments, &bundle(&arguments)?)?),
        "" => server::serve(&arguments),
        other => Err(format!("{other:?} is no verb: start or delete")),
    }
}

/// Where we stand, unless somebody says otherwise.
fn bundle(arguments: &Arguments) -> Result<PathBuf, String> {
    if !arguments.bundle.as_os_str().is_empty() {
        return Ok(arguments.bundle.clone());
    }
    std::env::current_dir().map_err(|error| format!("find the bundle: {error}"))
}

fn print(bytes: &[u8]) -> Result<(), String> {
    let written = std::io::stdout().lock().write_all(bytes);
    written.map_err(|error| format!("write the answer: {error}"))
}
