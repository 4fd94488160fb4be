//! Containers of an ordinary user: no privilege over the machine at any time.

use std::fs;
use std::os::unix::fs::chown;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::runtime::Call;
use hostrun_integration::{Bundle, Outcome, Stage, cgroup, host, on_stage, on_stage_of_hostrun};
use serde_json::json;

/// A user of the machine with nothing, not even a name.
const USER: u32 = 12345;

/// What the user is told to be.
const AS_USER: [&str; 6] = [
    "setpriv",
    "--reuid=12345",
    "--regid=12345",
    "--clear-groups",
    "--inh-caps=-all",
    "--bounding-set=-all",
];

/// The user's folder, with a bundle and a place for state.
struct Home<'a> {
    stage: &'a Stage,
}

impl<'a> Home<'a> {
    fn new(stage: &'a Stage) -> Result<Self> {
        fs::create_dir_all(stage.root())?;
        chown(stage.root(), Some(USER), Some(USER))?;
        Ok(Self { stage })
    }

    /// A bundle as an ordinary user writes one: the user is root in it, and the only one.
    fn bundle(&self) -> Result<Bundle> {
        let bundle = self.stage.bundle()?;
        host::command("chown", ["-R", "12345:12345"], [bundle.dir()])?;
        let mapping = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
        let pts = [
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
        ];
        Ok(bundle
            .namespace("user", None)
            .unset("/linux/cgroupsPath")
            .unset("/linux/resources")
            .set("/linux/uidMappings", mapping.clone())
            .set("/linux/gidMappings", mapping)
            .without_mount("/dev/pts")
            .mount("/dev/pts", "devpts", "devpts", &pts))
    }

    fn call(&self, words: &[&str]) -> Call {
        self.stage.call(words).under(AS_USER)
    }

    fn run(&self, bundle: &Bundle) -> Result<Outcome> {
        self.stage.run_call(bundle)?.under(AS_USER).run()
    }

    /// Creates and starts a container that sleeps; its id.
    fn start(&self, bundle: Bundle) -> Result<String> {
        let id = self.stage.id();
        let bundle = bundle.args(&["/bin/sleep", "60"]);
        let dir = bundle.write()?.to_string_lossy().into_owned();
        self.call(&["create", "--bundle", &dir, &id]).run()?.ok()?;
        self.call(&["start", &id]).run()?.ok()?;
        Ok(id)
    }
}

fn at_home(test: impl FnOnce(&Home<'_>) -> Result<()>) -> Result<()> {
    on_stage(|stage| test(&Home::new(stage)?))
}

#[test]
fn an_ordinary_user_is_root_in_a_container_and_nobody_outside() -> Result<()> {
    at_home(|home| {
        let bundle = home.bundle()?.shell(
            "id -u; id -g; tr -s ' ' < /proc/self/uid_map; hostname; echo $$; touch /mine; \
             cat /proc/self/setgroups; ls /sys/class/net; echo x > /dev/null && echo nothing",
        );
        let text = home.run(&bundle)?.ok()?;
        assert_eq!(text, "0\n0\n 0 12345 1\nstage\n1\ndeny\nlo\nnothing\n");
        let made = fs::metadata(bundle.rootfs().join("mine"))?;
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), USER);
        Ok(())
    })
}

#[test]
fn an_ordinary_user_goes_through_a_containers_whole_life() -> Result<()> {
    at_home(|home| {
        let id = home.start(home.bundle()?)?;
        let state: serde_json::Value =
            serde_json::from_str(&home.call(&["state", &id]).run()?.ok()?)?;
        assert_eq!(state["status"], "running");
        let words = [
            "exec",
            id.as_str(),
            "/bin/sh",
            "-c",
            "id -u; hostname; cat /proc/1/comm",
        ];
        assert_eq!(home.call(&words).run()?.ok()?, "0\nstage\nsleep\n");
        ensure!(
            home.call(&["delete", &id]).run()?.code() != 0,
            "deleted while it ran"
        );
        home.call(&["kill", &id, "KILL"]).run()?.ok()?;
        host::wait_for("the container's end", || {
            let state = home.call(&["state", &id]).run().and_then(|out| out.ok());
            state.is_ok_and(|state| state.contains("\"stopped\""))
        })?;
        home.call(&["delete", &id]).run()?.ok()?;
        let list = home.call(&["list", "-q"]).run()?.ok()?;
        ensure!(!list.contains(&id), "{list}");
        Ok(())
    })
}

