//! A machine within the machine: mounts, processes, network and cgroups that nobody else has.
//!
//! A client's daemon believes it owns `/run`, `/var/lib`, `/etc` and the cgroup tree. Here it owns
//! copies of them, which go with the last process of the world.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::runtime::{Call, Running};
use crate::{cgroup, host, namespace, program};

/// What the first process of a world does: it makes it, and holds it until nobody holds its input.
const FOUNDATION: &str = r#"
set -e
[ -z "$1" ] || mount -t overlay -o ro,lowerdir="$1:/usr" overlay /usr
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
for dir in etc var; do
	mkdir -p /run/world/$dir/upper /run/world/$dir/work
	mount -t overlay -o lowerdir=/$dir,upperdir=/run/world/$dir/upper,workdir=/run/world/$dir/work \
		overlay /$dir
done
umount --recursive /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo 1 >/sys/fs/cgroup/world/cgroup.procs
ip link set lo up
echo ready
# a shell reaps what it inherits, also while it reads
while read -r _; do :; done
"#;

/// Such a world; everything in it ends with this value, or with the test however that ends.
#[derive(Debug)]
pub struct World {
    folder: tempfile::TempDir,
    cgroup: String,
    holder: Child,
    input: Option<ChildStdin>,
    init: i32,
    newer: bool,
}

impl World {
    /// Makes one.
    ///
    /// # Errors
    /// When the machine is not prepared for root tests or the kernel refuses.
    pub fn new() -> Result<Self> {
        Self::with_programs(None)
    }

    /// Makes one where the programs and libraries of a newer Debian are laid over the machine's: `usr` is
    /// the `/usr` of its root.
    ///
    /// # Errors
    /// When the machine is not prepared for root tests or the kernel refuses.
    pub fn with_programs(usr: Option<&Path>) -> Result<Self> {
        host::require_private_mounts()?;
        let folder = tempfile::Builder::new().prefix("hostrun-it-").tempdir()?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), mode)?;
        let name = folder.path().file_name().context("a folder without name")?;
        let cgroup = format!("/{}", name.to_string_lossy());
        fs::create_dir_all(cgroup::dir(&cgroup).join("world"))?;
        let mut command = Command::new("sh");
        command
            // the cgroup namespace's root is where its maker stands
            .args([
                "-c",
                "echo 0 >\"$1/cgroup.procs\" && shift && exec \"$@\"",
                "sh",
            ])
            .arg(cgroup::dir(&cgroup))
            .args([
                "unshare",
                "--mount",
                "--net",
                "--pid",
                "--ipc",
                "--cgroup",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "--propagation",
                "private",
                "bash",
                "-c",
                FOUNDATION,
                "world",
            ])
            .arg(usr.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut holder = program::start(&mut command).context("start unshare")?;
        let (input, output) = (holder.stdin.take(), holder.stdout.take());
        let mut world = Self {
            folder,
            cgroup,
            holder,
            input,
            init: 0,
            newer: usr.is_some(),
        };
        let mut line = String::new();
        BufReader::new(output.context("no output")?).read_line(&mut line)?;
        ensure!(line == "ready\n", "no world could be made");
        world.settle()?;
        Ok(world)
    }

    /// Takes the holder out of the world's cgroup, so that controllers can be handed out in it.
    fn settle(&mut self) -> Result<()> {
        let unshare = self.holder.id();
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"))?;
        self.init = children.trim().parse().context("unshare has no child")?;
        fs::write(
            cgroup::dir("suite").join("cgroup.procs"),
            unshare.to_string(),
        )?;
        for controller in cgroup::read(&self.cgroup, "cgroup.controllers")?.split_whitespace() {
            let file = cgroup::dir(&self.cgroup).join("cgroup.subtree_control");
            fs::write(file, format!("+{controller}"))?;
        }
        Ok(())
    }

    /// Whether other programs than the machine's are laid over them.
    pub fn has_newer_programs(&self) -> bool {
        self.newer
    }

    /// A folder that has the same path in the world and outside.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// A file of the world, as the test can open it.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// A command that runs in the world.
    pub fn call<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Call {
        // out here: where the kernel minds delegation, nobody moves into a cgroup namespace from within
        const ENTER: &str = "echo 0 >\"$1\" && shift && cd / && exec \"$@\"";
        let own = cgroup::dir(&self.cgroup).join("world/cgroup.procs");
        let (own, init) = (own.to_string_lossy(), self.init.to_string());
        let mut all: Vec<OsString> = [
            "-c", ENTER, "sh", &own, "nsenter", "--target", &init, "--mount", "--net", "--pid",
            "--ipc", "--cgroup",
        ]
        .map(OsString::from)
        .to_vec();
        all.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        Call::new(Path::new("sh"), all)
    }

    /// Starts a daemon and waits until it answers at a socket.
    ///
    /// # Errors
    /// When it ends before, or does not answer in a minute; with what it said.
    pub fn daemon(&self, words: &[&str], socket: &str) -> Result<Running> {
        let running = self.call(words).spawn()?;
        let path = self.path(socket);
        let answers = || std::os::unix::net::UnixStream::connect(&path).is_ok();
        host::wait_for("a daemon that answers", answers)
            .with_context(|| format!("{words:?}: {}", running.stderr()))?;
        Ok(running)
    }

    /// The processes of the world but its first, as `(pid, command line)`.
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn processes(&self) -> Result<Vec<(i32, String)>> {
        let own = namespace::of(self.init, "pid")?;
        let mut found = Vec::new();
        for process in procfs::process::all_processes()?.flatten() {
            let inside = namespace::of(process.pid, "pid").is_ok_and(|name| name == own);
            if !inside || process.pid == self.init {
                continue;
            }
            let words = process.cmdline().unwrap_or_default().join(" ");
            found.push((process.pid, words));
        }
        Ok(found)
    }

    /// The mounts of the world, one line each, without the numbers that change.
    ///
    /// # Errors
    /// When the world has ended.
    pub fn mounts(&self) -> Result<Vec<String>> {
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", self.init))?;
        let line = |line: &str| line.splitn(4, ' ').last().unwrap_or_default().to_owned();
        Ok(table.lines().map(line).collect())
    }

    /// The cgroups of the world but its first process' own, without the path of the world.
    pub fn cgroups(&self) -> Vec<String> {
        let root = cgroup::dir(&self.cgroup);
        let below = cgroup::below(&self.cgroup);
        let names = below
            .iter()
            .filter_map(|path| path.strip_prefix(&root).ok());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| !name.is_empty() && name != "world")
            .collect()
    }

    /// Ends every process of the world and removes its cgroups.
    ///
    /// # Errors
    /// When something stays.
    pub fn end(mut self) -> Result<()> {
        self.close()
    }

    fn close(&mut self) -> Result<()> {
        if self.input.take().is_none() {
            return Ok(());
        }
        let end = Instant::now() + Duration::from_secs(10);
        while self.holder.try_wait()?.is_none() {
            if Instant::now() > end {
                self.holder.kill()?;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        cgroup::remove(&self.cgroup)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.close());
    }
}
