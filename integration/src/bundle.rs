//! An OCI bundle on disk: a busybox root file system and a config.json one can change by JSON path.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::runtime::Call;
use crate::{host, program};

/// A bundle; written to disk by [`Bundle::write`], which every way to run it calls.
#[derive(Clone, Debug)]
#[must_use]
pub struct Bundle {
    dir: PathBuf,
    config: Value,
}

impl Bundle {
    /// A new bundle in `dir` that runs `true` in every namespace but user and time, with a cgroup
    /// at `cgroup`.
    ///
    /// # Errors
    /// When busybox is missing or the folder cannot be filled.
    pub fn new(dir: &Path, cgroup: &str) -> Result<Self> {
        let rootfs = dir.join("rootfs");
        fs::create_dir_all(&rootfs)?;
        fill_root(&rootfs).with_context(|| format!("fill {}", rootfs.display()))?;
        Ok(Self {
            dir: dir.to_owned(),
            config: default_config(cgroup),
        })
    }

    /// The folder that holds config.json.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The root of the container.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// The configuration as it will be written.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Its cgroup.
    ///
    /// # Errors
    /// When it has none of its own.
    pub fn cgroup(&self) -> Result<String> {
        let path = self.config.pointer("/linux/cgroupsPath");
        let path = path.and_then(Value::as_str).context("no cgroup")?;
        Ok(path.to_owned())
    }

    /// Runs this line of shell.
    pub fn shell(self, script: &str) -> Self {
        self.args(&["/bin/sh", "-c", script])
    }

    /// Runs these words.
    pub fn args(self, words: &[&str]) -> Self {
        self.set("/process/args", json!(words))
    }

    /// Sets the value at a JSON pointer and makes the objects on the way; `-` appends to a list.
    pub fn set(mut self, pointer: &str, value: Value) -> Self {
        *entry(&mut self.config, pointer) = value;
        self
    }

    /// Takes a key out of the object at a JSON pointer.
    pub fn unset(mut self, pointer: &str) -> Self {
        if let Some((parent, key)) = pointer.rsplit_once('/')
            && let Some(Value::Object(object)) = self.config.pointer_mut(parent)
        {
            object.remove(key);
        }
        self
    }

    /// Adds a mount.
    pub fn mount(self, target: &str, kind: &str, source: &str, options: &[&str]) -> Self {
        let mount =
            json!({"destination": target, "type": kind, "source": source, "options": options});
        self.set("/mounts/-", mount)
    }

    /// Adds a bind mount of a folder or file of the machine.
    pub fn bind(self, source: &Path, target: &str, options: &[&str]) -> Self {
        self.mount(target, "bind", &source.to_string_lossy(), options)
    }

    /// Takes out the mount at `target`.
    pub fn without_mount(mut self, target: &str) -> Self {
        if let Some(mounts) = self
            .config
            .pointer_mut("/mounts")
            .and_then(Value::as_array_mut)
        {
            mounts.retain(|mount| mount["destination"] != target);
        }
        self
    }

    /// Creates or joins a namespace: `kind` as in the runtime-spec, `path` to join.
    pub fn namespace(mut self, kind: &str, path: Option<&Path>) -> Self {
        self = self.without_namespace(kind);
        let namespace = path.map_or_else(
            || json!({"type": kind}),
            |path| json!({"type": kind, "path": path}),
        );
        self.set("/linux/namespaces/-", namespace)
    }

    /// Shares a namespace with the machine.
    pub fn without_namespace(mut self, kind: &str) -> Self {
        let list = self
            .config
            .pointer_mut("/linux/namespaces")
            .and_then(Value::as_array_mut);
        if let Some(list) = list {
            list.retain(|namespace| namespace["type"] != kind);
        }
        self
    }

    /// In a user namespace of its own, whose root is user 100000, who also gets the files.
    ///
    /// # Errors
    /// When they cannot be given away.
    pub fn mapped(self) -> Result<Self> {
        let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        self.give_away()?;
        Ok(self
            .namespace("user", None)
            .set("/linux/uidMappings", mapping.clone())
            .set("/linux/gidMappings", mapping)
            .without_mount("/sys/fs/cgroup"))
    }

