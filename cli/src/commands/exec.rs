//! `hostrun exec`: one more process in a running container.

use crate::args::exec::Exec;
use crate::assembly;
use crate::attend::{Attention, LineEnds, Relay, window_size};
use crate::flags::environment::Environment;
use crate::flags::path::ContainerPath;
use crate::globals::Globals;
use crate::report::{self, Failure};
use crate::spec::{self, host};
use crate::target::Target;
use anyhow::{Context, Result};
use hostrun_runtime::{Container, ExecRequest, Stdio, Stream, seal};
use oci_spec::runtime::{Capabilities, Process, User};
use std::os::fd::AsFd;

/// Runs the verb.
///
/// # Errors
/// When the container does not run, or the command cannot be started in it.
pub(crate) fn main(globals: &Globals, args: &Exec) -> Result<u8> {
    super::enter_for(globals, args.words.get(..1).unwrap_or_default())?;
    // First of all: a process that joins a container can be seen from inside it.
    seal::ensure()?;
    let first = args.words.first().map(String::as_str).unwrap_or_default();
    if super::recorded(globals, first)?.is_none() {
        return super::oci::exec::main(globals, args);
    }
    refuse_for_bundles(args)?;
    if args.detach && args.tty {
        return Err(report::usage(
            "--detach and --tty do not go together: nobody would hold the terminal",
        ));
    }
    let words = args
        .words
        .split_first()
        .filter(|(_, command)| !command.is_empty());
    let Some((name, command)) = words else {
        return Err(report::usage("exec: COMMAND is missing"));
    };
    let target = Target::find(globals, name)?;
    let container = target.running()?;
    let process = process(&container, args, command)?;
    let quiet = |stream: Stream| if args.detach { Stream::Null } else { stream };
    let stdio = Stdio {
        stdin: if args.interactive {
            quiet(Stream::Inherit)
        } else {
            Stream::Null
        },
        stdout: quiet(Stream::Inherit),
        stderr: quiet(Stream::Inherit),
    };
    let request = ExecRequest::new(process)
        .with_stdio(stdio)
        .with_preserved_fds(args.preserve_fds);
    let attention = if args.detach {
        None
    } else {
        Some(Attention::begin(args.tty)?)
    };
    let mut running = container.exec(request)?;
    if let Some(path) = &args.pid_file {
        super::pidfile::write(path, running.pid())?;
    }
    let Some(attention) = attention else {
        return Ok(0);
    };
    let relay = running
        .take_console()
        .map(|master| Relay::connect(master, args.interactive, LineEnds::Terminal))
        .transpose()?;
    Ok(attention.stay(&running, relay)?.status())
}

/// A flag that would be passed over in silence is refused.
fn refuse_for_bundles(args: &Exec) -> Result<()> {
    let given = [
        ("--process", args.process.is_some()),
        ("--additional-gids", !args.additional_gids.is_empty()),
        ("--cap", !args.cap.is_empty()),
        ("--no-new-privs", args.no_new_privs),
        ("--apparmor", args.apparmor.is_some()),
        ("--process-label", args.process_label.is_some()),
        ("--cgroup", !args.cgroup.is_empty()),
        ("--ignore-paused", args.ignore_paused),
        ("--console-socket", args.console_socket.is_some()),
        ("--pidfd-socket", args.pidfd_socket.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(report::usage(format!(
            "{flag} is for containers that were made from a bundle"
        ))),
        None => Ok(()),
    }
}

/// The container's own process with what the flags change.
fn process(container: &Container, args: &Exec, command: &[String]) -> Result<Process> {
    let spec = container.spec()?;
    let mut process = spec
        .process()
        .clone()
        .context("the container's configuration has no process")?;
    let variables = assembly::read_variables(&args.env_file, &args.env)?;
    let own = assembly::own_environment(&variables);
    let mut environment = Environment::default();
    for entry in process.env().iter().flatten() {
        environment.take(entry);
    }
    if let Some(user) = &args.user {
        let root = container.root()?;
        let identity = assembly::identity(root.as_fd(), user, &[])?;
        let mut user = User::default();
        user.set_uid(identity.uid)
            .set_gid(identity.gid)
            .set_additional_gids(Some(identity.additional_gids));
        process.set_user(user);
        environment.set("HOME", &identity.home);
        hold_by_user(&mut process);
    }
    if args.tty {
        environment.set_default("TERM", "xterm");
    }
    spec::apply_variables(&mut environment, &variables, &own);
    if let Some(dir) = &args.workdir {
        let dir =
            ContainerPath::new(dir).map_err(|why| Failure::new(format!("--workdir: {why}")))?;
        process.set_cwd(dir.as_str().into());
    }
    if args.privileged {
        process.set_capabilities(Some(spec::full_capabilities(&host::capabilities()?)));
    }
    process
        .set_args(Some(command.to_vec()))
        .set_env(Some(environment.into_entries()))
        .set_terminal(Some(args.tty))
        .set_console_size(
            window_size()
                .filter(|_| args.tty)
                .and_then(spec::console_size),
        );
    Ok(process)
}

/// Gives the new user of a process what that user would hold: root all that the container may have, others nothing.
fn hold_by_user(process: &mut Process) {
    let Some(mut sets) = process.capabilities().clone() else {
        return;
    };
    let root = process.user().uid() == 0;
    let held = if root {
        sets.bounding().clone()
    } else {
        Some(Capabilities::new())
    };
    sets.set_effective(held.clone())
        .set_permitted(held)
        .set_inheritable(None)
        .set_ambient(None);
    process.set_capabilities(Some(sets));
}
