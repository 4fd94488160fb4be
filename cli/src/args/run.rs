//! `hostrun run`.

use super::bundles::Handover;
use super::health::HealthFlags;
use crate::flags::capability::Choice;
use crate::flags::device::{Asked, Device};
use crate::flags::environment::Variable;
use crate::flags::mount::MountFlag;
use crate::flags::namespace::Sharing;
use crate::flags::pair::Pair;
use crate::flags::security::SecurityOption;
use crate::flags::ulimit::Ulimit;
use crate::flags::{
    capability, device, environment, hostname, memory, mount, namespace, pair, security, ulimit,
};
use clap::{ArgAction, Args, Parser, ValueEnum};
use hostrun_runtime::cdi::DeviceName;
use std::path::PathBuf;

/// A bundle's config.json says all of this; a flag that would be passed over in silence is refused.
const NOT_OF_BUNDLES: [&str; 15] = [
    "interactive",
    "tty",
    "rm",
    "name",
    "cidfile",
    "labels",
    "annotations",
    "platform",
    "pull",
    "quiet",
    "ProcessFlags",
    "FileFlags",
    "IsolationFlags",
    "LimitFlags",
    "HealthFlags",
];

/// Run a command in a new container.
///
/// IMAGE is `oci:DIR[:TAG]`, `oci-archive:FILE`, `docker-archive:FILE`, or the name of an image in the store. Options
/// end at IMAGE: all that follows belongs to the command.
///
/// With --bundle the one word that follows is the container's id, and everything else comes from the bundle's
/// config.json.
#[derive(Debug, Parser, Default)]
#[command(
    name = "run",
    bin_name = "hostrun run",
    disable_help_flag = true,
    override_usage = "hostrun run [OPTIONS] IMAGE [COMMAND] [ARG]...\n       hostrun run --bundle DIR [OPTIONS] ID"
)]
pub(crate) struct Run {
    /// Print this help
    #[arg(long, action = ArgAction::Help)]
    pub(super) help: Option<bool>,

    /// Run the OCI bundle in DIR; the word that follows the options is the container's id
    #[arg(short = 'b', long, value_name = "DIR", help_heading = "Bundles", conflicts_with_all = NOT_OF_BUNDLES)]
    pub(crate) bundle: Option<PathBuf>,
    /// Keep N descriptors after the standard three open in the container
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Bundles")]
    pub(crate) preserve_fds: u32,
    /// Do not delete the container when it has ended
    #[arg(long, help_heading = "Bundles")]
    pub(crate) keep: bool,
    /// Leave processes that outlive their parent to the system's own reaper, as is always done here
    #[arg(long, help_heading = "Bundles")]
    pub(crate) no_subreaper: bool,
    #[command(flatten, next_help_heading = "Bundles")]
    pub(crate) handover: Handover,

    /// Run in the background and print the container's id
    #[arg(short = 'd', long, help_heading = "Options")]
    pub(crate) detach: bool,
    /// Keep standard input open
    #[arg(short = 'i', long)]
    pub(crate) interactive: bool,
    /// Give the container a terminal
    #[arg(short = 't', long)]
    pub(crate) tty: bool,
    /// Remove the container when it has ended
    #[arg(long)]
    pub(crate) rm: bool,
    /// Name the container
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Write the process id of the container to FILE
    #[arg(long, alias = "pid-file", value_name = "FILE")]
    pub(crate) pidfile: Option<PathBuf>,
    /// Write the id of the container to FILE, which must not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// Attach a label to the container
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_parser = pair::label)]
    pub(crate) labels: Vec<Pair>,
    /// Attach an annotation to the container's configuration
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = pair::required)]
    pub(crate) annotations: Vec<Pair>,
    /// The platform the image must be for, such as linux/amd64
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// When to get the image from its registry
    #[arg(long, value_enum, default_value = "missing", value_name = "WHEN")]
    pub(crate) pull: When,
    /// Say nothing while an image is loaded
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
    /// Print where the start's microseconds went, step by step
    #[arg(long)]
    pub(crate) timings: bool,

    #[command(flatten)]
    pub(crate) process: ProcessFlags,
    #[command(flatten)]
    pub(crate) files: FileFlags,
    #[command(flatten)]
    pub(crate) isolation: IsolationFlags,
    #[command(flatten)]
    pub(crate) limits: LimitFlags,
    #[command(flatten)]
    pub(crate) health: HealthFlags,

    /// The image, then the command and its arguments
    #[arg(value_name = "IMAGE [COMMAND] [ARG]", required = true, num_args = 1.., trailing_var_arg = true)]
    pub(crate) words: Vec<String>,
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum When {
    /// When the store does not have it
    #[default]
    Missing,
    /// Also when it does
    Always,
    /// Never
    Never,
}

/// What runs, as whom and where.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Process")]
pub(crate) struct ProcessFlags {
    /// Set a variable; without a value it is taken from the environment of hostrun
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]", value_parser = environment::variable)]
    pub(crate) env: Vec<Variable>,
    /// Read variables from FILE, one a line
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// The working directory
    #[arg(short = 'w', long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// The user and group, by name or number
    #[arg(short = 'u', long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Another group of the user
    #[arg(long, value_name = "GROUP")]
    pub(crate) group_add: Vec<String>,
    /// Replace the image's entrypoint; empty means none
    #[arg(long, value_name = "COMMAND")]
    pub(crate) entrypoint: Option<String>,
    /// Run a small init as process 1 that reaps and forwards signals
    #[arg(long)]
    pub(crate) init: bool,
    /// The signal that asks the container to end
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// Limit a resource of the process, such as nofile=1024:4096
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", value_parser = ulimit::ulimit)]
    pub(crate) ulimits: Vec<Ulimit>,
}

