//! The shim without containerd: started as containerd starts it, spoken to by a client of the tests' own,
//! with somebody who takes its events, or does not.

pub mod client;
pub mod message;
pub mod sink;

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::{Bundle, Stage, host};
use client::Client;
use message::{Decoded, Field, encode, message, text};
use sink::Sink;

/// The namespace that tests are in.
pub const NAMESPACE: &str = "test";

/// The binary under test: what the Makefile says, or beside hostrun's.
///
/// # Errors
/// When neither is known.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HOSTRUN_SHIM") {
        let path = PathBuf::from(path);
        if path.is_file() {
            return Ok(path);
        }
    }
    let hostrun = std::env::var_os("HOSTRUN_BINARY").context("HOSTRUN_BINARY is not set")?;
    let beside = Path::new(&hostrun).with_file_name("containerd-shim-hostrun-v1");
    ensure!(beside.is_file(), "no shim at {}", beside.display());
    Ok(beside)
}

/// Runs a test with a shim's surroundings, and fails if anything was left behind.
///
/// # Errors
/// The test's own, or what it left.
pub fn with_shims(test: impl FnOnce(&Shims<'_>) -> Result<()>) -> Result<()> {
    crate::on_stage_of_hostrun("runc is no shim", |stage| {
        let shims = Shims::new(stage)?;
        let result = test(&shims);
        shims.end();
        result
    })
}

/// Where shims are started.
#[derive(Debug)]
pub struct Shims<'a> {
    /// The stage.
    pub stage: &'a Stage,
    sockets: PathBuf,
    /// Who takes events.
    pub sink: std::cell::RefCell<Sink>,
}

impl<'a> Shims<'a> {
    fn new(stage: &'a Stage) -> Result<Self> {
        Ok(Self {
            stage,
            sockets: stage.folder("s")?,
            sink: Sink::new(stage.dir())?.into(),
        })
    }

    /// Ends every shim that is still there.
    fn end(&self) {
        let token = self.stage.dir().to_string_lossy().into_owned();
        for (pid, what) in host::processes_with(&token).unwrap_or_default() {
            if what.contains("containerd-shim-hostrun-v1")
                && let Some(pid) = rustix::process::Pid::from_raw(pid)
            {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL)
                    .unwrap_or_default();
            }
        }
    }

    /// What a daemon of 2.3 writes to standard input.
    #[must_use]
    pub fn params(&self, id: &str) -> Vec<u8> {
        let sink = self.sink.borrow().path().display().to_string();
        encode(&[
            (1, text(id)),
            (2, text(NAMESPACE)),
            (5, text(&sink)),
            (9, text(&self.sockets.display().to_string())),
        ])
    }

    /// Calls a verb of the binary as containerd does, with this on its standard input.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn verb(&self, verb: &[&str], id: &str, bundle: &Path, input: &[u8]) -> Result<Output> {
        let mut child = Command::new(binary()?)
            .args(["-namespace", NAMESPACE, "-address", "/not-there", "-id", id])
            .args(verb)
            .current_dir(bundle)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        // one that ends before it has read all says so itself
        drop(stdin.write_all(input));
        drop(stdin);
        Ok(child.wait_with_output()?)
    }

    /// Starts a shim, or finds that of the group; a client of it.
    ///
    /// # Errors
    /// When there is none then.
    pub fn start(&self, id: &str, bundle: &Bundle) -> Result<Client> {
        let dir = bundle.write()?;
        let out = self.verb(&["start"], id, dir, &self.params(id))?;
        let complaint = String::from_utf8_lossy(&out.stderr).into_owned();
        ensure!(out.status.success(), "start: {complaint}");
        let answer = Decoded::read(&out.stdout)?;
        let address = answer.text(2);
        let path = address.strip_prefix("unix://").context("no address")?;
        Client::connect(Path::new(path))
    }

    /// `Create` of a container, its state in the stage's own root.
    #[must_use]
    pub fn create(&self, id: &str, bundle: &Bundle, more: &[(u64, Field)]) -> Vec<(u64, Field)> {
        let root = self.stage.root().display().to_string();
        let options = message(&[
            (1, text("containerd.runc.v1.Options")),
            (2, message(&[(7, text(&root))])),
        ]);
        let mut fields = vec![
            (1, text(id)),
            (2, text(&bundle.dir().display().to_string())),
            (10, options),
        ];
        fields.extend_from_slice(more);
        fields
    }

    /// A shim with one container in it that runs.
    ///
    /// # Errors
    /// When it does not.
    pub fn run(&self, bundle: &Bundle, more: &[(u64, Field)]) -> Result<Running> {
        let id = self.stage.id();
        let mut client = self.start(&id, bundle)?;
        client.ok("Create", &self.create(&id, bundle, more))?;
        let started = client.ok("Start", &[(1, text(&id))])?;
        Ok(Running {
            id,
            pid: i32::try_from(started.number(1))?,
            client,
        })
    }

    /// A named pipe in the stage's folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn fifo(&self, name: &str) -> Result<PathBuf> {
        let path = self.stage.dir().join(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        Ok(path)
    }

    /// The shim's process id.
    ///
    /// # Errors
    /// When there is none.
    pub fn pid_of(&self, client: &mut Client) -> Result<i32> {
        let answer = client.ok("Connect", &[(1, text(""))])?;
        Ok(i32::try_from(answer.number(1))?)
    }
}

