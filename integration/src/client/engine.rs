//! podman and Docker: two programs, one command line.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use serde_json::json;

use super::journal::Journal;
use super::world::World;
use crate::cgroup;
use crate::host;
use crate::runtime::{Call, Running};

/// The image every case runs.
pub const IMAGE: &str = "localhost/bb:latest";

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No daemon: conmon holds each container.
    Podman,
    /// `dockerd` with a containerd and shims of its own.
    Docker,
}

/// An engine that is told to use one runtime.
#[derive(Debug)]
pub struct Engine<'a> {
    world: &'a World,
    kind: Kind,
    journal: &'a Journal,
    count: Cell<u32>,
    names: RefCell<Vec<String>>,
}

impl Kind {
    /// Writes its configuration into the world and starts its daemon, if it has one.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(self, world: &World, journals: &[Journal]) -> Result<Option<Running>> {
        fs::create_dir_all(world.dir().join("home"))?;
        let dir = world.dir().display();
        if self == Self::Podman {
            let without = |name, line| {
                if cgroup::has_controller(name) {
                    ""
                } else {
                    line
                }
            };
            let conf = format!(
                "[containers]\n{}default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
                 [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
                 runtime_supports_json = [\"runc\", \"hostrun\"]\n",
                without("pids", "pids_limit = 0\n"),
            );
            fs::write(world.dir().join("containers.conf"), conf)?;
            return Ok(None);
        }
        // the name runc is the daemon's own
        let runtimes = journals.iter().filter(|journal| !journal.is_shim());
        let runtimes: serde_json::Map<_, _> = runtimes
            .map(|journal| {
                let path = journal.program().unwrap_or_default();
                (format!("a-{}", journal.name()), json!({"path": path}))
            })
            .collect();
        let conf = json!({
            "data-root": format!("{dir}/docker"), "exec-root": "/run/docker-exec",
            "pidfile": "/run/docker-test.pid", "hosts": ["unix:///run/docker-test.sock"],
            "bridge": "none", "iptables": false, "ip6tables": false,
            "storage-driver": "overlay2", "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "runtimes": runtimes,
        });
        let file = world.dir().join("daemon.json");
        fs::write(&file, conf.to_string())?;
        let path = path_with(world, journals)?;
        let file = file.to_string_lossy();
        let words = ["env", &path, "dockerd", "--config-file", &file];
        world.daemon(&words, "/run/docker-test.sock").map(Some)
    }

    fn words(self, world: &World, runtime: &str) -> Vec<String> {
        let dir = world.dir().display();
        let home = format!("HOME={dir}/home");
        let words = match self {
            Self::Podman => format!(
                "env {home} CONTAINERS_CONF={dir}/containers.conf podman --root {dir}/podman \
                 --runroot /run/podman --tmpdir /run/podman-tmp --storage-driver overlay \
                 --runtime {runtime}"
            ),
            Self::Docker => format!("env {home} docker --host unix:///run/docker-test.sock"),
        };
        words.split_whitespace().map(str::to_owned).collect()
    }
}

/// Where the daemon looks for programs. Docker 20.10 knows one shim, by the name of its program: ours gets
/// it, and with it every container.
fn path_with(world: &World, journals: &[Journal]) -> Result<String> {
    let usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let Some(shim) = journals.iter().find(|journal| journal.is_shim()) else {
        return Ok(format!("PATH={usual}"));
    };
    let dir = world.dir().join("shims");
    fs::create_dir_all(&dir)?;
    symlink(shim.program()?, dir.join("containerd-shim-runc-v2"))?;
    Ok(format!("PATH={}:{usual}", dir.display()))
}

impl<'a> Engine<'a> {
    /// The engine in a world, with the runtime behind a journal.
    pub fn new(world: &'a World, kind: Kind, journal: &'a Journal) -> Self {
        Self {
            world,
            kind,
            journal,
            count: Cell::new(0),
            names: RefCell::new(Vec::new()),
        }
    }

    /// Which it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The world it is in.
    pub fn world(&self) -> &World {
        self.world
    }

    /// The runtime below it.
    pub fn journal(&self) -> &Journal {
        self.journal
    }

