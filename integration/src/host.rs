//! Facts about the machine a test runs on, and the refusal to run on the wrong one.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::runtime::{Call, PATIENCE};

/// Type number of a cgroup2 file system, as `statfs(2)` gives it.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Refuses to go on where a test would touch the machine's own mounts.
///
/// # Errors
/// When not root, not in the mount namespace `integration/private-mounts` makes, or when cgroup2
/// is not at `/sys/fs/cgroup`.
pub fn require_private_mounts() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "root tests need root: use `make test-root`"
    );
    let left = std::env::var_os("HOSTRUN_TEST_LEFT");
    let own = fs::read_link("/proc/self/ns/mnt").context("read /proc/self/ns/mnt")?;
    ensure!(
        left.is_some_and(|left| left != own.as_os_str()),
        "root tests run in mounts of their own: use `make test-root` or integration/private-mounts"
    );
    let fs = rustix::fs::statfs("/sys/fs/cgroup").context("statfs /sys/fs/cgroup")?;
    let magic = u64::try_from(fs.f_type).unwrap_or_default();
    ensure!(magic == CGROUP2_MAGIC, "/sys/fs/cgroup is not cgroup2");
    Ok(())
}

/// Says loudly that a test did not run and why; `make test` counts these lines.
///
/// # Errors
/// When the skip cannot be written down.
pub fn skip(test: &str, reason: &str) -> Result<()> {
    // not print!: the test harness hides the output of tests that pass; one write, so that lines of
    // tests that run side by side do not mix
    let line = format!("SKIP {test}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes())?;
    Ok(())
}

/// Prints what a person asked for, past the test harness.
///
/// # Errors
/// When standard error is closed.
pub fn say(text: &str) -> Result<()> {
    Ok(std::io::stderr().write_all(text.as_bytes())?)
}

/// The mount table of this test, one line a mount, without the numbers that change.
///
/// # Errors
/// When `/proc/self/mountinfo` cannot be read.
pub fn mounts() -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("read mountinfo")?;
    Ok(table
        .lines()
        .map(|line| line.splitn(4, ' ').last().unwrap_or_default().to_owned())
        .collect())
}

/// Runs a tool of the machine that must succeed.
///
/// # Errors
/// When it does not, with what it said.
pub fn command<S: AsRef<OsStr>, T: AsRef<OsStr>>(
    program: &str,
    words: impl IntoIterator<Item = S>,
    more: impl IntoIterator<Item = T>,
) -> Result<()> {
    let words = words.into_iter().map(|word| word.as_ref().to_owned());
    let more = more.into_iter().map(|word| word.as_ref().to_owned());
    let call = Call::new(Path::new(program), words.chain(more));
    call.run()?.ok().context(program.to_owned()).map(drop)
}

/// Waits for what another process is about to do.
///
/// # Errors
/// When it does not in a minute.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !done() {
        ensure!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// strace in front of a call that makes a system call, the first of each process, wait so long.
pub fn slow(call: &str, milliseconds: u32) -> Vec<String> {
    let inject = format!("inject={call}:delay_enter={milliseconds}000:when=1");
    ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject]
        .map(str::to_owned)
        .to_vec()
}

/// A mount in the mounts of the test, gone with this value.
#[derive(Debug)]
pub struct Mounted(PathBuf);

impl Mounted {
    /// A new tmpfs, with more options of mount(8).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn tmpfs(at: &Path, options: &[&str]) -> Result<Self> {
        let words = ["-t", "tmpfs", "tmpfs"].map(OsStr::new);
        let options = options.iter().map(OsStr::new);
        command("mount", words.into_iter().chain([at.as_os_str()]), options)?;
        Ok(Self(at.to_owned()))
    }

    /// A folder, once more in the same place.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn again(at: &Path) -> Result<Self> {
        command("mount", ["--bind"], [at, at])?;
        Ok(Self(at.to_owned()))
    }

    /// Where it is.
    pub fn at(&self) -> &Path {
        &self.0
    }

    /// Makes it `shared`, say.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn propagation(&self, kind: &str) -> Result<()> {
        command("mount", [format!("--make-{kind}")], [self.at()])
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(command("umount", ["--lazy"], [self.at()]));
    }
}

/// Processes whose cgroup, root or command line carries `token`: `(pid, what was found)`.
///
/// # Errors
/// When `/proc` cannot be listed.
pub fn processes_with(token: &str) -> Result<Vec<(i32, String)>> {
    let own = i32::try_from(std::process::id())?;
    let mut found = Vec::new();
    for process in procfs::process::all_processes()?.flatten() {
        if process.pid == own {
            continue;
        }
        let base = format!("/proc/{}", process.pid);
        let cgroup = fs::read_to_string(format!("{base}/cgroup")).unwrap_or_default();
        let command = fs::read(format!("{base}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let zombie = process.stat().is_ok_and(|stat| stat.state == 'Z');
        if !zombie && (cgroup.contains(token) || command.contains(token)) {
            found.push((
                process.pid,
                format!("{} in {}", command.trim(), cgroup.trim()),
            ));
        }
    }
    Ok(found)
}

/// Every file below `dir` with what a stranger could change: type, mode, owner, size and content
/// of small files. Two equal digests mean an untouched tree.
///
/// # Errors
/// When a file cannot be read.
pub fn tree_digest(dir: &Path) -> Result<Vec<String>> {
    use std::os::unix::fs::MetadataExt as _;
    let mut lines = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let meta =
            fs::symlink_metadata(&path).with_context(|| format!("stat {}", path.display()))?;
        let content = if meta.is_file() && meta.len() < 65536 {
            fs::read(&path)?
        } else {
            vec![]
        };
        lines.push(format!(
            "{} {:o} {}:{} {} {:?}",
            path.display(),
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.rdev(),
            content
        ));
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                open.push(entry?.path());
            }
        }
    }
    lines.sort();
    Ok(lines)
}
