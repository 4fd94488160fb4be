//! Verbs about containers that exist: ps, kill, stop, rm, inspect, logs.

use clap::{Parser, ValueEnum};

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    Table,
    /// JSON for programs
    Json,
}

impl Format {
    /// By its name.
    pub(crate) fn of(word: &str) -> Option<Self> {
        Self::from_str(word, false).ok()
    }
}

/// List containers, or the processes of one.
///
/// With CONTAINER its processes are shown as `ps -ef` shows them, or as `ps` does with the options
/// that follow; `--format json` is then an array of their ids.
#[derive(Debug, Parser)]
#[command(
    name = "ps",
    bin_name = "hostrun ps",
    override_usage = "hostrun ps [OPTIONS]\n       hostrun ps [OPTIONS] CONTAINER [PS OPTION]..."
)]
pub(crate) struct Ps {
    /// Also those that have ended
    #[arg(short = 'a', long)]
    pub(crate) all: bool,
    /// Only ids
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
    /// Whole ids and commands
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// How to write the list
    #[arg(
        short = 'f',
        long,
        value_enum,
        default_value = "table",
        value_name = "FORMAT"
    )]
    pub(crate) format: Format,
    /// The container, then options of ps
    #[arg(value_name = "CONTAINER [PS OPTION]", num_args = 0.., trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

/// Send a signal to containers.
///
/// `hostrun kill CONTAINER SIGNAL` is understood too, as an OCI runtime is called.
#[derive(Debug, Parser)]
#[command(name = "kill", bin_name = "hostrun kill")]
pub(crate) struct Kill {
    /// The signal, by name or number
    #[arg(short = 's', long, value_name = "SIGNAL")]
    pub(crate) signal: Option<String>,
    /// Send it to every process of the container
    #[arg(short = 'a', long)]
    pub(crate) all: bool,
    /// The containers, by name, id or the beginning of an id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) words: Vec<String>,
}

/// Ask containers to end, and end those that do not.
#[derive(Debug, Parser)]
#[command(name = "stop", bin_name = "hostrun stop")]
pub(crate) struct Stop {
    /// How long to wait before the kill; -1 waits for ever
    #[arg(
        short = 't',
        long = "time",
        alias = "timeout",
        value_name = "SECONDS",
        default_value_t = 10,
        allow_hyphen_values = true
    )]
    pub(crate) seconds: i64,
    /// The containers, by name, id or the beginning of an id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
}

/// Remove containers that have ended.
#[derive(Debug, Parser)]
#[command(name = "rm", bin_name = "hostrun rm")]
pub(crate) struct Rm {
    /// Also those that are running; they are killed
    #[arg(short = 'f', long)]
    pub(crate) force: bool,
    /// The containers, by name, id or the beginning of an id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
}

/// Show everything about containers and images, as JSON.
#[derive(Debug, Parser)]
#[command(name = "inspect", bin_name = "hostrun inspect")]
pub(crate) struct Inspect {
    /// Containers or images
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
}

/// Show what a container started with -d has written.
#[derive(Debug, Parser)]
#[command(name = "logs", bin_name = "hostrun logs")]
pub(crate) struct Logs {
    /// Stay and show what is written from now on
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
    /// Put the time before each line
    #[arg(short = 't', long)]
    pub(crate) timestamps: bool,
    /// Only the last lines: a number, or all
    #[arg(short = 'n', long, value_name = "N", default_value = "all")]
    pub(crate) tail: String,
    /// Only what was written since a time (2026-01-31T12:00:00Z, seconds since 1970) or for a span (90s, 10m, 2h)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// The container, by name, id or the beginning of an id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}