    /// A container name nobody has; force-removed at the end.
    pub fn name(&self) -> String {
        self.count.set(self.count.get() + 1);
        let name = self.journal.unique(self.count.get());
        self.names.borrow_mut().push(name.clone());
        name
    }

    /// A command of the engine.
    pub fn call(&self, words: &[&str]) -> Call {
        let runtime = self.journal.program().unwrap_or_default();
        let mut all = self.kind.words(self.world, runtime);
        let (verb, rest) = words.split_first().unwrap_or((&"help", &[]));
        all.push((*verb).to_owned());
        if matches!(*verb, "run" | "create") {
            if self.kind == Kind::Docker && !self.journal.is_shim() {
                all.push(format!("--runtime=a-{}", self.journal.name()));
            }
            if !rest.iter().any(|word| word.starts_with("--net")) {
                all.push("--network=none".to_owned());
            }
        }
        all.extend(rest.iter().map(|word| (*word).to_owned()));
        self.world.call(all)
    }

    /// A command as it is typed, with nothing about the runtime.
    pub fn plain_call(&self, words: &[&str]) -> Call {
        let runtime = self.journal.program().unwrap_or_default();
        let mut all = self.kind.words(self.world, runtime);
        all.extend(words.iter().map(|word| (*word).to_owned()));
        self.world.call(all)
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

    /// The exit code of a command.
    ///
    /// # Errors
    /// When it hangs.
    pub fn code(&self, words: &[&str]) -> Result<i32> {
        Ok(self.call(words).run()?.code())
    }

    /// Runs a line of shell in a new container to its end; `flags` stand before the image.
    ///
    /// # Errors
    /// When it does not exit with 0.
    pub fn shell(&self, flags: &[&str], script: &str) -> Result<String> {
        let words = [&["run", "--rm"], flags, &[IMAGE, "sh", "-c", script]].concat();
        self.ok(&words)
    }

    /// Starts a line of shell in a new container in the background and returns its name.
    ///
    /// # Errors
    /// When it does not start.
    pub fn background(&self, flags: &[&str], script: &str) -> Result<String> {
        let name = self.name();
        let start = ["run", "-d", "--name", &name];
        self.ok(&[&start, flags, &[IMAGE, "sh", "-c", script]].concat())?;
        Ok(name)
    }

    /// Removes containers, running or not, and their volumes.
    ///
    /// # Errors
    /// When it cannot.
    pub fn remove(&self, names: &[&str]) -> Result<()> {
        let now: &[&str] = match self.kind {
            // it would ask politely first, for ten seconds
            Kind::Podman => &["rm", "-f", "-v", "-t", "0"],
            Kind::Docker => &["rm", "-f", "-v"],
        };
        self.ok(&[now, names].concat()).map(drop)
    }

    /// What `inspect` says at this template.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn inspect(&self, name: &str, template: &str) -> Result<String> {
        let out = self.ok(&["inspect", "--format", template, name])?;
        Ok(out.trim().to_owned())
    }

    /// Waits until the container's status is this.
    ///
    /// # Errors
    /// When it does not become so in time.
    pub fn wait_until(&self, name: &str, status: &str) -> Result<()> {
        let mut last = String::new();
        let reached = host::wait_for(&format!("{name} is {status}"), || {
            last = self
                .inspect(name, "{{.State.Status}}")
                .unwrap_or_else(|error| format!("{error:#}"));
            last == status
        });
        reached.map_err(|error| error.context(format!("it is {last}")))
    }

    /// Waits until the container has said this.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_for_log(&self, name: &str, text: &str) -> Result<()> {
        let said = || {
            let out = self.call(&["logs", name]).run();
            out.is_ok_and(|out| out.stdout().contains(text) || out.stderr().contains(text))
        };
        host::wait_for(&format!("{name} says {text:?}"), said)
    }
}

impl Drop for Engine<'_> {
    /// Removes what a case has left; a case that is about removal does it itself.
    fn drop(&mut self) {
        let names = self.names.borrow();
        if !names.is_empty() {
            let names = names.iter().map(String::as_str);
            drop(self.remove(&names.collect::<Vec<_>>()));
        }
    }
}