/// What the container sees of the file system.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Files")]
pub(crate) struct FileFlags {
    /// Mount a file or directory of the host, or a new volume
    #[arg(short = 'v', long = "volume", value_name = "[HOST:]DIR[:OPTIONS]", value_parser = mount::volume)]
    pub(crate) volumes: Vec<MountFlag>,
    /// Mount by key and value: type=bind|tmpfs|volume,source=..,target=..
    #[arg(long = "mount", value_name = "KEY=VALUE,...", value_parser = mount::mount)]
    pub(crate) mounts: Vec<MountFlag>,
    /// Mount memory at DIR
    #[arg(long = "tmpfs", value_name = "DIR[:OPTIONS]", value_parser = mount::tmpfs)]
    pub(crate) tmpfs: Vec<MountFlag>,
    /// Make the image's files read-only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// The size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = memory::bytes)]
    pub(crate) shm_size: Option<i64>,
    /// Let the container use a device of the host, or one that its vendor describes (CDI)
    #[arg(long = "device", value_name = "HOST[:DEVICE][:rwm]|VENDOR/CLASS=NAME", value_parser = device::asked)]
    pub(crate) devices: Vec<Asked>,
    /// Where CDI's files are, in place of /etc/cdi and /var/run/cdi; the later go first
    #[arg(long = "cdi-spec-dir", value_name = "DIR")]
    pub(crate) cdi_spec_dirs: Vec<PathBuf>,
}

impl FileFlags {
    /// Nodes of the host.
    pub(crate) fn host_devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter_map(|asked| match asked {
            Asked::Host(device) => Some(device),
            Asked::Cdi(_) => None,
        })
    }

    /// Names of CDI.
    pub(crate) fn cdi_devices(&self) -> Vec<DeviceName> {
        let names = self.devices.iter().filter_map(|asked| match asked {
            Asked::Host(_) => None,
            Asked::Cdi(name) => Some(name.clone()),
        });
        names.collect()
    }
}

/// What the container is kept apart from, and what it may do.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Isolation")]
pub(crate) struct IsolationFlags {
    /// The container's host name
    #[arg(short = 'h', long, value_name = "NAME", value_parser = hostname::hostname)]
    pub(crate) hostname: Option<String>,
    /// Which network: none (only loopback; the default), host, container:ID
    #[arg(long, alias = "net", value_name = "MODE", value_parser = namespace::network)]
    pub(crate) network: Option<Sharing>,
    /// Whose processes are seen: private, host, container:ID
    #[arg(long, value_name = "MODE", value_parser = namespace::pid)]
    pub(crate) pid: Option<Sharing>,
    /// Whose shared memory and queues: private, host, container:ID
    #[arg(long, value_name = "MODE", value_parser = namespace::ipc)]
    pub(crate) ipc: Option<Sharing>,
    /// Whose host name: private, host
    #[arg(long, value_name = "MODE", value_parser = namespace::uts)]
    pub(crate) uts: Option<Sharing>,
    /// Whose users: host
    #[arg(long, value_name = "MODE", value_parser = namespace::userns)]
    pub(crate) userns: Option<Sharing>,
    /// Add a capability, or ALL
    #[arg(long, value_name = "CAP", value_parser = capability::choice, value_delimiter = ',')]
    pub(crate) cap_add: Vec<Choice>,
    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAP", value_parser = capability::choice, value_delimiter = ',')]
    pub(crate) cap_drop: Vec<Choice>,
    /// seccomp=FILE, apparmor=PROFILE, label=type:TYPE, label=level:LEVEL (=unconfined or =disable: none), no-new-privileges, systempaths=unconfined
    #[arg(long, value_name = "OPTION", value_parser = security::security_option)]
    pub(crate) security_opt: Vec<SecurityOption>,
    /// Take away nearly all isolation: all capabilities and devices, no filter, nothing masked
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Set a kernel parameter of the container's namespaces
    #[arg(long = "sysctl", value_name = "NAME=VALUE", value_parser = pair::sysctl)]
    pub(crate) sysctls: Vec<Pair>,
}

/// How much the container may use.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitFlags {
    /// How many processors' time
    #[arg(long, value_name = "NUMBER", value_parser = memory::cpus)]
    pub(crate) cpus: Option<i64>,
    /// Which processors, such as 0-2,5
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_cpus: Option<String>,
    /// How much memory
    #[arg(short = 'm', long, value_name = "BYTES", value_parser = memory::bytes)]
    pub(crate) memory: Option<i64>,
    /// How much memory and swap together, -1 for no limit of swap
    #[arg(long, value_name = "BYTES", value_parser = memory::bytes_or_unlimited, allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<i64>,
    /// How many processes and threads, -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Where the container's cgroup is
    #[arg(long, value_enum, default_value = "enabled", value_name = "WHERE")]
    pub(crate) cgroups: Cgroups,
}

/// Where the container's cgroup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Cgroups {
    /// Beside those of all other containers
    #[default]
    Enabled,
    /// Within the service that runs this, beside a cgroup for hostrun itself; needs Delegate=yes
    Split,
}