/// A container that runs.
#[derive(Debug)]
pub struct Running {
    /// Its id.
    pub id: String,
    /// Its first process.
    pub pid: i32,
    /// Its shim.
    pub client: Client,
}

impl Running {
    /// The id as the first field, which all calls begin with.
    #[must_use]
    pub fn named(&self) -> [(u64, Field); 1] {
        [(1, text(&self.id))]
    }

    /// Waits for its end; the exit status.
    ///
    /// # Errors
    /// When there is none.
    pub fn wait(&mut self) -> Result<u64> {
        let named = self.named();
        Ok(self.client.ok("Wait", &named)?.number(1))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// What the shim says.
    pub fn kill(&mut self, signal: u64) -> Result<()> {
        let fields = [(1, text(&self.id)), (3, Field::Number(signal))];
        self.client.ok("Kill", &fields).map(drop)
    }

    /// Deletes it, and with it the shim.
    ///
    /// # Errors
    /// What the shim says.
    pub fn delete(mut self) -> Result<Decoded> {
        let named = self.named();
        let deleted = self.client.ok("Delete", &named)?;
        self.client.ok("Shutdown", &named)?;
        Ok(deleted)
    }

    /// Announces and starts a further process that runs a line of shell; its id is `exec`.
    ///
    /// # Errors
    /// What the shim says.
    pub fn exec(&mut self, exec: &str, script: &str, more: &[(u64, Field)]) -> Result<Decoded> {
        self.announce(exec, script, more)?;
        let fields = [(1, text(&self.id)), (2, text(exec))];
        self.client.ok("Start", &fields)
    }

    /// Announces it.
    ///
    /// # Errors
    /// What the shim says.
    pub fn announce(&mut self, exec: &str, script: &str, more: &[(u64, Field)]) -> Result<()> {
        let process = serde_json::json!({
            "args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
        });
        let spec = message(&[
            (
                1,
                text("types.containerd.io/opencontainers/runtime-spec/1/Process"),
            ),
            (2, text(&process.to_string())),
        ]);
        let mut fields = vec![(1, text(&self.id)), (2, text(exec)), (7, spec)];
        fields.extend_from_slice(more);
        self.client.ok("Exec", &fields).map(drop)
    }
}

/// Who reads a pipe, as containerd does: opened before anybody writes.
#[derive(Debug)]
pub struct Reader(File);

impl Reader {
    /// Opens it.
    ///
    /// # Errors
    /// When it cannot.
    pub fn open(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(0o4000);
        Ok(Self(options.open(path)?))
    }

    /// All that comes until nobody can write any more.
    ///
    /// # Errors
    /// When that never comes.
    pub fn to_end(mut self) -> Result<String> {
        let mut all = Vec::new();
        host::wait_for("the end of output", || {
            let mut buffer = [0; 16384];
            loop {
                match self.0.read(&mut buffer) {
                    // nobody has opened it yet, or nobody has it open any more
                    Ok(0) => return !all.is_empty(),
                    Ok(length) => all.extend(buffer.iter().take(length)),
                    Err(_not_now) => return false,
                }
            }
        })?;
        Ok(String::from_utf8_lossy(&all).into_owned())
    }

    /// Reads until this has come; all there was.
    ///
    /// # Errors
    /// When it does not come.
    pub fn until(&mut self, wanted: &str) -> Result<String> {
        let mut all = String::new();
        host::wait_for(wanted, || {
            let mut buffer = [0; 4096];
            if let Ok(length) = self.0.read(&mut buffer) {
                all += &String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            }
            all.contains(wanted)
        })?;
        Ok(all)
    }
}

/// A call that should take a moment has this long.
pub const MOMENT: Duration = Duration::from_secs(2);

/// Resident memory of a process in KiB, and what of it is its own: what it has written. The rest is the binary,
/// which all shims of a machine share, and which counts as private as soon as only one of them runs.
///
/// # Errors
/// When it is gone.
pub fn memory(pid: i32) -> Result<(u64, u64)> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let sum = |names: &[&str]| {
        let lines = rollup.lines().filter_map(|line| line.split_once(':'));
        let own = lines.filter(|(name, _)| names.contains(name));
        let kib = own.filter_map(|(_, rest)| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.sum()
    };
    Ok((sum(&["Rss"]), sum(&["Private_Dirty"])))
}
