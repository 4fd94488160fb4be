//! `hostrun exec`.

use crate::flags::environment::{self, Variable};
use clap::Parser;
use std::path::PathBuf;

/// Run a command in a running container.
///
/// Options end at CONTAINER. Environment, user, working directory, capabilities and filter are those of the container
/// unless a flag says otherwise.
///
/// In a container that was made from a bundle standard input is always open, the user is a number, and every failure
/// but the command's own ends with code 255.
#[derive(Debug, Parser, Default)]
#[command(
    name = "exec",
    bin_name = "hostrun exec",
    override_usage = "hostrun exec [OPTIONS] CONTAINER COMMAND [ARG]..."
)]
pub(crate) struct Exec {
    /// Leave the command running and return
    #[arg(short = 'd', long)]
    pub(crate) detach: bool,
    /// Keep standard input open
    #[arg(short = 'i', long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal
    #[arg(short = 't', long)]
    pub(crate) tty: bool,
    /// Set a variable; without a value it is taken from the environment of hostrun
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]", value_parser = environment::variable)]
    pub(crate) env: Vec<Variable>,
    /// Read variables from FILE, one a line
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// The user and group, by name or number in the container; only by number in one made from a bundle
    #[arg(short = 'u', long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// The working directory
    #[arg(short = 'w', long, alias = "cwd", value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Give the command all capabilities
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Write the process id of the command to FILE
    #[arg(long, alias = "pidfile", value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Keep N descriptors after the standard three open in the command
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u32,

    /// Take the whole process from FILE, as config.json has it
    #[arg(short = 'p', long, value_name = "FILE", help_heading = "Bundles")]
    pub(crate) process: Option<PathBuf>,
    /// Add a group
    #[arg(short = 'g', long, value_name = "GID", help_heading = "Bundles")]
    pub(crate) additional_gids: Vec<u32>,
    /// Add a capability
    #[arg(short = 'c', long, value_name = "CAP", help_heading = "Bundles")]
    pub(crate) cap: Vec<String>,
    /// Forbid new privileges
    #[arg(long, help_heading = "Bundles")]
    pub(crate) no_new_privs: bool,
    /// The AppArmor profile
    #[arg(long, value_name = "PROFILE", help_heading = "Bundles")]
    pub(crate) apparmor: Option<String>,
    /// The SELinux label
    #[arg(long, value_name = "LABEL", help_heading = "Bundles")]
    pub(crate) process_label: Option<String>,
    /// Join a cgroup below the container's own, which must exist
    #[arg(long, value_name = "[CONTROLLER:]PATH", help_heading = "Bundles")]
    pub(crate) cgroup: Vec<String>,
    /// Join a paused container, and wait until it is resumed
    #[arg(long, help_heading = "Bundles")]
    pub(crate) ignore_paused: bool,
    /// Send the master of the command's terminal to this socket
    #[arg(long, value_name = "SOCKET", help_heading = "Bundles")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Send a pidfd of the command to this socket
    #[arg(long, value_name = "SOCKET", help_heading = "Bundles")]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// Leave processes that outlive their parent to the system's own reaper, as is always done here
    #[arg(long, help_heading = "Bundles")]
    pub(crate) no_subreaper: bool,

    /// The container, then the command and its arguments
    #[arg(value_name = "CONTAINER COMMAND [ARG]", required = true, num_args = 1.., trailing_var_arg = true)]
    pub(crate) words: Vec<String>,
}