#[test]
fn the_owner_of_a_container_is_the_user_who_made_it() -> Result<()> {
    at_home(|home| {
        let id = home.start(home.bundle()?)?;
        let list = home.call(&["list"]).run()?.ok()?;
        ensure!(list.contains("#12345"), "{list}");
        home.call(&["delete", "--force", &id]).run()?.ok()?;
        Ok(())
    })
}

#[test]
fn a_signal_to_all_reaches_all_without_a_cgroup() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 reaches nobody without a cgroup", |stage| {
        let home = Home::new(stage)?;
        let id = home.start(home.bundle()?)?;
        let script = "trap 'echo heard; exit' USR1; echo ready; while true; do sleep 0.1; done";
        let mut other = home.call(&["exec", &id, "/bin/sh", "-c", script]).spawn()?;
        other.wait_for("ready")?;
        home.call(&["kill", "--all", &id, "USR1"]).run()?.ok()?;
        other.wait_for("heard")?;
        home.call(&["delete", "--force", &id]).run()?.ok()?;
        Ok(())
    })
}

#[test]
fn a_user_without_ranges_of_ids_stops_and_removes_containers_made_from_bundles() -> Result<()> {
    on_stage_of_hostrun("runc has no such verbs", |stage| {
        let home = Home::new(stage)?;
        let id = home.start(home.bundle()?)?;
        let shown = home.call(&["inspect", &id]).run()?.ok()?;
        ensure!(shown.contains(&id), "{shown}");
        home.call(&["stop", "--time", "0", &id]).run()?.ok()?;
        home.call(&["rm", "--force", &id]).run()?.ok()?;
        let out = home.call(&["stop", "nobody"]).run()?;
        ensure!(out.stderr().contains("no container"), "{}", out.stderr());
        Ok(())
    })
}

#[test]
fn what_root_keeps_of_images_is_nothing_to_a_user_without_a_home() -> Result<()> {
    on_stage_of_hostrun("runc has no store", |stage| {
        let home = Home::new(stage)?;
        let closed =
            "mount -t tmpfs tmpfs /var/lib && mkdir -m 700 /var/lib/hostrun && exec \"$@\"";
        let runtime = format!("XDG_RUNTIME_DIR={}", home.stage.root().display());
        let call = |words: &[&str], nested: &[&str]| {
            let call = stage.runtime().call(words).under(nested.iter().copied());
            let call = call.under(["env", "-i", "PATH=/usr/bin:/bin", &runtime]);
            let call = call.under(AS_USER);
            call.under(["unshare", "--mount", "sh", "-c", closed, "sh"])
                .run()
        };
        // as it is, and as an engine calls that is root of a user namespace
        for nested in [&[][..], &["unshare", "--user", "--map-root-user"]] {
            let out = call(&["exec", "nobody", "true"], nested)?;
            let text = out.stderr();
            ensure!(text.contains("container does not exist"), "{text}");
        }
        let out = call(&["images"], &[])?;
        ensure!(out.stderr().contains("set HOME"), "{}", out.stderr());
        Ok(())
    })
}

#[test]
fn mounts_of_the_machine_keep_their_restrictions() -> Result<()> {
    at_home(|home| {
        let source = home.stage.folder("shown")?;
        let _mounted = host::Mounted::tmpfs(&source, &["-o", "nosuid,nodev,noexec"])?;
        fs::write(source.join("file"), "seen\n")?;
        let bundle = home.bundle()?.bind(&source, "/mnt", &["rbind"]);
        let bundle = bundle.shell("cat /mnt/file; grep ' /mnt ' /proc/mounts");
        let text = home.run(&bundle)?.ok()?;
        ensure!(text.starts_with("seen\n"), "{text}");
        for flag in ["nosuid", "nodev", "noexec"] {
            ensure!(text.contains(flag), "{text}");
        }
        if home.stage.runtime().is_runc() {
            // runc 1.1 takes "exec" for nothing on a bind mount
            return Ok(());
        }
        let loosened = home.bundle()?.bind(&source, "/mnt", &["rbind", "exec"]);
        ensure!(
            home.run(&loosened)?.code() != 0,
            "a locked flag was taken off"
        );
        Ok(())
    })
}

#[test]
fn a_root_and_volumes_can_be_read_only() -> Result<()> {
    at_home(|home| {
        let source = home.stage.folder("shown")?;
        let bundle = home.bundle()?.set("/root/readonly", json!(true));
        let bundle = bundle.bind(&source, "/tmp", &["bind", "ro"]);
        let out = home.run(&bundle.shell("touch /x || touch /tmp/x || echo neither"))?;
        assert_eq!(out.ok()?, "neither\n");
        Ok(())
    })
}

