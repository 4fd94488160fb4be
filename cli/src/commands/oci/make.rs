//! `create`, and `run` of a bundle: a container from a config.json, and what its maker gets of it.

use super::{Act, told};
use crate::args::bundles::{Create, Handover, RuncRun};
use crate::args::run::Run;
use crate::attend::{self, Attention, Connection, LineEnds, Preparation};
use crate::commands::{pidfile, shortage};
use crate::globals::{Globals, Name};
use crate::handover::notify::{self, Notify};
use crate::handover::{activation, socket};
use crate::report::{self, Failure};
use crate::stopwatch::Stopwatch;
use anyhow::{Context, Result};
use hostrun_runtime::{
    Bundle, ContainerId, Created, Request, Runtime, Stopped, document, host_warnings, seal,
};
use oci_spec::runtime::{Process, Spec};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What is to be made, by whichever verb.
#[derive(Debug)]
struct Order<'a> {
    globals: &'a Globals,
    id: &'a str,
    bundle: &'a Path,
    pid_file: Option<&'a Path>,
    preserve_fds: u32,
    handover: &'a Handover,
    keep: bool,
    timings: bool,
}

/// `create`.
///
/// # Errors
/// When the container cannot be made.
pub(crate) fn create(globals: &Globals, args: &Create) -> Result<u8> {
    let order = Order {
        globals,
        id: &args.id,
        bundle: &args.bundle,
        pid_file: args.pid_file.as_deref(),
        preserve_fds: args.preserve_fds,
        handover: &args.handover,
        keep: true,
        timings: false,
    };
    told(globals, Act::Create, order.create().map(|_created| 0))
}

/// `run` under runc's name.
///
/// # Errors
/// When the bundle is none, or the container cannot be started.
pub(crate) fn runc_run(globals: &Globals, args: &RuncRun) -> Result<u8> {
    let order = Order {
        globals,
        id: &args.id,
        bundle: &args.bundle,
        pid_file: args.pid_file.as_deref(),
        preserve_fds: args.preserve_fds,
        handover: &args.handover,
        keep: args.keep,
        timings: false,
    };
    told(globals, Act::Run, order.run(args.detach))
}

/// `hostrun run --bundle`. With -d the container is left running, to be deleted by `hostrun delete`.
///
/// # Errors
/// As [`runc_run`].
pub(in crate::commands) fn run(globals: &Globals, args: &Run, dir: &Path) -> Result<u8> {
    let [id] = args.words.as_slice() else {
        return Err(report::usage(
            "run --bundle takes one word after the options: the container's id",
        ));
    };
    let order = Order {
        globals,
        id,
        bundle: dir,
        pid_file: args.pidfile.as_deref(),
        preserve_fds: args.preserve_fds,
        handover: &args.handover,
        keep: args.keep,
        timings: args.timings,
    };
    told(globals, Act::Run, order.run(args.detach))
}

/// All that a start needs.
struct Making {
    runtime: Runtime,
    id: ContainerId,
    request: Request,
    terminal: bool,
    console: Option<UnixStream>,
    notify: Option<Notify>,
}

impl Order<'_> {
    fn create(&self) -> Result<Created> {
        let making = self.prepare(true)?;
        self.created(making).map(|(created, _notify)| created)
    }

    fn run(&self, detach: bool) -> Result<u8> {
        let mut watch = Stopwatch::begin();
        let making = self.prepare(detach)?;
        watch.mark("bundle");
        if detach {
            return self.run_detached(making);
        }
        let attention = Attention::begin(making.terminal)?;
        let connection = Connection {
            interactive: true,
            ends: LineEnds::Plain,
        };
        let Making {
            runtime,
            id,
            request,
            terminal,
            notify,
            ..
        } = making;
        let relay_notify = notify.map(|notify| {
            move |created: &Created| {
                notify::relay_beside(notify.clone(), created.pid(), true);
                Ok(())
            }
        });
        let prepared = relay_notify
            .as_ref()
            .map(|prepared| prepared as Preparation<'_>);
        let connection = terminal.then_some(connection);
        let (running, relay) = attend::start(&runtime, &id, request, connection, prepared)?;
        tell_child();
        watch.start(running.timings());
        let exit = self
            .hand_over(running.pid(), running.pidfd())
            .and_then(|()| attention.stay(&running, relay));
        if let (Name::Hostrun, Ok(exit)) = (self.globals.name, &exit)
            && let Some(told) = shortage::of(self.globals, self.id, *exit)
        {
            told.say();
        }
        if !self.keep || exit.is_err() {
            let deleted = match &exit {
                Ok(_) => running.into_stopped().and_then(Stopped::delete),
                Err(_) => runtime
                    .container(&id)
                    .and_then(|container| container.delete(true)),
            };
            let exit = exit?;
            report::deleted(&deleted.context("cannot clean up after the container")?);
            watch.print_if(self.timings);
            return Ok(exit.status());
        }
        watch.print_if(self.timings);
        Ok(exit?.status())
    }

    fn run_detached(&self, making: Making) -> Result<u8> {
        let (runtime, id) = (making.runtime.clone(), making.id.clone());
        let (created, notify) = self.created(making)?;
        let started = (|| {
            let listening = notify.as_ref().map(Notify::listen).transpose()?.flatten();
            let running = created.start()?;
            listening.map_or(Ok(()), |listening| listening.relay(running.pid()))
        })();
        if started.is_err() {
            attend::undo(&runtime, &id);
        }
        started.map(|()| 0)
    }

    /// Everything that can be refused before a container exists.
    fn prepare(&self, detached: bool) -> Result<Making> {
        let globals = self.globals;
        if self.id.is_empty() {
            return Err(Failure::new("container id cannot be empty").into());
        }
        let id = ContainerId::new(self.id)?;
        seal::ensure_for(&self.bundle.join(self.handover.config()))?;
        report::debug("runc exeseal: using /proc/self/exe clone");
        let bundle = load(self.bundle, self.handover.config())?;
        let terminal = wants_terminal(&bundle);
        check_terminal(detached, terminal, self.handover.console_socket.is_some())?;
        super::check_cgroup_driver(globals)?;
        let runtime = globals.runtime()?;
        let console = self.handover.console_socket.as_deref();
        let console = console.map(socket::connect).transpose()?;
        let activated = activation::count();
        let mut request = Request::from_bundle(bundle)
            .with_preserved_fds(self.preserve_fds.saturating_add(activated));
        if self.handover.no_pivot {
            request = request.without_pivot();
        }
        if self.handover.no_new_keyring {
            request = request.without_new_keyring();
        }
        notify::add_environment(request.spec_mut(), activation::environment(activated));
        let notify = Notify::wanted(&globals.root, &id);
        if let Some(notify) = &notify {
            request = notify.add_to(request)?;
        }
        report::debug("nsexec container setup");
        Ok(Making {
            runtime,
            id,
            request,
            terminal,
            console,
            notify,
        })
    }

    /// Makes it and gives the caller its due. What fails here takes the container with it.
    fn created(&self, making: Making) -> Result<(Created, Option<Notify>)> {
        let Making {
            runtime,
            id,
            request,
            console,
            notify,
            ..
        } = making;
        let mut created = runtime.create(&id, request)?;
        tell_child();
        let given = give_master(console.as_ref(), created.take_console())
            .and_then(|()| self.hand_over(created.pid(), created.pidfd()));
        if let Err(error) = given {
            // A caller that gets no terminal and no pid has no container.
            attend::undo(&runtime, &id);
            return Err(error);
        }
        Ok((created, notify))
    }

    fn hand_over(&self, pid: i32, pidfd: Option<std::os::fd::BorrowedFd<'_>>) -> Result<()> {
        if let Some(path) = &self.handover.pidfd_socket {
            socket::send_pidfd(path, "standard", pidfd)?;
        }
        self.pid_file
            .map_or(Ok(()), |path| pidfile::write(path, pid))
    }
}

