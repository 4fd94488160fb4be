//! `hostrun doctor`.

use super::containers::Format;
use clap::Parser;

/// Check this machine, and say how to fix it.
///
/// Exits with 1 when containers cannot run at all.
#[derive(Debug, Parser)]
#[command(name = "doctor", bin_name = "hostrun doctor")]
pub(crate) struct Doctor {
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
