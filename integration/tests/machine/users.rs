//! Containers of a user who is nobody on the machine, below a manager of the user's own that lives on without a
//! session (lingering).

use super::{nothing_is_left, ok};
use anyhow::{Context as _, Result, ensure};
use hostrun_integration::Outcome;
use hostrun_integration::host::wait_for;
use hostrun_integration::runtime::Call;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

const NAME: &str = "tester";
const HOME: &str = "/var/home/tester";
/// A service of the user's manager that may divide its cgroup.
const SERVICE: [&str; 7] = [
    "systemd-run",
    "--user",
    "--wait",
    "--pipe",
    "--quiet",
    "-p",
    "Delegate=yes",
];

/// A user with a range of ids and a manager that runs; gone with the test.
struct User {
    id: u32,
}

impl User {
    fn new() -> Result<Self> {
        fs::create_dir_all("/var/home")?;
        let words = [
            "useradd",
            "--create-home",
            "--home-dir",
            HOME,
            "--shell",
            "/bin/sh",
            NAME,
        ];
        ok(&words)?;
        let user = Self {
            id: fs::metadata(HOME)?.uid(),
        };
        ok(&["loginctl", "enable-linger", NAME])?;
        let bus = user.runtime_dir().join("bus");
        wait_for("the user's bus", || bus.exists())?;
        Ok(user)
    }

    fn runtime_dir(&self) -> PathBuf {
        PathBuf::from(format!("/run/user/{}", self.id))
    }

    /// A program of the user's, in a service of the user's manager that may divide its cgroup.
    fn service(&self, words: &[&str]) -> Result<Outcome> {
        self.call(&[&SERVICE[..], words].concat())
    }

    fn call(&self, words: &[&str]) -> Result<Outcome> {
        self.prepared(words)?.run()
    }

    fn prepared(&self, words: &[&str]) -> Result<Call> {
        let dir = self.runtime_dir();
        let (id, dir) = (self.id, dir.display());
        let as_user = format!(
            "setpriv --reuid={id} --regid={id} --clear-groups env -i PATH=/usr/bin:/bin HOME={HOME} USER={NAME} \
             XDG_RUNTIME_DIR={dir} DBUS_SESSION_BUS_ADDRESS=unix:path={dir}/bus"
        );
        let (program, rest) = as_user.split_once(' ').context("no program")?;
        let all = rest.split(' ').chain(words.iter().copied());
        Ok(Call::new(Path::new(program), all))
    }

    /// Below this the user's manager has its units.
    fn cgroup(&self) -> PathBuf {
        let id = self.id;
        PathBuf::from(format!(
            "/sys/fs/cgroup/user.slice/user-{id}.slice/user@{id}.service"
        ))
    }

    /// A bundle of the user's own, in which the user is root.
    fn bundle(&self, resources: &Value, script: &str) -> Result<String> {
        let dir = Path::new(HOME).join("bundle");
        fs::create_dir_all(dir.join("rootfs/bin"))?;
        for place in ["proc", "sys", "dev"] {
            fs::create_dir_all(dir.join("rootfs").join(place))?;
        }
        fs::copy("/bin/busybox", dir.join("rootfs/bin/busybox"))?;
        let path = dir.join("config.json");
        drop(fs::remove_file(&path));
        for place in [&dir, &dir.join("rootfs")] {
            chown(place, Some(self.id), Some(self.id))?;
        }
        let shown = dir.to_string_lossy().into_owned();
        self.call(&["hostrun", "spec", "--rootless", "--bundle", &shown])?
            .ok()?;
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let script = script.replace("busybox ", "/bin/busybox ");
        for (section, key, value) in [
            ("/process", "terminal", json!(false)),
            (
                "/process",
                "args",
                json!(["/bin/busybox", "sh", "-c", script]),
            ),
            ("/linux", "resources", resources.clone()),
        ] {
            let section = config.pointer_mut(section).and_then(Value::as_object_mut);
            section.context("no section")?.insert(key.to_owned(), value);
        }
        fs::write(&path, config.to_string())?;
        Ok(shown)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        drop(ok(&["loginctl", "disable-linger", NAME]));
        drop(ok(&[
            "systemctl",
            "stop",
            &format!("user@{}.service", self.id),
        ]));
        drop(ok(&["userdel", "--remove", NAME]));
    }
}

#[test]
fn a_user_who_lingers_runs_containers_with_limits_that_bite() -> Result<()> {
    let user = User::new()?;
    let resources =
        json!({"memory": {"limit": 33_554_432, "swap": 33_554_432}, "pids": {"limit": 20}});
    // in what the user's manager hands over to a service
    let see = "busybox id -u; busybox head -c 40 /proc/self/uid_map | busybox tr -s ' '; \
               busybox cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max";
    let bundle = user.bundle(&resources, see)?;
    let out = user.service(&["hostrun", "run", "--bundle", &bundle, "delegated"])?;
    let wanted = format!("0\n 0 {} 1\n33554432\n20\n", user.id);
    assert_eq!(out.ok()?, wanted);
    let hungry = "exec busybox dd if=/dev/zero of=/dev/null bs=100M count=1";
    let bundle = user.bundle(&resources, hungry)?;
    let out = user.service(&["hostrun", "run", "--bundle", &bundle, "hungry"])?;
    assert_eq!(out.code(), 137);
    ensure!(
        out.stderr()
            .contains("for want of memory: its limit is 32 MiB"),
        "{}",
        out.stderr()
    );
    // and in a scope, asked of the manager on the user's bus
    let bundle = user.bundle(
        &resources,
        "until [ -e /go ]; do busybox sleep 0.1; done; echo went",
    )?;
    let scoped = [
        "hostrun",
        "--systemd-cgroup",
        "run",
        "--bundle",
        &bundle,
        "scoped",
    ];
    let scoped = user.prepared(&[&SERVICE[..], &scoped].concat())?.spawn()?;
    wait_for("the scope's limit", || {
        let limits = ["user.slice", "app.slice", "."].map(|slice| {
            fs::read_to_string(
                user.cgroup()
                    .join(slice)
                    .join("hostrun-scoped.scope/memory.max"),
            )
        });
        limits
            .into_iter()
            .flatten()
            .any(|limit| limit == "33554432\n")
    })?;
    fs::write(Path::new(&bundle).join("rootfs/go"), "")?;
    assert_eq!(scoped.wait()?.ok()?, "went\n");
    drop(user);
    nothing_is_left()
}
