//! The process: command line, environment, user, capabilities, limits.

use super::{Facts, Identity, defaults};
use crate::args::run::Run;
use crate::flags::capability;
use crate::flags::environment::{Environment, Variable};
use crate::flags::path::ContainerPath;
use crate::flags::security::SecurityOption;
use crate::flags::ulimit::Ulimit;
use crate::report::{self, Failure};
use anyhow::{Context, Result};
use oci_spec::image::Config;
use oci_spec::runtime::{
    Box as Size, BoxBuilder, Capability, LinuxCapabilities, LinuxCapabilitiesBuilder, PosixRlimit,
    PosixRlimitBuilder, Process, User,
};
use std::collections::HashMap;

/// Where --init puts our binary; /dev is a fresh tmpfs in every container.
pub(super) const INIT_PATH: &str = "/dev/init";

/// Builds the process.
pub(super) fn process(flags: &Run, image: &Config, facts: &Facts) -> Result<Process> {
    let mut process = Process::default();
    process
        .set_terminal(Some(flags.tty))
        .set_console_size(facts.console.filter(|_| flags.tty).and_then(console_size))
        .set_user(user(&facts.identity))
        .set_args(Some(with_init(facts, command(flags, image)?)))
        .set_env(Some(environment(flags, image, facts)))
        .set_cwd(working_dir(flags, image)?.as_str().into())
        .set_capabilities(Some(capabilities(flags, facts)))
        .set_rlimits(rlimits(&flags.process.ulimits)?)
        .set_apparmor_profile(facts.apparmor.clone())
        .set_selinux_label(facts.labels.as_ref().map(|labels| labels.process.clone()))
        .set_no_new_privileges(Some(no_new_privileges(flags)));
    Ok(process)
}

fn with_init(facts: &Facts, command: Vec<String>) -> Vec<String> {
    if facts.init.is_none() {
        return command;
    }
    let ours = [INIT_PATH, "init", "--"].map(str::to_owned);
    ours.into_iter().chain(command).collect()
}

/// A terminal's size as the runtime-spec writes it.
pub(crate) fn console_size((columns, rows): (u16, u16)) -> Option<Size> {
    BoxBuilder::default()
        .width(columns)
        .height(rows)
        .build()
        .ok()
}

fn user(identity: &Identity) -> User {
    let mut user = User::default();
    user.set_uid(identity.uid)
        .set_gid(identity.gid)
        .set_additional_gids(
            Some(identity.additional_gids.clone()).filter(|gids| !gids.is_empty()),
        );
    user
}

/// Who runs: the flag, else the image's user, else root.
pub(crate) fn user_text<'a>(flags: &'a Run, image: &'a Config) -> &'a str {
    flags
        .process
        .user
        .as_deref()
        .or(image.user().as_deref())
        .unwrap_or_default()
}

/// What runs. A new entrypoint makes the image's own command meaningless; words on the command line replace it too.
///
/// # Errors
/// When nobody names a command.
pub(crate) fn command(flags: &Run, image: &Config) -> Result<Vec<String>> {
    let words = flags.words.get(1..).unwrap_or_default();
    let (entrypoint, default) = match flags.process.entrypoint.as_deref() {
        None => (
            image.entrypoint().clone().unwrap_or_default(),
            image.cmd().clone().unwrap_or_default(),
        ),
        Some("") => (Vec::new(), Vec::new()),
        Some(entrypoint) => (vec![entrypoint.to_owned()], Vec::new()),
    };
    let arguments = if words.is_empty() {
        default
    } else {
        words.to_vec()
    };
    let command: Vec<String> = entrypoint.into_iter().chain(arguments).collect();
    if command.first().is_none_or(String::is_empty) {
        let failure = Failure::new("no command: neither the command line nor the image names one");
        return Err(failure
            .hint("write the command after the image's name")
            .into());
    }
    if command.iter().any(|word| word.contains('\0')) {
        return Err(report::usage("a command cannot hold a NUL"));
    }
    Ok(command)
}

