//! Verbs about images: load, images, rmi.

use super::containers::Format;
use clap::Parser;

/// Load an image into the store.
///
/// SOURCE is `oci:DIR[:TAG]`, `oci-archive:FILE` or `docker-archive:FILE`.
#[derive(Debug, Parser)]
#[command(name = "load", bin_name = "hostrun load")]
pub(crate) struct Load {
    /// Print only the names of the loaded images
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
    /// The platform the image must be for, such as linux/amd64
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Where the image is
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
}

/// List the images in the store.
#[derive(Debug, Parser)]
#[command(name = "images", bin_name = "hostrun images")]
pub(crate) struct Images {
    /// Only ids
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
    /// Whole ids
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// How to write the list
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) format: Format,
}

/// Remove images from the store.
#[derive(Debug, Parser)]
#[command(name = "rmi", bin_name = "hostrun rmi")]
pub(crate) struct Rmi {
    /// The images, by name or id
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}