/// What runc's init says of itself to a caller who debugs.
fn tell_child() {
    report::debug("child process in init()");
    report::debug("init: closing the pipe to signal completion");
}

/// Sends a terminal to whoever asked for it.
///
/// # Errors
/// When the other side went away.
pub(super) fn give_master(console: Option<&UnixStream>, master: Option<OwnedFd>) -> Result<()> {
    match (console, master) {
        (Some(console), Some(master)) => socket::send_master(console, master.as_fd()),
        _ => Ok(()),
    }
}

/// A terminal needs somebody at its other end: us, or who listens on the console socket.
///
/// # Errors
/// When there is nobody, or one too many.
pub(super) fn check_terminal(detached: bool, terminal: bool, socket: bool) -> Result<()> {
    if detached && terminal && !socket {
        let failure =
            Failure::new("cannot allocate tty if runc will detach without setting console socket");
        return Err(failure
            .hint("name one by --console-socket, or set process.terminal to false")
            .into());
    }
    if (!detached || !terminal) && socket {
        return Err(Failure::new(
            "cannot use console socket if runc will not detach or allocate tty",
        )
        .into());
    }
    Ok(())
}

/// Reads a bundle and names the keys of it that nobody reads.
///
/// # Errors
/// When there is no config.json, or it is none.
pub(super) fn load(dir: &Path, config: &Path) -> Result<Bundle> {
    let bundle = Bundle::load_config(dir, config)?;
    tell_unknown(bundle.unknown_keys());
    for warning in bundle.spec().process().iter().flat_map(document::warnings) {
        report::warn(&warning);
    }
    for warning in host_warnings(bundle.spec()) {
        report::warn(&warning);
    }
    tell_filter(bundle.spec());
    Ok(bundle)
}

/// Capabilities that are none in runc's words, each once; keys as they are.
fn tell_unknown(keys: &[String]) {
    let mut capabilities = Vec::new();
    for key in keys {
        let name = key
            .strip_prefix("process.capabilities.")
            .and_then(|rest| rest.split('"').nth(1));
        match name {
            Some(name) if capabilities.contains(&name) => {}
            Some(name) => capabilities.push(name),
            None => report::warn(&format!("config.json: nobody reads the key '{key}'")),
        }
    }
    if !capabilities.is_empty() {
        let names = capabilities.join(" ");
        report::warn(&format!(
            "ignoring unknown or unavailable capabilities: [{names}]"
        ));
    }
}

/// Tells a caller who debugs what the filter is installed with; the listener of an agent is no flag of the config.
pub(super) fn tell_filter(spec: &Spec) {
    const NEW_LISTENER: u32 = 1 << 3;
    if !report::debugs() {
        return;
    }
    let profile = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.seccomp().as_ref());
    // A profile that cannot be compiled is refused, with the reason, when the container is made.
    if let Some(Ok(filter)) = profile.map(hostrun_seccomp_profiles::compile) {
        let flags = filter.flags() & !NEW_LISTENER;
        report::debug(&format!("seccomp filter flags: {flags}"));
    }
}

/// Whether the bundle's process wants a terminal.
pub(super) fn wants_terminal(bundle: &Bundle) -> bool {
    bundle
        .spec()
        .process()
        .as_ref()
        .and_then(Process::terminal)
        .unwrap_or(false)
}
