//! `exec` in a container that was made from a bundle.

use super::make::{check_terminal, give_master, tell_filter};
use super::{Act, container, told};
use crate::args::exec::Exec;
use crate::assembly;
use crate::attend::{Attention, LineEnds, Relay};
use crate::commands::pidfile;
use crate::globals::Globals;
use crate::handover::{activation, socket};
use crate::report::{self, Failure, usage};
use crate::spec::{self, host};
use anyhow::{Context, Result};
use hostrun_runtime::{
    Container, Error, ErrorKind, ExecRequest, Running, Status, affinity, document,
};
use oci_spec::runtime::{Capability, LinuxCapabilities, Process, Spec};
use std::collections::HashSet;
use std::path::Path;

/// Runs the verb.
///
/// # Errors
/// When there is no such container, it does not run, or the command cannot be started in it: all with code 255.
pub(in crate::commands) fn main(globals: &Globals, args: &Exec) -> Result<u8> {
    told(globals, Act::Exec, executed(globals, args))
}

fn executed(globals: &Globals, args: &Exec) -> Result<u8> {
    let words = args.words.split_first();
    let (id, command) = words.ok_or_else(|| usage("exec: the container's id is missing"))?;
    let container = container(globals, id)?;
    let (process, config) = if let Some(file) = &args.process {
        (of_file(file)?, None)
    } else {
        let config = container.spec()?;
        (of_flags(&config, args, command)?, Some(config))
    };
    check(&process)?;
    let terminal = process.terminal().unwrap_or(false);
    let console = args.console_socket.as_deref();
    check_terminal(args.detach, terminal, console.is_some())?;
    let console = console.map(socket::connect).transpose()?;
    tell_treatment(&container, &process)?;
    let mut request = request(process, args)?;
    if let Some(config) = config {
        request = request.with_config(config);
    }
    let attention = if args.detach {
        None
    } else {
        Some(Attention::begin(terminal)?)
    };
    report::debug("nsexec container setup");
    report::debug("child process in init()");
    report::debug("setns_init: about to exec");
    let mut running = container
        .exec(request)
        .map_err(|error| in_words(&container, error))?;
    let handed = hand_over(&mut running, args, |running| {
        give_master(
            console.as_ref(),
            running.take_console().filter(|_| console.is_some()),
        )
    });
    if let Err(error) = handed {
        // A caller that gets no pid and no terminal gets no process.
        let killed = running.signal(hostrun_runtime::Signal::KILL);
        return match killed {
            Err(gone) if gone.kind() != ErrorKind::NotFound => Err(gone.into()),
            _ => Err(error),
        };
    }
    let Some(attention) = attention else {
        return Ok(0);
    };
    let relay = running
        .take_console()
        .map(|master| Relay::connect(master, true, LineEnds::Plain))
        .transpose()?;
    Ok(attention.stay(&running, relay)?.status())
}

fn in_words(container: &Container, error: Error) -> anyhow::Error {
    let state = |container: &Container| container.state().map(|state| state.status);
    let stopped = error.kind() == ErrorKind::WrongState
        && state(container).is_ok_and(|status| status == Status::Stopped);
    if stopped {
        return Failure::new("cannot exec in a stopped container: container not running").into();
    }
    error.into()
}

/// Tells a caller who debugs where the process begins, and what its filter is installed with.
fn tell_treatment(container: &Container, process: &Process) -> Result<()> {
    if !report::debugs() {
        return Ok(());
    }
    let spec = container.spec()?;
    let own = spec
        .process()
        .as_ref()
        .and_then(|own| own.exec_cpu_affinity().as_ref());
    let asked = process.exec_cpu_affinity().as_ref().or(own);
    if let Some(mask) = asked.and_then(|asked| affinity::mask(asked.initial().as_ref()?)) {
        report::debug(&format!("nsexec[{}]: affinity: {mask}", std::process::id()));
    }
    tell_filter(&spec);
    Ok(())
}

fn hand_over(
    running: &mut Running,
    args: &Exec,
    give_console: impl FnOnce(&mut Running) -> Result<()>,
) -> Result<()> {
    if args.console_socket.is_some() {
        give_console(running)?;
    }
    if let Some(path) = &args.pidfd_socket {
        socket::send_pidfd(path, "setns", running.pidfd())?;
    }
    args.pid_file
        .as_deref()
        .map_or(Ok(()), |path| pidfile::write(path, running.pid()))
}

fn request(mut process: Process, args: &Exec) -> Result<ExecRequest> {
    let activated = activation::count();
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(activation::environment(activated));
    process.set_env(Some(env));
    let mut request =
        ExecRequest::new(process).with_preserved_fds(args.preserve_fds.saturating_add(activated));
    if args.ignore_paused {
        request = request.even_if_paused();
    }
    if let Some(path) = sub_cgroup(&args.cgroup)? {
        request = request.with_cgroup(path);
    }
    Ok(request)
}

/// Cgroup v2 has one tree: a path for one controller has no meaning there.
fn sub_cgroup(asked: &[String]) -> Result<Option<&str>> {
    match asked {
        [] => Ok(None),
        [path] if !path.contains(':') => Ok(Some(path)),
        several => {
            let named = several.iter().find_map(|path| path.split_once(':'));
            Err(usage(match named {
                Some(("", _)) => "invalid --cgroup argument: empty <controller> prefix".to_owned(),
                Some((controller, _)) => {
                    format!(
                        "unknown controller {controller} in --cgroup: cgroup v2 has one path for all"
                    )
                }
                None => "invalid --cgroup argument: missing <controller>: prefix".to_owned(),
            }))
        }
    }
}

