//! What a child in a new user namespace needs of its parent: the identity maps, and what takes
//! privileges over the host.

use crate::clone::Child;
use crate::error::{At, Error, ErrorKind, Result};
use crate::host::Host;
use crate::plan::Plan;
use crate::plan::maps::IdMap;
use crate::plan::namespaces::Maps;
use crate::plan::process::ProcessPlan;
use hostrun_inside::byte;
use rustix::net::{SendFlags, send};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

/// Everything of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant<'a> {
    pub(crate) maps: &'a Maps,
    pub(crate) process: &'a ProcessPlan,
    pub(crate) host: &'a Host,
}

impl<'a> Grant<'a> {
    /// `None` where the user namespace is not new.
    pub(crate) fn of(plan: &'a Plan, host: &'a Host) -> Option<Grant<'a>> {
        plan.namespaces.maps.as_ref().map(|maps| Grant {
            maps,
            process: &plan.process,
            host,
        })
    }

    /// Does it, then lets the child go on.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub(crate) fn give(&self, child: &Child, socket: &OwnedFd) -> Result<()> {
        self.map_identities(child.pid)?;
        self.set_oom_score(child.pid)?;
        self.raise_limits(child.pid)?;
        send(socket, &[byte::MAPPED], SendFlags::NOSIGNAL)
            .map(drop)
            .at("release", "the container's first process")
    }

    fn map_identities(&self, pid: i32) -> Result<()> {
        if self.maps.deny_setgroups {
            self.host.write(&format!("{pid}/setgroups"), b"deny")?;
        }
        self.map(pid, "uid_map", &self.maps.uids, "newuidmap")?;
        self.map(pid, "gid_map", &self.maps.gids, "newgidmap")
    }

    /// Writes a map, or has it written by the program that knows which ids the administrator gave
    /// this user, `subuid(5)`.
    fn map(&self, pid: i32, file: &str, map: &IdMap, helper: &str) -> Result<()> {
        let written = self
            .host
            .write(&format!("{pid}/{file}"), map.text().as_bytes());
        match written {
            Err(error) if error.kind() == ErrorKind::Denied => help(helper, pid, map),
            other => other,
        }
    }

    fn set_oom_score(&self, pid: i32) -> Result<()> {
        let Some(score) = &self.process.oom_score_adj else {
            return Ok(());
        };
        self.host
            .write(&format!("{pid}/oom_score_adj"), score)
            .map_err(|error| {
                error.with_hint(
                    "process.oomScoreAdj is below the caller's, which takes CAP_SYS_RESOURCE",
                )
            })
    }

    fn raise_limits(&self, pid: i32) -> Result<()> {
        for limit in &self.process.rlimits {
            let (Some(resource), Some(pid)) = (resource(limit.resource), Pid::from_raw(pid)) else {
                continue;
            };
            let hard = (limit.hard != u64::MAX).then_some(limit.hard);
            let now = getrlimit(resource);
            let raises = match (hard, now.maximum) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(hard), Some(now)) => hard > now,
            };
            // Only what takes privileges: the child lowers its limits itself, when it needs no more.
            if raises {
                let value = Rlimit {
                    current: now.current,
                    maximum: hard,
                };
                prlimit(Some(pid), resource, value).at("set limit", format!("{resource:?}"))?;
            }
        }
        Ok(())
    }
}

/// Where the helpers are looked for; never where the caller's environment says, because they run
/// with more privileges than we have.
const PLACES: [&str; 3] = ["/usr/bin", "/bin", "/usr/local/bin"];

/// Has a map written by the program that may.
///
/// # Errors
/// What the program says, or that it is not installed.
pub(crate) fn help(helper: &str, pid: i32, map: &IdMap) -> Result<()> {
    let failed = || Error::new(ErrorKind::Denied, "map identities with", helper);
    let found = PLACES
        .into_iter()
        .map(|place| format!("{place}/{helper}"))
        .find(|path| std::fs::metadata(path).is_ok_and(|file| file.is_file()));
    let Some(path) = found else {
        let why =
            "an ordinary user needs it for more than a map of itself, and it is not installed";
        return Err(failed()
            .because(why)
            .with_hint("install the package uidmap"));
    };
    let output = Command::new(path)
        .arg(pid.to_string())
        .args(map.words())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .map_err(|error| failed().caused_by(error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().next().unwrap_or("it failed without a word");
    Err(failed()
        .because(line)
        .with_hint("the ids must be given to the user in /etc/subuid and /etc/subgid"))
}

/// By the kernel's number.
fn resource(number: u32) -> Option<Resource> {
    [
        Resource::Cpu,
        Resource::Fsize,
        Resource::Data,
        Resource::Stack,
        Resource::Core,
        Resource::Rss,
        Resource::Nproc,
        Resource::Nofile,
        Resource::Memlock,
        Resource::As,
        Resource::Locks,
        Resource::Sigpending,
        Resource::Msgqueue,
        Resource::Nice,
        Resource::Rtprio,
        Resource::Rttime,
    ]
    .get(usize::try_from(number).ok()?)
    .copied()
}
