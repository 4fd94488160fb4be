//! Verbs of an OCI runtime: create, start, state, delete, list, pause, resume, events, spec, features; and the hidden ones.

use super::containers::Format;
use crate::flags::duration;
use clap::{Args, Parser};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is handed over when a container is made from a bundle.
#[derive(Debug, Args, Default)]
pub(crate) struct Handover {
    /// Send the master of the container's terminal to this socket
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Send a pidfd of the container to this socket
    #[arg(long, value_name = "SOCKET")]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// Read this config of the bundle instead of config.json
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Do not pivot into the root: for a host that runs from an initial ramdisk
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Leave the session keyring of the caller to the container
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
}

impl Handover {
    /// The config's name in its bundle.
    pub(crate) fn config(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new("config.json"))
    }

    /// Whether the config was named: then there is a bundle, if only here.
    pub(crate) fn names_config(&self) -> bool {
        self.config.is_some()
    }

    /// Whether anything was asked for.
    pub(crate) fn is_any(&self) -> bool {
        let sockets = self.console_socket.is_some() || self.pidfd_socket.is_some();
        sockets || self.names_config() || self.no_pivot || self.no_new_keyring
    }
}

/// Create a container from an OCI bundle, up to but not including its program.
#[derive(Debug, Parser)]
#[command(name = "create", bin_name = "hostrun create")]
pub(crate) struct Create {
    /// The bundle's directory
    #[arg(short = 'b', long, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// Write the process id of the container to FILE
    #[arg(long, alias = "pidfile", value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Keep N descriptors after the standard three, and after those of $LISTEN_FDS, open in the container
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    #[command(flatten)]
    pub(crate) handover: Handover,
    /// The container's id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// Create a container from an OCI bundle and run its program: what `run` means under runc's name.
#[derive(Debug, Parser)]
#[command(name = "run", bin_name = "runc run")]
pub(crate) struct RuncRun {
    /// The bundle's directory
    #[arg(short = 'b', long, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// Leave the container running and return
    #[arg(short = 'd', long)]
    pub(crate) detach: bool,
    /// Do not delete the container when it has ended
    #[arg(long)]
    pub(crate) keep: bool,
    /// Write the process id of the container to FILE
    #[arg(long, alias = "pidfile", value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Keep N descriptors after the standard three, and after those of $LISTEN_FDS, open in the container
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// Leave processes that outlive their parent to the system's own reaper, as is always done here
    #[arg(long)]
    pub(crate) no_subreaper: bool,
    #[command(flatten)]
    pub(crate) handover: Handover,
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
    /// For a container that an ordinary user runs
    #[arg(long)]
    pub(crate) rootless: bool,
}

/// Stop all processes of a container where they are.
#[derive(Debug, Parser)]
#[command(name = "pause", bin_name = "hostrun pause")]
pub(crate) struct Pause {
    /// The container's id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// Let the processes of a paused container go on.
#[derive(Debug, Parser)]
#[command(name = "resume", bin_name = "hostrun resume")]
pub(crate) struct Resume {
    /// The container's id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// Show what a container uses, again and again, and when it runs out of memory.
#[derive(Debug, Parser)]
#[command(name = "events", bin_name = "hostrun events")]
pub(crate) struct Events {
    /// How long to wait between two looks
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::duration)]
    pub(crate) interval: Duration,
    /// Look once and return
    #[arg(long)]
    pub(crate) stats: bool,
    /// The container's id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// Show what this runtime can do, as the runtime-spec has it.
#[derive(Debug, Parser)]
#[command(name = "features", bin_name = "hostrun features")]
pub(crate) struct Features {}

/// Print a shell's completions.
#[cfg(feature = "pages")]
#[derive(Debug, Parser)]
#[command(name = "completions", bin_name = "hostrun completions")]
pub(crate) struct Completions {
    /// bash, zsh, fish
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// Write the manual pages.
#[cfg(feature = "pages")]
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