#[test]
fn without_a_user_namespace_an_ordinary_user_is_refused() -> Result<()> {
    at_home(|home| {
        let bundle = home.bundle()?.without_namespace("user");
        let bundle = bundle
            .unset("/linux/uidMappings")
            .unset("/linux/gidMappings");
        let out = home.run(&bundle)?;
        ensure!(out.code() != 0, "accepted");
        let text = out.stderr();
        ensure!(
            text.contains("rootless container requires user namespaces"),
            "{text}"
        );
        Ok(())
    })
}

#[test]
fn groups_that_cannot_be_set_are_refused() -> Result<()> {
    at_home(|home| {
        let bundle = home
            .bundle()?
            .set("/process/user/additionalGids", json!([0]));
        let out = home.run(&bundle)?;
        ensure!(out.code() != 0, "accepted");
        let text = out.stderr();
        let said = "cannot set any additional groups in a rootless container";
        ensure!(text.contains(said), "{text}");
        if !home.stage.runtime().is_runc() {
            ensure!(text.contains("process.user.additionalGids: "), "{text}");
        }
        Ok(())
    })
}

#[test]
fn a_limit_without_a_delegated_cgroup_is_refused_and_named() -> Result<()> {
    at_home(|home| {
        let bundle = home.bundle()?.set("/linux/resources/pids/limit", json!(10));
        let out = home.run(&bundle)?;
        ensure!(out.code() != 0, "accepted");
        if !home.stage.runtime().is_runc() {
            let text = out.stderr();
            let said = "rootless needs no limits + no cgrouppath when no permission is granted";
            ensure!(
                text.contains(said) && text.contains("linux.resources.pids.limit"),
                "{text}"
            );
        }
        let bundle = home
            .bundle()?
            .set("/linux/cgroupsPath", json!("/somewhere"));
        ensure!(home.run(&bundle)?.code() != 0, "accepted");
        Ok(())
    })
}

#[test]
fn whoever_says_not_to_be_rootless_needs_a_cgroup() -> Result<()> {
    at_home(|home| {
        let bundle = home.bundle()?;
        let dir = bundle.write()?.to_string_lossy().into_owned();
        let run = |rootless: &str| {
            let id = home.stage.id();
            home.call(&["--rootless", rootless, "run", "--bundle", &dir, &id])
                .run()
        };
        ensure!(run("false")?.code() != 0, "it ran without a cgroup");
        ensure!(run("perhaps")?.code() != 0, "no such word");
        run("true")?.ok()?;
        run("auto")?.ok()?;
        Ok(())
    })
}

/// A cgroup that is the user's, and one in it for the caller; the user's processes start there.
fn delegate(stage: &Stage) -> Result<[String; 2]> {
    let outer = format!("{}/user", stage.cgroup());
    let inner = format!("{outer}/session");
    fs::create_dir_all(cgroup::dir(&inner))?;
    for group in [&outer, &inner] {
        for file in [
            "",
            "cgroup.procs",
            "cgroup.subtree_control",
            "cgroup.threads",
        ] {
            chown(cgroup::dir(group).join(file), Some(USER), Some(USER))?;
        }
    }
    Ok([outer, inner])
}

#[test]
fn in_a_delegated_cgroup_a_user_may_pause_and_count() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 needs systemd for that", |stage| {
        let home = Home::new(stage)?;
        let [outer, inner] = delegate(stage)?;
        let procs = cgroup::dir(&inner).join("cgroup.procs");
        let moved = format!("echo $$ > {}; exec \"$@\"", procs.display());
        let call = |words: &[&str]| home.call(words).under(["sh", "-c", &moved, "sh"]);
        let id = stage.id();
        let bundle = home.bundle()?.args(&["/bin/sleep", "60"]);
        let dir = bundle.write()?.to_string_lossy().into_owned();
        call(&["create", "--bundle", &dir, &id]).run()?.ok()?;
        call(&["start", &id]).run()?.ok()?;
        let own: Vec<_> = cgroup::below(&outer)
            .into_iter()
            .filter(|path| path.to_string_lossy().contains(&id))
            .collect();
        let own = own.first().context("no cgroup of its own")?;
        ensure!(
            fs::read_to_string(own.join("cgroup.procs"))?
                .lines()
                .count()
                == 1,
            "{own:?}"
        );
        fs::write(own.join("cgroup.freeze"), "1")?;
        host::wait_for("the freezer", || {
            let state = call(&["state", &id]).run().and_then(|out| out.ok());
            state.is_ok_and(|state| state.contains("\"paused\""))
        })?;
        let out = call(&["exec", &id, "/bin/true"]).run()?;
        ensure!(
            out.stderr().contains("cannot exec in a paused container"),
            "{}",
            out.stderr()
        );
        fs::write(own.join("cgroup.freeze"), "0")?;
        call(&["exec", &id, "/bin/true"]).run()?.ok()?;
        call(&["delete", "--force", &id]).run()?.ok()?;
        ensure!(!own.exists(), "its cgroup stays");
        cgroup::remove(&stage.cgroup())
    })
}

