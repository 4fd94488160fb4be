//! Verbs about registries.

use super::images::Limits;
use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Get an image from a registry.
///
/// What another pull fetches at the same time is not fetched twice, and one that was cut off goes on where it ended.
#[derive(Debug, Parser)]
#[command(name = "pull", bin_name = "hostrun pull")]
pub(crate) struct Pull {
    /// Print only the image's name
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
    /// The platform the image must be for, such as linux/amd64
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// How to tell what comes
    #[arg(long, value_enum, default_value = "auto", value_name = "HOW")]
    pub(crate) progress: How,
    #[command(flatten)]
    pub(crate) registry: Registry,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// The image: [HOST[:PORT]/]NAME[:TAG|@DIGEST]
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
}

/// Send an image to a registry.
///
/// Layers are sent as they are, or with gzip; blobs that the registry has are not sent.
#[derive(Debug, Parser)]
#[command(name = "push", bin_name = "hostrun push")]
pub(crate) struct Push {
    /// Print only the manifest's digest
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
    /// How to tell what goes
    #[arg(long, value_enum, default_value = "auto", value_name = "HOW")]
    pub(crate) progress: How,
    /// Send layers as they are, without gzip
    #[arg(long)]
    pub(crate) uncompressed: bool,
    /// Write the manifest's digest to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) digestfile: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) registry: Registry,
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Its name in the registry, if it is another one
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Keep a name and password for a registry.
#[derive(Debug, Parser)]
#[command(name = "login", bin_name = "hostrun login")]
pub(crate) struct Login {
    /// The user's name
    #[arg(short = 'u', long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// The password; others can see it in the list of processes
    #[arg(
        short = 'p',
        long,
        value_name = "PASSWORD",
        conflicts_with = "password_stdin"
    )]
    pub(crate) password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    #[command(flatten)]
    pub(crate) registry: Registry,
    /// The registry: HOST[:PORT]
    #[arg(value_name = "REGISTRY", default_value = "docker.io")]
    pub(crate) name: String,
}

/// Forget the name and password for a registry.
#[derive(Debug, Parser)]
#[command(name = "logout", bin_name = "hostrun logout")]
pub(crate) struct Logout {
    /// The file they are in
    #[arg(long, value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,
    /// The registry: HOST[:PORT]
    #[arg(value_name = "REGISTRY", default_value = "docker.io")]
    pub(crate) name: String,
}

/// How a registry is asked.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Registry")]
pub(crate) struct Registry {
    /// Credentials are in FILE, as docker's config.json has them
    #[arg(long, value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,
    /// A name and password; others can see them in the list of processes
    #[arg(long, value_name = "NAME:PASSWORD")]
    pub(crate) creds: Option<String>,
    /// Certificates are in DIR: *.crt of authorities, *.cert and *.key of ours
    #[arg(long, value_name = "DIR")]
    pub(crate) cert_dir: Option<PathBuf>,
    /// Whether the registry must prove who it is; one that need not may also speak plain HTTP
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) tls_verify: Option<bool>,
    /// How long the registry may be silent, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    pub(crate) timeout: u64,
    /// How often to ask again
    #[arg(long, value_name = "N", default_value = "5")]
    pub(crate) retry: u32,
}

/// How progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum How {
    /// Bars on a terminal, lines elsewhere
    #[default]
    Auto,
    /// Bars
    Tty,
    /// Lines
    Plain,
    /// A line of JSON for each step
    Json,
}