    /// Makes its files belong to user 100000.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn give_away(&self) -> Result<()> {
        host::command("chown", ["-R", "100000:100000"], [self.rootfs()])
    }

    /// Gives the process exactly these capabilities, in the sets that root uses.
    pub fn capabilities(self, names: &[&str]) -> Self {
        self.set(
            "/process/capabilities",
            json!({"bounding": names, "effective": names, "permitted": names}),
        )
    }

    /// Puts a file into the root file system.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn file(self, path: &str, mode: u32, content: &[u8]) -> Result<Self> {
        let path = self.rootfs().join(path.trim_start_matches('/'));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        program::write(&path, mode, content)?;
        Ok(self)
    }

    /// Writes config.json and returns the folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self) -> Result<&Path> {
        self.write_raw(&serde_json::to_string_pretty(&self.config)?)
    }

    /// Writes any text as config.json.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_raw(&self, text: &str) -> Result<&Path> {
        fs::write(self.dir.join("config.json"), text)?;
        Ok(&self.dir)
    }
}

/// The place a JSON pointer names, made if it is not there.
fn entry<'a>(root: &'a mut Value, pointer: &str) -> &'a mut Value {
    pointer
        .split('/')
        .skip(1)
        .fold(root, |place, key| match place {
            Value::Array(list) => {
                let index = key.parse().unwrap_or(list.len());
                if index >= list.len() {
                    list.resize(index + 1, Value::Null);
                }
                &mut place[index]
            }
            _ => &mut place[key],
        })
}

/// Names of the programs in busybox, asked once.
fn applets() -> Result<&'static [String]> {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    if NAMES.get().is_none() {
        let list = Call::new(Path::new("/bin/busybox"), ["--list"])
            .run()?
            .ok()?;
        let names = list.lines().map(str::to_owned).collect();
        drop(NAMES.set(names));
    }
    NAMES
        .get()
        .map(Vec::as_slice)
        .context("busybox lists no programs")
}

/// Fills a root file system with busybox, its links, and the files a user lookup reads.
///
/// # Errors
/// When busybox is missing or a file cannot be written.
pub fn fill_root(rootfs: &Path) -> Result<()> {
    for dir in [
        "bin",
        "dev",
        "etc",
        "home/user",
        "proc",
        "root",
        "sys",
        "tmp",
        "var",
    ] {
        fs::create_dir_all(rootfs.join(dir))?;
    }
    let busybox = Path::new("/bin/busybox");
    program::copy(busybox, &rootfs.join("bin/busybox")).context("copy /bin/busybox")?;
    for name in applets()?.iter().filter(|name| *name != "busybox") {
        symlink("busybox", rootfs.join("bin").join(name))?;
    }
    fs::write(
        rootfs.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
    )?;
    fs::write(
        rootfs.join("etc/group"),
        "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n",
    )?;
    fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    Ok(())
}

fn default_config(cgroup: &str) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/true"],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb"],
            "cwd": "/",
            "capabilities": {
                "bounding": DEFAULT_CAPABILITIES,
                "effective": DEFAULT_CAPABILITIES,
                "permitted": DEFAULT_CAPABILITIES
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "stage",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "mount"}, {"type": "cgroup"}
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi",
                "/proc/not-there", "/sys/firmware"
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"
            ]
        }
    })
}

/// What container engines give a process by default.
const DEFAULT_CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_sets_appends_and_makes_what_is_missing() {
        let bundle = Bundle {
            dir: PathBuf::new(),
            config: json!({"list": [1]}),
        };
        let bundle = bundle
            .set("/list/-", json!(2))
            .set("/a/b", json!(true))
            .set("/list/0", json!(0));
        assert_eq!(bundle.config, json!({"list": [0, 2], "a": {"b": true}}));
        assert_eq!(
            bundle.unset("/a/b").config,
            json!({"list": [0, 2], "a": {}})
        );
    }
}
