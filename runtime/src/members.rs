//! The processes of a container that has no cgroup, an ordinary user's: those in its pid namespace;
//! where that is not its own, only its first process is known for sure.

use crate::container::Container;
use crate::error::{At, Result};
use crate::running::send;
use crate::signal::Signal;
use rustix::fs::{Dir, Mode, OFlags, openat, readlinkat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::AsFd;

impl Container {
    /// Sends a signal to every one of them.
    pub(crate) fn kill_each(&self, signal: Signal) -> Result<()> {
        let (_, init) = self.alive("kill container")?;
        if signal == Signal::KILL {
            // With the first process of a pid namespace go all others.
            return send(init.as_fd(), signal).at("kill container", self.id());
        }
        for pid in self.members()?.into_iter().filter_map(Pid::from_raw) {
            // Those that end meanwhile need no signal.
            if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) {
                send(pidfd.as_fd(), signal).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Their pids in the caller's pid namespace; none where the first one is gone.
    pub(crate) fn members(&self) -> Result<Vec<i32>> {
        let Ok((record, _init)) = self.alive("list processes of") else {
            return Ok(Vec::new());
        };
        let proc = self.runtime.host.proc()?;
        let namespace = |process: &str| readlinkat(proc, format!("{process}/ns/pid"), []).ok();
        let inside = namespace(&record.pid.to_string());
        if inside.is_none() || inside == namespace("self") {
            return Ok(vec![record.pid]);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(proc, ".", flags, Mode::empty()).at("open", "/proc")?;
        let mut pids = Vec::new();
        for entry in Dir::new(dir).at("read", "/proc")? {
            let entry = entry.at("read", "/proc")?;
            let name = entry.file_name().to_str().unwrap_or_default();
            if let Ok(pid) = name.parse()
                && namespace(name) == inside
            {
                pids.push(pid);
            }
        }
        Ok(pids)
    }
}
