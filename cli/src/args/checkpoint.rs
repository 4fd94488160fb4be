//! `checkpoint` and `restore`.

use clap::{Args, Parser};
use std::path::PathBuf;

/// What both take.
#[derive(Debug, Args, Default)]
pub(crate) struct Images {
    /// Directory of criu's images
    #[arg(long, value_name = "DIR", default_value = "checkpoint")]
    pub(crate) image_path: PathBuf,
    /// Directory of criu's log and other files of its work [default: that of the images]
    #[arg(long, value_name = "DIR")]
    pub(crate) work_path: Option<PathBuf>,
    /// Save established TCP connections
    #[arg(long)]
    pub(crate) tcp_established: bool,
    /// Let unix sockets lead out of the container
    #[arg(long)]
    pub(crate) ext_unix_sk: bool,
    /// The container is part of a terminal's session
    #[arg(long)]
    pub(crate) shell_job: bool,
    /// Save file locks
    #[arg(long)]
    pub(crate) file_locks: bool,
    /// Fetch memory when it is touched
    #[arg(long)]
    pub(crate) lazy_pages: bool,
    /// Drop memory that is written again from the images before
    #[arg(long)]
    pub(crate) auto_dedup: bool,
    /// What becomes of cgroups: soft, full, strict or ignore
    #[arg(long, value_name = "MODE", default_value = "")]
    pub(crate) manage_cgroups_mode: String,
    /// Make this namespace without what was in it: network
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) empty_ns: Vec<String>,
}

/// Save a running container to images, through the program criu.
#[derive(Debug, Parser)]
#[command(name = "checkpoint", bin_name = "hostrun checkpoint")]
pub(crate) struct Checkpoint {
    #[command(flatten)]
    pub(crate) images: Images,
    /// Images of the pre-dump before, relative to the new ones
    #[arg(long, value_name = "DIR")]
    pub(crate) parent_path: Option<PathBuf>,
    /// Let the container go on
    #[arg(long)]
    pub(crate) leave_running: bool,
    /// Leave out TCP connections that are being made
    #[arg(long)]
    pub(crate) tcp_skip_in_flight: bool,
    /// Give deleted files a name again while their content is saved
    #[arg(long)]
    pub(crate) link_remap: bool,
    /// Write one zero byte to descriptor N when memory can be fetched
    #[arg(long, value_name = "N")]
    pub(crate) status_fd: Option<i32>,
    /// Send memory to a page server
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) page_server: Option<String>,
    /// Save memory only, and let the container go on
    #[arg(long)]
    pub(crate) pre_dump: bool,
    /// The container's id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// Make a container of images that checkpoint has saved, through the program criu.
#[derive(Debug, Parser)]
#[command(name = "restore", bin_name = "hostrun restore")]
pub(crate) struct Restore {
    #[command(flatten)]
    pub(crate) images: Images,
    /// The bundle's directory
    #[arg(short = 'b', long, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// Leave the container running and return
    #[arg(short = 'd', long)]
    pub(crate) detach: bool,
    /// Write the process id of the container to FILE
    #[arg(long, alias = "pidfile", value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Send the master of the container's terminal to this socket
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Accepted: criu puts the root in its place
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Leave processes that outlive their parent to the system's own reaper, as is always done here
    #[arg(long)]
    pub(crate) no_subreaper: bool,
    /// Another LSM profile than the saved one
    #[arg(long, value_name = "TYPE:NAME")]
    pub(crate) lsm_profile: Option<String>,
    /// Another LSM mount context than the saved one
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) lsm_mount_context: Option<String>,
    /// The container's id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}