/// A caller in a cgroup of its own below one that is the user's, with these controllers.
struct Session<'a> {
    home: Home<'a>,
    outer: String,
    moved: String,
}

impl<'a> Session<'a> {
    fn new(stage: &'a Stage) -> Result<Self> {
        let home = Home::new(stage)?;
        let [outer, inner] = delegate(stage)?;
        let mut above = cgroup::dir("");
        for part in outer.split('/').filter(|part| !part.is_empty()) {
            fs::write(above.join("cgroup.subtree_control"), "+memory +pids")
                .with_context(|| format!("hand controllers down in {}", above.display()))?;
            above.push(part);
        }
        let procs = cgroup::dir(&inner).join("cgroup.procs");
        Ok(Self {
            home,
            outer,
            moved: format!("echo $$ > {}; exec \"$@\"", procs.display()),
        })
    }

    fn call(&self, words: &[&str]) -> Call {
        let shell = ["sh", "-c", &self.moved, "sh"];
        self.home.call(words).under(shell)
    }

    fn run(&self, bundle: &Bundle) -> Result<Outcome> {
        let dir = bundle.write()?.to_string_lossy().into_owned();
        let id = self.home.stage.id();
        self.call(&["run", "--bundle", &dir, &id]).run()
    }
}

/// A test where an ordinary user may set limits; runc 1.1 needs systemd for that.
fn with_limits(name: &str, test: impl FnOnce(&Session<'_>) -> Result<()>) -> Result<()> {
    if !["memory", "pids"].into_iter().all(cgroup::has_controller) {
        return host::skip(name, "the machine hands out no limits: see make test-vm");
    }
    on_stage_of_hostrun("runc 1.1 needs systemd for that", |stage| {
        test(&Session::new(stage)?)
    })
}

#[test]
fn in_a_delegated_cgroup_a_users_limits_bite() -> Result<()> {
    with_limits("a user's limits", |session| {
        let limit = json!({"limit": 33_554_432, "swap": 33_554_432});
        let hungry = session
            .home
            .bundle()?
            .set("/linux/resources/memory", limit)
            .shell("exec dd if=/dev/zero of=/dev/null bs=100M count=2");
        assert_eq!(session.run(&hungry)?.code(), 137);
        let forks = session
            .home
            .bundle()?
            .set("/linux/resources/pids/limit", json!(4))
            .shell("for n in 1 2 3 4 5 6 7 8; do sleep 60 & done; echo all");
        let out = session.run(&forks)?;
        ensure!(out.stdout() != "all\n", "it forked as it liked");
        ensure!(out.stderr().contains("fork"), "{}", out.stderr());
        cgroup::remove(&session.home.stage.cgroup())
    })
}

#[test]
fn in_a_delegated_cgroup_a_user_has_every_verb() -> Result<()> {
    with_limits("a user's verbs", |session| {
        let id = session.home.stage.id();
        let bundle = session
            .home
            .bundle()?
            .set("/linux/resources/pids/limit", json!(10))
            .args(&["/bin/sleep", "600"]);
        let dir = bundle.write()?.to_string_lossy().into_owned();
        let call = |words: &[&str]| session.call(words).run()?.ok();
        let status = |wanted: &str| {
            host::wait_for(wanted, || {
                let state = call(&["state", &id]);
                state.is_ok_and(|state| state.contains(&format!("\"{wanted}\"")))
            })
        };
        call(&["create", "--bundle", &dir, &id])?;
        call(&["start", &id])?;
        let own = cgroup::below(&session.outer).into_iter();
        let own: Vec<_> = own
            .filter(|path| path.to_string_lossy().contains(&id))
            .collect();
        let own = own.first().context("no cgroup of its own")?;
        let read = |file: &str| fs::read_to_string(own.join(file));
        assert_eq!(read("pids.max")?, "10\n");
        call(&["pause", &id])?;
        status("paused")?;
        call(&["update", "--pids-limit", "7", "--memory", "64M", &id])?;
        assert_eq!(read("pids.max")?, "7\n");
        assert_eq!(read("memory.max")?, "67108864\n");
        call(&["resume", &id])?;
        status("running")?;
        call(&["exec", &id, "/bin/true"])?;
        let events = call(&["events", "--stats", &id])?;
        ensure!(events.contains("\"limit\":7"), "{events}");
        call(&["kill", &id, "KILL"])?;
        status("stopped")?;
        call(&["delete", &id])?;
        ensure!(!own.exists(), "its cgroup stays");
        cgroup::remove(&session.home.stage.cgroup())
    })
}

/// Names and ranges for the user, over the machine's for the programs a test runs; in the folder `$0`.
const FILES: &str = "
    mount -t tmpfs tmpfs $0 && mkdir $0/upper $0/work &&
    mount -t overlay -o lowerdir=/etc,upperdir=$0/upper,workdir=$0/work overlay /etc &&
    echo 'tester:x:12345:12345::/:/bin/sh' >>/etc/passwd &&
    echo 'tester:200000:65536' >/etc/subuid && cp /etc/subuid /etc/subgid &&
    exec \"$@\"
";

#[test]
fn with_ranges_of_its_own_a_user_maps_more_than_itself() -> Result<()> {
    at_home(|home| {
        let mapping = json!([
            {"containerID": 0, "hostID": USER, "size": 1},
            {"containerID": 1, "hostID": 200_000, "size": 65535}
        ]);
        let bundle = home
            .bundle()?
            .set("/linux/uidMappings", mapping.clone())
            .set("/linux/gidMappings", mapping)
            .set("/process/user", json!({"uid": 1000, "gid": 1000}));
        let bundle = if home.stage.runtime().is_runc() {
            bundle
        } else {
            bundle.set("/process/user/additionalGids", json!([7]))
        };
        let bundle =
            bundle.shell("id -u; id -G; cat /proc/self/setgroups; wc -l </proc/self/uid_map");
        let folder = home.stage.folder("etc")?.to_string_lossy().into_owned();
        let call = home.stage.run_call(&bundle)?.under(AS_USER_WITH_HELPERS);
        let out = call
            .under(["unshare", "--mount", "sh", "-c", FILES, &folder])
            .run()?;
        let groups = if home.stage.runtime().is_runc() {
            "1000"
        } else {
            "1000 7"
        };
        assert_eq!(out.ok()?, format!("1000\n{groups}\nallow\n2\n"));
        Ok(())
    })
}

/// The helpers are setuid programs, which the bounding set must let be root.
const AS_USER_WITH_HELPERS: [&str; 4] = [
    "setpriv",
    "--reuid=12345",
    "--regid=12345",
    "--clear-groups",
];

#[test]
fn ranges_that_are_not_the_users_are_refused() -> Result<()> {
    at_home(|home| {
        let mapping = json!([{"containerID": 0, "hostID": 0, "size": 10}]);
        let bundle = home
            .bundle()?
            .set("/linux/uidMappings", mapping.clone())
            .set("/linux/gidMappings", mapping);
        let call = home.stage.run_call(&bundle)?.under(AS_USER_WITH_HELPERS);
        let out = call.run()?;
        ensure!(out.code() != 0, "accepted");
        if home.stage.runtime().is_runc() {
            return Ok(());
        }

        ensure!(
            out.stderr().contains("newuidmap") || out.stderr().contains("newgidmap"),
            "{}",
            out.stderr()
        );
        Ok(())
    })
}

#[test]
fn a_root_of_a_user_namespace_runs_a_container_in_it() -> Result<()> {
    at_home(|home| {
        let bundle = home.stage.bundle()?;
        host::command("chown", ["-R", "12345:12345"], [bundle.dir()])?;
        let bundle = bundle
            .unset("/linux/cgroupsPath")
            .unset("/linux/resources")
            .without_mount("/dev/pts")
            .without_mount("/sys/fs/cgroup");
        let bundle = bundle.shell("id -u; echo $$; echo x > /dev/null && hostname");
        let nested = ["unshare", "--user", "--map-root-user", "--mount"];
        let call = home.stage.run_call(&bundle)?.under(nested).under(AS_USER);
        assert_eq!(call.run()?.ok()?, "0\n1\nstage\n");
        Ok(())
    })
}
