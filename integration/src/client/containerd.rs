//! containerd, driven by `ctr`, with its own shim for runc, told to run another program.

use std::cell::{Cell, RefCell};
use std::fs;

use anyhow::{Result, ensure};

use super::engine::IMAGE;
use super::journal::Journal;
use super::world::World;
use crate::cgroup;
use crate::host;
use crate::runtime::{Call, Running};

const SOCKET: &str = "/run/containerd-test.sock";

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
    let file = world.dir().join("containerd.toml");
    fs::write(&file, config)?;
    let words = ["containerd", "--config", &file.to_string_lossy()];
    world.daemon(&words, SOCKET)
}

/// `ctr` with one runtime below the shim.
#[derive(Debug)]
pub struct Containerd<'a> {
    world: &'a World,
    journal: &'a Journal,
    count: Cell<u32>,
    names: RefCell<Vec<String>>,
}

impl<'a> Containerd<'a> {
    /// The daemon of a world.
    pub fn new(world: &'a World, journal: &'a Journal) -> Self {
        Self {
            world,
            journal,
            count: Cell::new(0),
            names: RefCell::new(Vec::new()),
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
        let runtime = self.journal.program().unwrap_or_default();
        let mut all = vec!["run", "--runc-binary", runtime];
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
        host::wait_for(&format!("{name} is {status}"), || {
            self.status(name).is_ok_and(|now| now == status)
        })
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
