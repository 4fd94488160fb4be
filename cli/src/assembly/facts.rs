//! What the host, the image's files and other containers must be asked.

use super::{etc, volumes};
use crate::args::run::Run;
use crate::companion;
use crate::flags::environment::{self, Variable};
use crate::flags::mount::{Kind, MountFlag};
use crate::flags::namespace::Sharing;
use crate::flags::path;
use crate::flags::security::SecurityOption;
use crate::globals::{Globals, is_mapped};
use crate::record::Record;
use crate::report::{self, Failure};
use crate::spec::host::{self, HostDevice};
use crate::spec::{self, Facts, Identity, SharedNamespaces};
use crate::target::Target;
use crate::{attend, flags::capability};
use anyhow::{Context, Result};
use oci_spec::image::Config;
use oci_spec::runtime::{Capability, LinuxSeccomp};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Asks everything.
///
/// # Errors
/// When something asked for is not there: a user, a device, a file, another container.
pub(super) fn gather(
    globals: &Globals,
    flags: &Run,
    image: &Config,
    record: &Record,
    root: &OwnedFd,
) -> Result<Facts> {
    let base = std::env::current_dir().context("cannot tell the working directory")?;
    for flag in spec::mount_flags(flags) {
        check_source(&base, flag)?;
    }
    let hostname = hostname(flags, record);
    let capabilities = host::capabilities()?;
    let variables = read_variables(&flags.process.env_file, &flags.process.env)?;
    Ok(Facts {
        identity: identity(
            root.as_fd(),
            spec::user_text(flags, image),
            &flags.process.group_add,
        )?,
        namespaces: namespaces(globals, flags)?,
        devices: devices(flags)?,
        volumes: volumes::make(flags, image, record, root.as_fd())?,
        etc: etc::write(globals, flags, record, &hostname)?,
        init: flags.process.init.then(own_binary).transpose()?,
        seccomp: seccomp(flags, &capabilities)?,
        apparmor: apparmor(flags),
        labels: None,
        shown: shown(flags),
        console: attend::window_size().filter(|_| flags.tty && !flags.detach),
        ipc: host_ipc(flags),
        environment: own_environment(&variables),
        variables,
        hostname,
        capabilities,
        base,
    })
}

/// Finds a user in a root's own database.
///
/// # Errors
/// When the user or a group is not there.
pub(crate) fn identity(root: BorrowedFd<'_>, user: &str, group_add: &[String]) -> Result<Identity> {
    let user = hostrun_runtime::users::resolve(root, user, group_add)?;
    Ok(Identity {
        uid: user.uid,
        gid: user.gid,
        additional_gids: user.additional_gids,
        home: user.home,
    })
}

/// The variables of flags and files: files first, so that a flag wins.
///
/// # Errors
/// When a file cannot be read or understood.
pub(crate) fn read_variables(files: &[PathBuf], env: &[Variable]) -> Result<Vec<Variable>> {
    let mut variables = Vec::new();
    for file in files {
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the env file '{shown}'"))?;
        variables.extend(
            environment::file(&text).map_err(|why| report::usage(format!("'{shown}': {why}")))?,
        );
    }
    variables.extend_from_slice(env);
    Ok(variables)
}

/// Those of our own variables that are asked for without a value.
pub(crate) fn own_environment(variables: &[Variable]) -> HashMap<String, String> {
    let asked = variables.iter().filter(|variable| variable.value.is_none());
    asked
        .filter_map(|variable| Some((variable.name.clone(), std::env::var(&variable.name).ok()?)))
        .collect()
}

fn hostname(flags: &Run, record: &Record) -> String {
    let shares_host = flags.isolation.uts == Some(Sharing::Host);
    match &flags.isolation.hostname {
        Some(name) => name.clone(),
        None if shares_host || flags.isolation.network == Some(Sharing::Host) => host::hostname(),
        None => record.short().to_owned(),
    }
}

fn check_source(base: &Path, flag: &MountFlag) -> Result<()> {
    let Kind::Bind(source) = &flag.kind else {
        return Ok(());
    };
    let source = path::on_host(base, source);
    if std::fs::symlink_metadata(&source).is_err() {
        let failure = Failure::new(format!(
            "cannot mount '{}': there is no such file",
            source.display()
        ));
        return Err(failure
            .hint("create it first; hostrun makes no directories on the host by accident")
            .into());
    }
    Ok(())
}

