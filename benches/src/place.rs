//! Where everything of a benchmark lies: a tmpfs of its own, so that no disk is measured, with one
//! root for all, a config for every container, and the native programs.

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::{bundle::Bundle, cgroup, elf};
use hostrun_seccomp_profiles::{DEFAULT_CAPABILITIES, compile, default_profile};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const BPFFS: &str = "/sys/fs/bpf";

/// `pause(2)`.
const PAUSE: u32 = 34;

/// What a container's program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// One system call: `exit_group`.
    Exit,
    /// Writes the time, then exits.
    Clock,
    /// Waits to be killed.
    Pause,
}

impl Payload {
    /// Where it is in the root.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Payload::Exit => "/exit",
            Payload::Clock => "/clock",
            Payload::Pause => "/pause",
        }
    }
}

/// What is run: the payload, and whether behind docker's filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) payload: Payload,
    pub(crate) filtered: bool,
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Place {
    folder: tempfile::TempDir,
    config: Value,
    profile: Value,
    cgroup: String,
    /// Whether this value has mounted one.
    bpffs: bool,
}

impl Place {
    /// Mounts it and fills the root.
    pub(crate) fn new() -> Result<Place> {
        let folder = tempfile::Builder::new()
            .prefix("hostrun-bench-")
            .tempdir()?;
        mount("tmpfs", folder.path(), "tmpfs", MountFlags::empty(), None).context("tmpfs")?;
        let bpffs = mount_bpffs()?;
        let cgroup = format!("/hostrun-bench-{}", std::process::id());
        fs::create_dir_all(cgroup::dir(&cgroup))?;
        let bundle = Bundle::new(folder.path(), &cgroup)?
            .file(Payload::Exit.path(), 0o755, &elf::exit(0))?
            .file(Payload::Clock.path(), 0o755, &elf::clock())?
            .file(
                Payload::Pause.path(),
                0o755,
                &elf::system_call(PAUSE, [0; 3]),
            )?;
        let profile = profile()?;
        let place = Place {
            config: as_runc_spec(bundle).config().clone(),
            profile,
            cgroup,
            bpffs,
            folder,
        };
        fs::write(place.filter_file(), place.filter()?)?;
        Ok(place)
    }

