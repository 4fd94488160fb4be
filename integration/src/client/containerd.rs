//! containerd, driven by `ctr`, with its own shim for runc, told to run another program, or with ours.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::engine::IMAGE;
use super::journal::Journal;
use super::world::World;
use crate::cgroup;
use crate::host;
use crate::runtime::{Call, Running};

pub(super) const SOCKET: &str = "/run/containerd-test.sock";

/// Where a daemon keeps the bundles of its namespace `default`.
pub const BUNDLES: &str = "/run/containerd-test/io.containerd.runtime.v2.task/default";

/// Which containerd: each speaks another dialect with its shims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// This machine's, 1.6 in Debian 12: task v2, addresses as bare text.
    Machine,
    /// 2.x of Debian sid, in the root that `integration/sid` makes: task v3, addresses in JSON.
    Sid,
}

impl Release {
    /// The programs it is made of, which are laid over the machine's.
    ///
    /// # Errors
    /// When the root is not there.
    pub fn usr(self) -> Result<Option<PathBuf>> {
        if self == Self::Machine {
            return Ok(None);
        }
        let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/sid/usr");
        let usr = std::env::var_os("HOSTRUN_SID").map_or(made, PathBuf::from);
        let there = usr.join("bin/containerd").is_file();
        ensure!(there, "no root of Debian sid: make sid");
        Ok(Some(usr.canonicalize()?))
    }
}

/// Starts the daemon.
///
/// # Errors
/// When it does not answer.
pub fn start(world: &World) -> Result<Running> {
    let dir = world.dir().display();
    let config = format!(
        "version = 2\nroot = \"{dir}/containerd\"\nstate = \"/run/containerd-test\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = \"{SOCKET}\"\n[ttrpc]\naddress = \"{SOCKET}.ttrpc\"\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{dir}/opt\"\n"
    );
    fs::write(world.dir().join("containerd.toml"), config)?;
    serve(world)
}

/// Starts the daemon with the configuration it has; of our own programs it finds those in the world's `bin`.
pub(super) fn serve(world: &World) -> Result<Running> {
    let dir = world.dir().display();
    let path = format!("PATH={dir}/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let config = format!("{dir}/containerd.toml");
    world.daemon(&["env", &path, "containerd", "--config", &config], SOCKET)
}

/// `ctr` with one runtime or shim below the daemon.
#[derive(Debug)]
pub struct Containerd<'a> {
    world: &'a World,
    journal: &'a Journal,
    count: Cell<u32>,
    names: RefCell<Vec<String>>,
    daemon: RefCell<Option<Running>>,
}

impl<'a> Containerd<'a> {
    /// The daemon of a world.
    pub fn new(world: &'a World, journal: &'a Journal) -> Self {
        Self {
            world,
            journal,
            count: Cell::new(0),
            names: RefCell::new(Vec::new()),
            daemon: RefCell::new(None),
        }
    }

    /// The world it is in.
    pub fn world(&self) -> &World {
        self.world
    }

    /// The runtime below the shim.
    pub fn journal(&self) -> &Journal {
        self.journal
    }

    /// A container name nobody has; removed at the end.
    pub fn name(&self) -> String {
        self.count.set(self.count.get() + 1);
        let name = self.journal.unique(self.count.get());
        self.names.borrow_mut().push(name.clone());
        name
    }

    /// A command of `ctr`.
    pub fn call(&self, words: &[&str]) -> Call {
        let ctr = ["ctr", "--address", SOCKET];
        let all = ctr.iter().chain(words).copied();
        self.world.call(all)
    }

    /// `ctr run FLAGS... IMAGE NAME WORDS...` on the runtime under test.
    pub fn run(&self, flags: &[&str], name: &str, words: &[&str]) -> Call {
        let program = self.journal.program().unwrap_or_default();
        let by = if self.journal.is_shim() {
            "--runtime"
        } else {
            "--runc-binary"
        };
        let mut all = vec!["run", by, program];
        if !cgroup::has_controller("cpu") {
            // ctr asks for the weight every container has anyway
            all.extend(["--cpu-shares", "0"]);
        }
        self.call(&[&all, flags, &[IMAGE, name], words].concat())
    }

    /// The output of a command that must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub fn ok(&self, words: &[&str]) -> Result<String> {
        let out = self.call(words).run()?;
        ensure!(
            out.code() == 0,
            "{words:?}: exit code {}: {}{}",
            out.code(),
            out.stdout(),
            out.stderr()
        );
        Ok(out.stdout())
    }

    /// The output of a line of shell in a new container.
    ///
    /// # Errors
    /// When it does not exit with 0.
    pub fn shell(&self, flags: &[&str], script: &str) -> Result<String> {
        let flags = [&["--rm"], flags].concat();
        let out = self.run(&flags, &self.name(), &["sh", "-c", script]);
        out.run()?.ok()
    }

    /// Starts a line of shell in a new container in the background and returns its name.
    ///
    /// # Errors
    /// When it does not start.
    pub fn background(&self, flags: &[&str], script: &str) -> Result<String> {
        let name = self.name();
        let flags = [&["--detach"], flags].concat();
        self.run(&flags, &name, &["sh", "-c", script]).run()?.ok()?;
        Ok(name)
    }

    /// The status of a task: `RUNNING`, `PAUSED`, `STOPPED`; nothing when there is none.
    ///
    /// # Errors
    /// When containerd does not answer.
    pub fn status(&self, name: &str) -> Result<String> {
        let list = self.ok(&["task", "ls"])?;
        let line = list
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name));
        let status = line.and_then(|line| line.split_whitespace().last());
        Ok(status.unwrap_or_default().to_owned())
    }

    /// Waits until the status of a task is this.
    ///
    /// # Errors
    /// When it does not become so in time.
    pub fn wait_until(&self, name: &str, status: &str) -> Result<()> {
        let mut last = String::new();
        let reached = host::wait_for(&format!("{name} is {status}"), || {
            last = self
                .status(name)
                .unwrap_or_else(|error| format!("{error:#}"));
            last == status
        });
        reached.with_context(|| format!("it is {last:?}"))
    }

    /// Kills the daemon, and nobody else.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill_daemon(&self) -> Result<()> {
        let all = self.world.processes()?.into_iter();
        let mut daemons = all.filter(|(_, words)| words.starts_with("containerd --config"));
        let (pid, _) = daemons.next().context("no daemon")?;
        kill_process(Pid::from_raw(pid).context("no pid")?, Signal::KILL)?;
        let gone = || !Path::new(&format!("/proc/{pid}/fd/0")).exists();
        host::wait_for("the daemon's end", gone)
    }

    /// Starts it again.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start_daemon(&self) -> Result<()> {
        self.daemon.replace(Some(serve(self.world)?));
        Ok(())
    }
}

impl Drop for Containerd<'_> {
    /// Removes what a case has left.
    fn drop(&mut self) {
        let known = self.ok(&["container", "ls", "-q"]).unwrap_or_default();
        for name in self.names.borrow().iter() {
            if known.lines().any(|id| id == name) {
                drop(self.call(&["task", "rm", "--force", name]).run());
                drop(self.call(&["container", "rm", name]).run());
            }
        }
    }
}
