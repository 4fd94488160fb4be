//! `checkpoint` and `restore`: criu does the work, the runtime tells it what of.

use super::make::{check_terminal, give_master, load, wants_terminal};
use super::{Act, container, told};
use crate::args::checkpoint::{Checkpoint as Dump, Images, Restore};
use crate::attend::{Attention, LineEnds, Relay};
use crate::commands::pidfile;
use crate::globals::Globals;
use crate::handover::socket;
use crate::report::{self, Failure};
use anyhow::{Context, Result};
use hostrun_runtime::{CgroupsMode, Checkpoint, ContainerId, Request, Running, Runtime};
use rustix::fs::{Mode, OFlags, open};
use std::os::fd::OwnedFd;
use std::path::Path;

/// `checkpoint`.
///
/// # Errors
/// When criu is not there or fails; the text names its log.
pub(crate) fn checkpoint(globals: &Globals, args: &Dump) -> Result<u8> {
    told(globals, Act::Other, dump(globals, args).map(|()| 0))
}

/// `restore`.
///
/// # Errors
/// When the bundle is none, criu is not there, or fails.
pub(crate) fn restore(globals: &Globals, args: &Restore) -> Result<u8> {
    told(globals, Act::Other, bring_back(globals, args))
}

fn dump(globals: &Globals, args: &Dump) -> Result<()> {
    let container = container(globals, &args.id)?;
    let mut checkpoint = options(&args.images)?;
    checkpoint.parent_path.clone_from(&args.parent_path);
    checkpoint.leave_running = args.leave_running;
    checkpoint.tcp_skip_in_flight = args.tcp_skip_in_flight;
    checkpoint.link_remap = args.link_remap;
    checkpoint.pre_dump = args.pre_dump;
    checkpoint.page_server = args.page_server.as_deref().map(page_server).transpose()?;
    checkpoint.status = args.status_fd.map(status).transpose()?;
    container.checkpoint(&checkpoint)?;
    if !args.leave_running && !args.pre_dump {
        report::deleted(&container.delete(true)?);
    }
    Ok(())
}

fn bring_back(globals: &Globals, args: &Restore) -> Result<u8> {
    if args.id.is_empty() {
        return Err(Failure::new("container id cannot be empty").into());
    }
    let id = ContainerId::new(&args.id)?;
    let mut checkpoint = options(&args.images)?;
    checkpoint.lsm_profile.clone_from(&args.lsm_profile);
    checkpoint
        .lsm_mount_context
        .clone_from(&args.lsm_mount_context);
    let bundle = load(&args.bundle, Path::new("config.json"))?;
    let terminal = wants_terminal(&bundle);
    check_terminal(args.detach, terminal, args.console_socket.is_some())?;
    super::check_cgroup_driver(globals)?;
    let console = args.console_socket.as_deref();
    let console = console.map(socket::connect).transpose()?;
    let runtime = Runtime::open(&globals.root)?;
    let attention = if args.detach {
        None
    } else {
        Some(Attention::begin(terminal)?)
    };
    let mut running = runtime.restore(&id, Request::from_bundle(bundle), &checkpoint)?;
    let master = running.take_console();
    let given = (|| {
        if let Some(path) = &args.pid_file {
            pidfile::write(path, running.pid())?;
        }
        match &attention {
            Some(attention) => stay(attention, &running, master),
            None => give_master(console.as_ref(), master).map(|()| 0),
        }
    })();
    if attention.is_some() || given.is_err() {
        // In the foreground it is ours to clean up; and a caller that gets nothing has no container.
        let container = runtime.container(&id)?;
        report::deleted(&container.delete(true)?);
    }
    given
}

fn stay(attention: &Attention, running: &Running, master: Option<OwnedFd>) -> Result<u8> {
    let relay = master.map(|master| Relay::connect(master, true, LineEnds::Plain));
    let exit = attention.stay(running, relay.transpose()?)?;
    Ok(exit.status())
}

/// The options that both verbs have, in the runtime's words.
fn options(images: &Images) -> Result<Checkpoint> {
    let mut checkpoint = Checkpoint::new(&images.image_path);
    checkpoint.work_path.clone_from(&images.work_path);
    checkpoint.tcp_established = images.tcp_established;
    checkpoint.external_unix_sockets = images.ext_unix_sk;
    checkpoint.shell_job = images.shell_job;
    checkpoint.file_locks = images.file_locks;
    checkpoint.lazy_pages = images.lazy_pages;
    checkpoint.auto_dedup = images.auto_dedup;
    checkpoint.cgroups = match images.manage_cgroups_mode.as_str() {
        "" => CgroupsMode::Default,
        "soft" => CgroupsMode::Soft,
        "full" => CgroupsMode::Full,
        "strict" => CgroupsMode::Strict,
        "ignore" => CgroupsMode::Ignore,
        _ => return Err(Failure::new("invalid manage-cgroups-mode value").into()),
    };
    // Those of a network are always made empty: what is in them is not a runtime's.
    let known = |name: &&String| name.as_str() == "network";
    match images.empty_ns.iter().find(|name| !known(name)) {
        Some(other) => Err(Failure::new(format!("namespace {other:?} is not supported")).into()),
        None => Ok(checkpoint),
    }
}

fn page_server(text: &str) -> Result<(String, u16)> {
    let parts = text.rsplit_once(':');
    let parts = parts.filter(|(address, port)| !address.is_empty() && !port.is_empty());
    let Some((address, port)) = parts else {
        let words = "Use --page-server ADDRESS:PORT to specify page server";
        return Err(Failure::new(words).into());
    };
    let Ok(port) = port.parse() else {
        return Err(Failure::new("Invalid port number").into());
    };
    let address = address.trim_start_matches('[').trim_end_matches(']');
    Ok((address.to_owned(), port))
}

/// A descriptor of the caller's, opened once more: it must be one that can be written to.
fn status(number: i32) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{number}");
    open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("invalid --status-fd argument {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_server_has_an_address_and_a_port() {
        assert_eq!(page_server("host:27").unwrap(), ("host".to_owned(), 27));
        assert_eq!(page_server("[::1]:1").unwrap(), ("::1".to_owned(), 1));
        for wrong in ["", "host", "host:", ":27", "host:x", "host:70000"] {
            assert!(page_server(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_criu_knows_is_asked_of_it() {
        let mode = |mode: &str| {
            options(&Images {
                manage_cgroups_mode: mode.to_owned(),
                ..Images::default()
            })
        };
        assert_eq!(mode("full").unwrap().cgroups, CgroupsMode::Full);
        assert!(mode("other").is_err());
        let empty = |name: &str| {
            options(&Images {
                empty_ns: vec![name.to_owned()],
                ..Images::default()
            })
        };
        assert!(empty("network").is_ok() && empty("pid").is_err());
    }
}
