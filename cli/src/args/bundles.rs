//! Verbs of an OCI runtime: create, start, state, delete, list, spec; and the hidden ones.

use super::containers::Format;
use clap::Parser;
use std::path::PathBuf;

/// Create a container from an OCI bundle, up to but not including its program.
#[derive(Debug, Parser)]
#[command(name = "create", bin_name = "hostrun create")]
pub(crate) struct Create {
    /// The bundle's directory
    #[arg(short = 'b', long, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// Write the process id of the container to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Keep N descriptors after the standard three open in the container
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// The container's id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// Start the program of a created container.
#[derive(Debug, Parser)]
#[command(name = "start", bin_name = "hostrun start")]
pub(crate) struct Start {
    /// The container's id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// Show the state of a container, as the runtime-spec has it.
#[derive(Debug, Parser)]
#[command(name = "state", bin_name = "hostrun state")]
pub(crate) struct State {
    /// The container's id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// Delete a container that has ended.
#[derive(Debug, Parser)]
#[command(name = "delete", bin_name = "hostrun delete")]
pub(crate) struct Delete {
    /// Kill it first if it runs; say nothing if it is not there
    #[arg(short = 'f', long)]
    pub(crate) force: bool,
    /// The container's id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// List what runs under the state directory.
#[derive(Debug, Parser)]
#[command(name = "list", bin_name = "hostrun list")]
pub(crate) struct List {
    /// Only ids
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
    /// How to write the list
    #[arg(
        short = 'f',
        long,
        value_enum,
        default_value = "table",
        value_name = "FORMAT"
    )]
    pub(crate) format: Format,
}

/// Write a config.json to begin a bundle with.
#[derive(Debug, Parser)]
#[command(name = "spec", bin_name = "hostrun spec")]
pub(crate) struct Spec {
    /// The bundle's directory
    #[arg(short = 'b', long, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,
}

/// Print a shell's completions.
#[derive(Debug, Parser)]
#[command(name = "completions", bin_name = "hostrun completions")]
pub(crate) struct Completions {
    /// bash, zsh, fish
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// Write the manual pages.
#[derive(Debug, Parser)]
#[command(name = "man", bin_name = "hostrun man")]
pub(crate) struct Man {
    /// Where to write them
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// Keep a detached container's logs until it ends.
#[derive(Debug, Parser)]
#[command(name = "monitor", bin_name = "hostrun monitor")]
pub(crate) struct Monitor {
    /// The container's id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}