fn namespaces(globals: &Globals, flags: &Run) -> Result<SharedNamespaces> {
    let path = |sharing: &Option<Sharing>, name: &str| -> Result<Option<PathBuf>> {
        let Some(Sharing::Container(other)) = sharing else {
            return Ok(None);
        };
        let pid = Target::find(globals, other)?.running_pid()?;
        Ok(Some(PathBuf::from(format!("/proc/{pid}/ns/{name}"))))
    };
    Ok(SharedNamespaces {
        network: path(&flags.isolation.network, "net")?,
        pid: path(&flags.isolation.pid, "pid")?,
        ipc: path(&flags.isolation.ipc, "ipc")?,
    })
}

/// The host's shared memory and message queues belong to its ipc namespace; not every host mounts both.
fn host_ipc(flags: &Run) -> Vec<&'static str> {
    let shared = flags.isolation.ipc == Some(Sharing::Host);
    let dirs = ["/dev/shm", "/dev/mqueue"];
    dirs.into_iter()
        .filter(|dir| shared && Path::new(dir).is_dir())
        .collect()
}

/// Who does not own a namespace may not mount what shows it (`mount_namespaces(7)`), only the host's own.
fn shown(flags: &Run) -> Vec<&'static str> {
    let isolation = &flags.isolation;
    let shared = [
        (&isolation.network, "/sys"),
        (&isolation.pid, "/proc"),
        (&isolation.ipc, "/dev/mqueue"),
    ];
    let shared = shared
        .into_iter()
        .filter(|(sharing, _)| **sharing == Some(Sharing::Host));
    let shown: Vec<&str> = shared.map(|(_, dir)| dir).collect();
    if shown.is_empty() || !is_mapped() {
        return Vec::new();
    }
    shown
}

fn devices(flags: &Run) -> Result<Vec<HostDevice>> {
    let mut devices = if flags.isolation.privileged {
        host::all_devices()
    } else {
        Vec::new()
    };
    for flag in flags.files.host_devices() {
        let device = HostDevice::of(flag)?;
        devices.retain(|held| held.path != device.path);
        devices.push(device);
    }
    Ok(devices)
}

/// The filter that goes with the capabilities the container has.
fn seccomp(flags: &Run, all: &[Capability]) -> Result<Option<LinuxSeccomp>> {
    let isolation = &flags.isolation;
    let capabilities = if isolation.privileged {
        all.to_vec()
    } else {
        capability::combined(&isolation.cap_add, &isolation.cap_drop, all)
    };
    let choice = isolation.security_opt.iter().rev().find(|option| {
        let named = matches!(
            option,
            SecurityOption::SeccompUnconfined | SecurityOption::SeccompFile(_)
        );
        named || **option == SecurityOption::SeccompDefault
    });
    match choice {
        Some(SecurityOption::SeccompUnconfined) => Ok(None),
        Some(SecurityOption::SeccompFile(file)) => {
            let shown = file.display();
            let json = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the seccomp profile '{shown}'"))?;
            let profile = hostrun_seccomp_profiles::load(json.as_bytes(), &capabilities);
            profile
                .map(Some)
                .with_context(|| format!("cannot use the seccomp profile '{shown}'"))
        }
        None if isolation.privileged => Ok(None),
        _ => Ok(Some(hostrun_seccomp_profiles::default_profile(
            &capabilities,
        ))),
    }
}

/// The profile asked for; else ours, where somebody has loaded it.
fn apparmor(flags: &Run) -> Option<String> {
    const OURS: &str = "hostrun-default";
    let isolation = &flags.isolation;
    let asked = isolation
        .security_opt
        .iter()
        .rev()
        .find_map(|option| match option {
            SecurityOption::Apparmor(profile) => Some(profile.clone()),
            _ => None,
        });
    asked.unwrap_or_else(|| {
        let loaded = || {
            let profiles =
                std::fs::read_to_string("/sys/kernel/security/apparmor/profiles").ok()?;
            let ours = |line: &str| line.split_once(" (").is_some_and(|(name, _)| name == OURS);
            profiles.lines().any(ours).then(|| OURS.to_owned())
        };
        if isolation.privileged { None } else { loaded() }
    })
}

fn own_binary() -> Result<PathBuf> {
    companion::own_path().context("cannot find hostrun's own binary for --init")
}
