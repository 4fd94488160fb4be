//! `hostrun unit`.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Check files that systemd's services are made of, or show what is made of one.
///
/// The files are Quadlet's: .container, .pod, .volume, .network and .image. Each thing that is wrong is told as
/// FILE:LINE: MESSAGE, and the exit code is 1 then.
#[derive(Debug, Parser)]
#[command(name = "unit", bin_name = "hostrun unit")]
pub(crate) struct Unit {
    /// What to do
    #[arg(value_enum, value_name = "ACTION")]
    pub(crate) action: Action,
    /// The files
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// What is done with the files.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Action {
    /// Say what is wrong
    Check,
    /// Print the service that is made of one
    Show,
}