/// The whole process as a document. What it does not say of capabilities, limits and labels is as in the container.
fn of_file(file: &Path) -> Result<Process> {
    let shown = file.display().to_string();
    let bytes = std::fs::read(file).with_context(|| format!("open {shown}"))?;
    let (process, unknown) = document::process(&bytes, &shown)?;
    for key in unknown {
        report::warn(&format!("{shown}: nobody reads '{key}'"));
    }
    for warning in document::warnings(&process) {
        report::warn(&warning);
    }
    Ok(process)
}

/// The container's own process with what the flags change.
fn of_flags(config: &Spec, args: &Exec, command: &[String]) -> Result<Process> {
    let mut process = config
        .process()
        .clone()
        .context("process property must not be empty: the container's configuration has none")?;
    if args.env.iter().any(|variable| variable.value.is_none()) {
        return Err(usage("invalid environment variable: missing '='"));
    }
    let variables = assembly::read_variables(&args.env_file, &args.env)?;
    let own = assembly::own_environment(&variables);
    let mut env = process.env().clone().unwrap_or_default();
    for variable in &variables {
        let value = variable.value.as_ref().or_else(|| own.get(&variable.name));
        env.extend(value.map(|value| format!("{}={value}", variable.name)));
    }
    process
        .set_args(Some(command.to_vec()))
        .set_env(Some(env))
        .set_terminal(Some(args.tty))
        .set_console_size(None);
    if let Some(dir) = args.workdir.as_deref().filter(|dir| !dir.is_empty()) {
        process.set_cwd(dir.into());
    }
    if let Some(user) = args.user.as_deref().filter(|user| !user.is_empty()) {
        set_user(&mut process, user)?;
    }
    if !args.additional_gids.is_empty() {
        let mut user = process.user().clone();
        let mut gids = user.additional_gids().clone().unwrap_or_default();
        gids.extend(&args.additional_gids);
        user.set_additional_gids(Some(gids));
        process.set_user(user);
    }
    if let Some(profile) = args.apparmor.clone().filter(|text| !text.is_empty()) {
        process.set_apparmor_profile(Some(profile));
    }
    if let Some(label) = args.process_label.clone().filter(|text| !text.is_empty()) {
        process.set_selinux_label(Some(label));
    }
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if args.privileged {
        process.set_capabilities(Some(spec::full_capabilities(&host::capabilities()?)));
    }
    add_capabilities(&mut process, &args.cap);
    Ok(process)
}

/// `UID` or `UID:GID`; the group stays what it is where none is named.
fn set_user(process: &mut Process, text: &str) -> Result<()> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    let number = |word: &str, what: &str| {
        let wrong = |_error| {
            usage(format!(
                "parsing {word} as int for {what} failed: invalid syntax"
            ))
        };
        word.parse::<u32>().map_err(wrong)
    };
    let mut user = process.user().clone();
    if let Some(gid) = gid {
        user.set_gid(number(gid, "gid")?);
    }
    user.set_uid(number(uid, "uid")?);
    process.set_user(user);
    Ok(())
}

/// Into the three sets that count at once. An ambient capability has to be inheritable before; that is for the
/// config to say.
fn add_capabilities(process: &mut Process, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let mut sets = process.capabilities().clone().unwrap_or_else(none);
    let unknown: Vec<&str> = names
        .iter()
        .filter(|name| capability(name).is_none())
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        let unknown = unknown.join(" ");
        report::warn(&format!(
            "ignoring unknown or unavailable capabilities: [{unknown}]"
        ));
    }
    for capability in names.iter().filter_map(|name| capability(name)) {
        let with = |set: &Option<HashSet<Capability>>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(capability);
            Some(set)
        };
        let inheritable = sets
            .inheritable()
            .as_ref()
            .is_some_and(|set| set.contains(&capability));
        let (bounding, effective, permitted, ambient) = (
            with(sets.bounding()),
            with(sets.effective()),
            with(sets.permitted()),
            with(sets.ambient()),
        );
        sets.set_bounding(bounding)
            .set_effective(effective)
            .set_permitted(permitted);
        if inheritable {
            sets.set_ambient(ambient);
        }
    }
    process.set_capabilities(Some(sets));
}

fn none() -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(None)
        .set_effective(None)
        .set_permitted(None)
        .set_inheritable(None)
        .set_ambient(None);
    sets
}

/// With or without `CAP_`, in any case.
fn capability(name: &str) -> Option<Capability> {
    let upper = name.to_ascii_uppercase();
    let full = format!("CAP_{}", upper.strip_prefix("CAP_").unwrap_or(&upper));
    serde_json::from_value(full.into()).ok()
}

/// What a process must have, in runc's words.
fn check(process: &Process) -> Result<()> {
    if process.cwd().as_os_str().is_empty() {
        return Err(usage("Cwd property must not be empty"));
    }
    if !process.cwd().is_absolute() {
        return Err(usage("Cwd must be an absolute path"));
    }
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(usage("args must not be empty"));
    }
    Ok(())
}
