//! From flags and an image's configuration to an OCI runtime configuration.
//!
//! [`generate`] is pure: what the host or the image's files must be asked is asked before, and handed in as [`Facts`].
//! Strings of an image end up as values inside the configuration and nowhere else.

mod defaults;
pub(crate) mod host;
mod isolation;
mod limits;
mod mounts;
mod process;
pub(crate) mod template;

#[cfg(test)]
mod tests;

pub(crate) use limits::check as check_limits;
pub(crate) use mounts::all_flags as mount_flags;
pub(crate) use process::{
    apply_variables, command, console_size, full_capabilities, stop_signal, user_text, working_dir,
};

use crate::args::run::Run;
use crate::flags::environment::Variable;
use crate::flags::path::ContainerPath;
use anyhow::{Context, Result};
use host::HostDevice;
use oci_spec::image::Config;
use oci_spec::runtime::{Capability, LinuxSeccomp, Root, Spec};
use std::collections::HashMap;
use std::path::PathBuf;

/// The version of the runtime-spec that generated configurations are written in.
const VERSION: &str = "1.2.1";

/// Whom the container runs as, found in the image's own user database.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) additional_gids: Vec<u32>,
    pub(crate) home: String,
}

/// A directory of the host that stands for a volume.
#[derive(Debug, Clone)]
pub(crate) struct Volume {
    pub(crate) destination: ContainerPath,
    pub(crate) source: PathBuf,
    pub(crate) options: Vec<String>,
}

/// Paths of namespaces that are shared with other containers.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedNamespaces {
    pub(crate) network: Option<PathBuf>,
    pub(crate) pid: Option<PathBuf>,
    pub(crate) ipc: Option<PathBuf>,
}

/// Labels of SELinux.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    /// What its processes run as.
    pub(crate) process: String,
    /// What its files are.
    pub(crate) files: String,
}

/// What the flags and the image cannot say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) hostname: String,
    pub(crate) identity: Identity,
    pub(crate) namespaces: SharedNamespaces,
    /// Every capability this host can give.
    pub(crate) capabilities: Vec<Capability>,
    /// The devices asked for, looked up.
    pub(crate) devices: Vec<HostDevice>,
    pub(crate) volumes: Vec<Volume>,
    /// Host files mounted over files in /etc: container path and source.
    pub(crate) etc: Vec<(&'static str, PathBuf)>,
    /// Directories of the host's ipc namespace that this host has.
    pub(crate) ipc: Vec<&'static str>,
    /// Directories of the kernel's that are the host's own, because no others can be mounted.
    pub(crate) shown: Vec<&'static str>,
    /// Our own binary, when it is process 1.
    pub(crate) init: Option<PathBuf>,
    /// Against what relative host paths are read.
    pub(crate) base: PathBuf,
    pub(crate) seccomp: Option<LinuxSeccomp>,
    pub(crate) labels: Option<Labels>,
    /// A profile of AppArmor's.
    pub(crate) apparmor: Option<String>,
    /// Columns and rows of our own terminal.
    pub(crate) console: Option<(u16, u16)>,
    /// Variables of files and flags, in this order.
    pub(crate) variables: Vec<Variable>,
    /// Variables of our own environment that are asked for.
    pub(crate) environment: HashMap<String, String>,
}

/// Makes the configuration.
///
/// # Errors
/// When flags and image together do not say what to run, or contradict each other.
pub(crate) fn generate(flags: &Run, image: &Config, facts: &Facts) -> Result<Spec> {
    let mut root = Root::default();
    root.set_path("rootfs".into())
        .set_readonly(Some(flags.files.read_only));
    let own_hostname = isolation::own_hostname(flags);
    let annotations: HashMap<String, String> = flags
        .annotations
        .iter()
        .map(|pair| (pair.key.clone(), pair.value.clone()))
        .collect();
    let mut spec = Spec::default();
    spec.set_version(VERSION.to_owned())
        .set_root(Some(root))
        .set_process(Some(process::process(flags, image, facts)?))
        .set_hostname(own_hostname.then(|| facts.hostname.clone()))
        .set_mounts(Some(mounts::mounts(flags, facts)))
        .set_annotations((!annotations.is_empty()).then_some(annotations))
        .set_linux(Some(isolation::linux(flags, facts)));
    Ok(spec)
}

/// A configuration as JSON in one fixed order: sets of capabilities have none of their own.
///
/// # Errors
/// When a path in it is not text.
pub(crate) fn to_json(spec: &Spec) -> Result<serde_json::Value> {
    // Through text, as it is written everywhere else: a second way to go over the whole type is 80 KB of code.
    let mut value: serde_json::Value = serde_json::to_vec(spec)
        .and_then(|text| serde_json::from_slice(&text))
        .context("cannot write the configuration as JSON")?;
    if let Some(sets) = value
        .pointer_mut("/process/capabilities")
        .and_then(|sets| sets.as_object_mut())
    {
        for set in sets.values_mut().filter_map(|set| set.as_array_mut()) {
            set.sort_unstable_by(|a, b| a.as_str().cmp(&b.as_str()));
        }
    }
    Ok(value)
}