/// Where it runs: the flag, else the image's directory, else the root.
///
/// # Errors
/// When the flag is not absolute. An image's relative directory is taken from the root, as everyone does.
pub(crate) fn working_dir(flags: &Run, image: &Config) -> Result<ContainerPath> {
    match (&flags.process.workdir, image.working_dir()) {
        (Some(dir), _) => {
            ContainerPath::new(dir).map_err(|why| report::usage(format!("--workdir: {why}")))
        }
        (None, Some(dir)) => ContainerPath::new(&format!("/{dir}")).map_err(|why| {
            Failure::new(format!("the image's working directory is not one: {why}")).into()
        }),
        (None, None) => ContainerPath::new("/").map_err(report::usage),
    }
}

/// The signal that asks the container to end, as text; SIGTERM when nobody says.
pub(crate) fn stop_signal(flags: &Run, image: &Config) -> String {
    let asked = flags
        .process
        .stop_signal
        .clone()
        .or_else(|| image.stop_signal().clone());
    asked
        .filter(|signal| !signal.is_empty())
        .unwrap_or_else(|| "SIGTERM".to_owned())
}

fn environment(flags: &Run, image: &Config, facts: &Facts) -> Vec<String> {
    let mut environment = Environment::default();
    environment.set("PATH", defaults::PATH);
    environment.set("HOSTNAME", &facts.hostname);
    if flags.tty {
        environment.set("TERM", "xterm");
    }
    for entry in image.env().iter().flatten() {
        environment.take(entry);
    }
    apply_variables(&mut environment, &facts.variables, &facts.environment);
    environment.set_default("HOME", &facts.identity.home);
    environment.into_entries()
}

/// Applies variables of the command line; those without a value come from `own`.
pub(crate) fn apply_variables(
    environment: &mut Environment,
    variables: &[Variable],
    own: &HashMap<String, String>,
) {
    for variable in variables {
        environment.apply(variable, &|name| own.get(name).cloned());
    }
}

fn capabilities(flags: &Run, facts: &Facts) -> LinuxCapabilities {
    let isolation = &flags.isolation;
    let set = if isolation.privileged {
        facts.capabilities.clone()
    } else {
        capability::combined(&isolation.cap_add, &isolation.cap_drop, &facts.capabilities)
    };
    sets(&set, facts.identity.uid == 0)
}

/// Every capability of `all`, as `exec --privileged` gives them.
pub(crate) fn full_capabilities(all: &[Capability]) -> LinuxCapabilities {
    sets(all, true)
}

/// The five sets. Inheritable and ambient stay empty (CVE-2022-24769); a plain user holds nothing until an execve of a
/// file with capabilities, exactly as the kernel would have it.
fn sets(set: &[Capability], root: bool) -> LinuxCapabilities {
    let held = if root { set } else { &[] };
    let mut sets = LinuxCapabilitiesBuilder::default()
        .build()
        .unwrap_or_default();
    sets.set_bounding(Some(set.iter().copied().collect()))
        .set_effective(Some(held.iter().copied().collect()))
        .set_permitted(Some(held.iter().copied().collect()))
        .set_inheritable(None)
        .set_ambient(None);
    sets
}

fn rlimits(ulimits: &[Ulimit]) -> Result<Option<Vec<PosixRlimit>>> {
    let mut limits: Vec<PosixRlimit> = Vec::new();
    for ulimit in ulimits {
        if limits.iter().any(|held| held.typ() == ulimit.kind) {
            return Err(report::usage(format!(
                "--ulimit: {} is given twice",
                ulimit.kind
            )));
        }
        let limit = PosixRlimitBuilder::default()
            .typ(ulimit.kind)
            .soft(ulimit.soft)
            .hard(ulimit.hard);
        limits.push(limit.build().context("--ulimit")?);
    }
    Ok((!limits.is_empty()).then_some(limits))
}

fn no_new_privileges(flags: &Run) -> bool {
    let last = flags
        .isolation
        .security_opt
        .iter()
        .rev()
        .find_map(|option| match option {
            SecurityOption::NoNewPrivileges(on) => Some(*on),
            _ => None,
        });
    last.unwrap_or(false)
}
