//! Verbs about images and the store they are in.

use super::containers::Format;
use crate::flags::filter::Filter;
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Load images into the store.
///
/// SOURCE is `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]` or `docker-archive:FILE[:NAME]`. Without it an
/// archive of either kind is read, also a compressed one: FILE, or standard input.
#[derive(Debug, Parser)]
#[command(name = "load", bin_name = "hostrun load")]
pub(crate) struct Load {
    /// Read this archive
    #[arg(short = 'i', long, value_name = "FILE", conflicts_with = "source")]
    pub(crate) input: Option<PathBuf>,
    /// Print only the names of the loaded images
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
    /// The platform the image must be for, such as linux/amd64
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// Where the image is
    #[arg(value_name = "SOURCE")]
    pub(crate) source: Option<String>,
}

/// How much an image may make us do.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// Most uncompressed bytes of a layer, such as 20g
    #[arg(long = "max-layer-bytes", value_name = "BYTES", value_parser = crate::flags::memory::bytes)]
    pub(crate) layer_bytes: Option<i64>,
    /// Most files, directories and links of a layer
    #[arg(long = "max-entries", value_name = "N")]
    pub(crate) entries: Option<u64>,
    /// Most layers
    #[arg(long = "max-layers", value_name = "N")]
    pub(crate) layers: Option<usize>,
    /// Most uncompressed bytes for each compressed one
    #[arg(long = "max-ratio", value_name = "N")]
    pub(crate) ratio: Option<u64>,
}

/// Write images to an archive that every image tool reads, or to an OCI layout.
#[derive(Debug, Parser)]
#[command(name = "save", bin_name = "hostrun save")]
pub(crate) struct Save {
    /// Write here instead of to standard output
    #[arg(short = 'o', long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// What is written
    #[arg(long, value_enum, default_value = "oci-archive", value_name = "FORMAT")]
    pub(crate) format: SaveFormat,
    /// Compress layers with gzip
    #[arg(long)]
    pub(crate) compress: bool,
    /// The images, by name or id
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}

/// What images are saved as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SaveFormat {
    /// A tar that is an OCI layout and a docker archive at once
    OciArchive,
    /// The same
    DockerArchive,
    /// A directory in OCI layout
    OciDir,
}

/// Make an image of a tar with a root file system.
#[derive(Debug, Parser)]
#[command(name = "import", bin_name = "hostrun import")]
pub(crate) struct Import {
    /// Change the image's configuration: CMD, ENTRYPOINT, ENV, LABEL, USER, WORKDIR, STOPSIGNAL, EXPOSE, VOLUME
    #[arg(short = 'c', long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// A word for the image's history
    #[arg(short = 'm', long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// The platform it is for, if not this one
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// The tar, plain or compressed; - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// What the image is called
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Give an image one more name.
#[derive(Debug, Parser)]
#[command(name = "tag", bin_name = "hostrun tag")]
pub(crate) struct Tag {
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The new names
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
}

/// List the images in the store.
#[derive(Debug, Parser)]
#[command(name = "images", bin_name = "hostrun images")]
pub(crate) struct Images {
    /// Taken for docker's sake: images without a name are always shown
    #[arg(short = 'a', long)]
    pub(crate) all: bool,
    /// Only ids
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
    /// Whole ids
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Also digests of manifests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Only these: dangling=true|false, label=KEY[=VALUE], label!=KEY[=VALUE], reference=PATTERN,
    /// before=IMAGE, since=IMAGE, until=TIME
    #[arg(short = 'f', long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<Filter>,
    /// How to write the list
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) format: Format,
    /// Only those with this name, or of this pattern
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
}

/// Show how an image was made, newest step first.
#[derive(Debug, Parser)]
#[command(name = "history", bin_name = "hostrun history")]
pub(crate) struct History {
    /// Whole ids and commands
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only the layers' ids
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
    /// How to write the list
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) format: Format,
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
}

/// Remove images from the store.
#[derive(Debug, Parser)]
#[command(name = "rmi", bin_name = "hostrun rmi")]
pub(crate) struct Rmi {
    /// Images that are not there are no error, and an image named by id goes with all of its names
    #[arg(short = 'f', long)]
    pub(crate) force: bool,
    /// The images, by name or id
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}

/// Forget what names meant before, and remove the images only they had.
#[derive(Debug, Parser)]
#[command(name = "prune", bin_name = "hostrun prune")]
pub(crate) struct Prune {
    /// Also remove images with a name, if no container was made from them
    #[arg(short = 'a', long)]
    pub(crate) all: bool,
    /// Taken for docker's sake: nothing is asked
    #[arg(short = 'f', long)]
    pub(crate) force: bool,
    /// Only these, as images has them
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<Filter>,
}

/// Remove what no name, no generation and no container leads to.
#[derive(Debug, Parser)]
#[command(name = "gc", bin_name = "hostrun gc")]
pub(crate) struct Gc {}

/// Show what the store takes on the disk.
#[derive(Debug, Parser)]
#[command(name = "df", bin_name = "hostrun df")]
pub(crate) struct Df {
    /// How to write it
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) format: Format,
}

/// Look whether the store is whole.
#[derive(Debug, Parser)]
#[command(name = "verify", bin_name = "hostrun verify")]
pub(crate) struct Verify {
    /// Every byte and attribute of every layer, not only names and records
    #[arg(long)]
    pub(crate) deep: bool,
    /// Remove damaged images, to be loaded again; those of containers stay
    #[arg(long)]
    pub(crate) repair: bool,
    /// How to write what is found
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) format: Format,
}

/// Show what names meant before, and go back to it.
#[derive(Debug, Parser)]
#[command(name = "generations", bin_name = "hostrun generations")]
pub(crate) struct Generations {
    #[command(subcommand)]
    pub(crate) verb: GenerationsVerb,
}

/// What to do with generations.
#[derive(Debug, Subcommand)]
pub(crate) enum GenerationsVerb {
    /// List them, oldest first
    List {
        /// How to write the list
        #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
        format: Format,
    },
    /// Give all names the meaning they had
    Switch {
        /// The generation
        #[arg(value_name = "NUMBER")]
        number: u64,
    },
    /// Switch to the one before the current one
    Rollback,
    /// Switch to the one that held when this version of the system ran
    ///
    /// Called early at boot. Names stay as they are for a version that has not run before, and for an empty one, which
    /// is none.
    Follow {
        /// The version, as `IMAGE_VERSION` of os-release has it
        #[arg(value_name = "VERSION")]
        version: String,
    },
}

/// Delete what was removed.
#[derive(Debug, Parser)]
#[command(name = "sweep", bin_name = "hostrun sweep")]
pub(crate) struct Sweep {}