    /// The folder itself.
    pub(crate) fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The root all containers have.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.dir().join("rootfs")
    }

    /// The cgroup of one container of a subject.
    pub(crate) fn cgroup_of(&self, subject: &str, number: usize) -> String {
        format!("{}/{subject}-{number}", self.cgroup)
    }

    /// The docker-like filter as the kernel takes it, for the floor.
    pub(crate) fn filter_file(&self) -> PathBuf {
        self.dir().join("filter")
    }

    /// The bundle of a container of a subject, written when it is not there.
    pub(crate) fn bundle(&self, subject: &str, kind: Kind, number: usize) -> Result<PathBuf> {
        let name = format!("{subject}-{:?}-{}-{number}", kind.payload, kind.filtered);
        let dir = self.dir().join("bundles").join(name);
        if dir.exists() {
            return Ok(dir);
        }
        let mut config = self.config.clone();
        set(&mut config, "/process/args", json!([kind.payload.path()]))?;
        set(
            &mut config,
            "/linux/cgroupsPath",
            json!(self.cgroup_of(subject, number)),
        )?;
        if kind.filtered {
            let linux = config.pointer_mut("/linux").and_then(Value::as_object_mut);
            let linux = linux.context("no linux")?;
            linux.insert("seccomp".to_owned(), self.profile.clone());
        }
        set(&mut config, "/root/path", json!(self.rootfs()))?;
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("config.json"), serde_json::to_vec(&config)?)?;
        Ok(dir)
    }

    fn filter(&self) -> Result<Vec<u8>> {
        let profile = serde_json::from_value(self.profile.clone())?;
        let filter = compile(&profile).context("compile the filter")?;
        let bytes = filter.program().iter().flat_map(|instruction| {
            let code = instruction.code.to_ne_bytes().into_iter();
            let jumps = [instruction.jt, instruction.jf];
            code.chain(jumps).chain(instruction.k.to_ne_bytes())
        });
        Ok(bytes.collect())
    }

    /// Compiles files of `native/` with musl into a program of the first one's name.
    pub(crate) fn native(&self, names: &[&str]) -> Result<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("native");
        let sources = names
            .iter()
            .map(|name| folder.join(name).with_extension("c"));
        let program = self.dir().join(names.first().context("no source")?);
        // musl brings its own headers of the C library; the kernel's are Debian's
        let headers = ["/usr/include", "/usr/include/x86_64-linux-gnu"];
        let mut command = Command::new("musl-gcc");
        command.args(["-O2", "-static", "-Wall", "-Werror", "-o"]);
        command.arg(&program).args(sources);
        for folder in headers {
            command.args(["-idirafter", folder]);
        }
        let output = command.output().context("musl-gcc: run `make setup`")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{names:?}: {said}");
        Ok(program)
    }

    /// A copy of a program where nobody can write to it, as on a host whose /usr is read-only.
    pub(crate) fn read_only(&self, program: &Path) -> Result<PathBuf> {
        let folder = self.dir().join("read-only");
        fs::create_dir(&folder)?;
        let name = program.file_name().context("no name")?;
        fs::copy(program, folder.join(name))?;
        mount_bind(&folder, &folder).context("bind")?;
        let flags = MountFlags::BIND | MountFlags::RDONLY;
        mount_remount(&folder, flags, "").context("remount")?;
        Ok(folder.join(name))
    }

    /// Ends what containers are left and removes the cgroups.
    pub(crate) fn clear(&self) -> Result<()> {
        cgroup::remove(&self.cgroup)
    }

    /// Makes the parent of all cgroups again.
    pub(crate) fn renew(&self) -> Result<()> {
        Ok(fs::create_dir_all(cgroup::dir(&self.cgroup))?)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear().unwrap_or_default();
        if self.bpffs {
            unmount(BPFFS, UnmountFlags::DETACH).unwrap_or_default();
        }
        unmount(self.folder.path(), UnmountFlags::DETACH).unwrap_or_default();
    }
}

/// A bpffs where hosts with systemd have one, in this mount namespace only: programs are kept there.
fn mount_bpffs() -> Result<bool> {
    const MAGIC: u64 = 0xcafe_4a11;
    let there = rustix::fs::statfs(BPFFS).is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(MAGIC));
    if there || !Path::new(BPFFS).is_dir() {
        return Ok(false);
    }
    mount("bpf", BPFFS, "bpf", MountFlags::empty(), None).context("bpffs")?;
    Ok(true)
}

fn set(config: &mut Value, pointer: &str, value: Value) -> Result<()> {
    let (parent, key) = pointer.rsplit_once('/').context("a pointer")?;
    let object = config.pointer_mut(parent).and_then(Value::as_object_mut);
    object
        .with_context(|| format!("no {parent}"))?
        .insert(key.to_owned(), value);
    Ok(())
}

/// As `runc spec` would have it.
fn as_runc_spec(bundle: Bundle) -> Bundle {
    bundle
        .set("/root/readonly", json!(true))
        .capabilities(&["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"])
        .set(
            "/linux/maskedPaths",
            json!([
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi"
            ]),
        )
}

/// A filter of the size docker's has, of rules that every runtime takes: those on `socket` overlap,
/// which libseccomp refuses, so it is plainly allowed here.
fn profile() -> Result<Value> {
    let mut profile = serde_json::to_value(default_profile(&DEFAULT_CAPABILITIES))?;
    let rules = profile
        .pointer_mut("/syscalls")
        .and_then(Value::as_array_mut)
        .context("no rules")?;
    let on_socket = |rule: &Value| {
        rule.pointer("/names")
            .and_then(Value::as_array)
            .is_some_and(|names| names.contains(&json!("socket")))
    };
    rules.retain(|rule| !on_socket(rule));
    rules.push(json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW"}));
    Ok(profile)
}
