//! Images of an ordinary user, and the containers made from them: no privilege over the machine, but ids of
//! its own from `/etc/subuid`.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::ordinary::{Ordinary, USER};
use hostrun_integration::runtime::Call;
use hostrun_integration::{Outcome, Stage, cgroup, host, on_stage_of_hostrun};

/// The name images here get.
const BOX: &str = "layout:latest";

/// Of a user who has loaded an image.
fn with_image(stage: &Stage) -> Result<Ordinary<'_>> {
    let user = Ordinary::new(stage)?;
    load(&user, &Image::new(stage.dir())?)?;
    Ok(user)
}

fn load(user: &Ordinary<'_>, image: &Image) -> Result<()> {
    user.ok(&["load", "-q", &shown(image)?]).map(drop)
}

fn run(user: &Ordinary<'_>, flags: &[&str], script: &str) -> Result<Outcome> {
    let words = [&["run", "--rm"], flags, &[BOX, "sh", "-c", script]].concat();
    user.call(&words).run()
}

/// An image that the user may read.
fn shown(image: &Image) -> Result<String> {
    host::command("chmod", ["-R", "a+rX"], [image.layout()])?;
    Ok(image.source())
}

fn as_user(test: impl FnOnce(&Ordinary<'_>) -> Result<()>) -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| test(&with_image(stage)?))
}

#[test]
fn an_ordinary_user_leads_an_image_and_its_containers_through_their_lives() -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let user = Ordinary::new(stage)?;
        let image = Image::new(stage.dir())?;
        // where things are when nobody says so
        let home = stage.root().join("home").to_string_lossy().into_owned();
        let runtime = stage.root().join("session").to_string_lossy().into_owned();
        for dir in [&home, &runtime] {
            fs::create_dir(dir)?;
            chown(dir, Some(USER), Some(USER))?;
        }
        let (home_is, runtime_is) = (format!("HOME={home}"), format!("XDG_RUNTIME_DIR={runtime}"));
        let ok = |words: &[&str]| -> Result<String> {
            let env = ["env", "-i", "PATH=/usr/bin:/bin", &home_is, &runtime_is];
            user.under(stage.runtime().call(words).under(env))
                .run()?
                .ok()
        };
        ok(&["load", "-q", &shown(&image)?])?;
        ensure!(ok(&["images"])?.contains("layout"), "no image");
        let script =
            "id -u; cat /opt/kept; ls /opt; echo x >/dev/null && cat /sys/class/net/lo/operstate";
        let text = ok(&["run", "--rm", BOX, "sh", "-c", script])?;
        assert_eq!(text, "0\nfrom the second layer\nkept\nunknown\n");
        let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done";
        ok(&["run", "-d", "--name", "web", BOX, "sh", "-c", script])?;
        host::wait_for("the first line", || {
            ok(&["logs", "web"]).is_ok_and(|text| text.contains("ready"))
        })?;
        ensure!(ok(&["ps"])?.contains("Up "), "it does not run");
        assert_eq!(ok(&["exec", "web", "hostname"])?.trim().len(), 12);
        assert_eq!(ok(&["exec", "--user", "7:8", "web", "id", "-u"])?, "7\n");
        ensure!(
            ok(&["inspect", "web"])?.contains("\"running\": true"),
            "not running"
        );
        ok(&["stop", "web"])?;
        ensure!(ok(&["logs", "web"])?.contains("bye"), "it was not asked");
        ensure!(ok(&["ps", "-a"])?.contains("Exited (3)"), "no status");
        ok(&["rm", "web"])?;
        ok(&["verify"])?;
        ok(&["rmi", BOX])?;
        ok(&["prune"])?;
        let store = Path::new(&home).join(".local/share/hostrun/store");
        assert_eq!(fs::metadata(&store)?.permissions().mode() & 0o7777, 0o700);
        assert_eq!(fs::read_dir(store.join("layers"))?.count(), 0);
        let state = Path::new(&runtime).join("hostrun");
        assert_eq!(fs::metadata(&state)?.permissions().mode() & 0o7777, 0o700);
        Ok(())
    })
}

/// A folder with files of several owners.
fn owned(stage: &Stage) -> Result<PathBuf> {
    let folder = stage.folder("owned")?;
    for (name, uid, gid, mode) in [
        ("a", 0, 0, 0o4755),
        ("b", 33, 44, 0o640),
        ("c", 65534, 7, 0o600),
    ] {
        let path = folder.join(name);
        fs::write(&path, name)?;
        chown(&path, Some(uid), Some(gid))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    Ok(folder)
}

fn umoci(image: &Image, words: &[&str]) -> Result<()> {
    let name = format!("{}:latest", image.layout());
    let words = ["insert", "--image", name.as_str()]
        .into_iter()
        .chain(words.iter().copied());
    Call::new(Path::new("umoci"), words).run()?.ok().map(drop)
}

#[test]
fn the_files_of_an_image_have_their_owners_and_what_it_removed_is_gone() -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let user = Ordinary::new(stage)?;
        let image = Image::new(stage.dir())?;
        let folder = owned(stage)?;
        let folder = folder.to_string_lossy();
        image.insert(Path::new(&*folder), "/srv")?;
        image.insert(Path::new(&*folder), "/opt/old")?;
        umoci(&image, &["--opaque", &folder, "/opt"])?;
        umoci(&image, &["--whiteout", "/srv/b"])?;
        load(&user, &image)?;
        let look = "stat -c '%n %u:%g %a' /srv/* /opt/*; cat /srv/c";
        let seen = "/srv/a 0:0 4755\n/srv/c 65534:7 600\n/opt/a 0:0 4755\n/opt/b 33:44 640\n/opt/c 65534:7 600\nc";
        assert_eq!(run(&user, &[], look)?.ok()?, seen);
        // what a container removes is as gone, and a directory it makes anew is empty
        let change =
            "rm -r /opt /srv/a && mkdir /opt && echo x >/opt/x && chown 5:6 /opt/x && ls /opt /srv";
        assert_eq!(run(&user, &[], change)?.ok()?, "/opt:\nx\n\n/srv:\nc\n");
        user.ok(&["verify"])?;
        // out of the store comes what went in
        let saved = stage
            .root()
            .join("saved.tar")
            .to_string_lossy()
            .into_owned();
        user.ok(&["save", "-o", &saved, BOX])?;
        assert_eq!(fs::metadata(&saved)?.uid(), USER);
        Ok(())
    })
}

#[test]
fn devices_of_a_layer_are_left_out_and_given_back() -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let user = Ordinary::new(stage)?;
        let image = Image::new(stage.dir())?;
        let folder = stage.folder("devices")?;
        let null = folder.join("null").to_string_lossy().into_owned();
        host::command("mknod", [null.as_str(), "c", "1", "3"], [] as [&str; 0])?;
        let covered = stage.folder("covered")?;
        fs::write(covered.join("null"), "of the layer below")?;
        image.insert(&covered, "/srv")?;
        image.insert(&folder, "/srv")?;
        let out = user.call(&["load", "-q", &shown(&image)?]).run()?;
        ensure!(out.stderr().contains("left out"), "{}", out.stderr());
        assert_eq!(run(&user, &[], "ls /srv; echo x >/dev/null")?.ok()?, "");
        user.ok(&["verify"])?;
        Ok(())
    })
}

/// What a container says of the user's namespace.
const WHERE: &str = "readlink /proc/self/ns/user; tr -s ' ' </proc/self/uid_map";

#[test]
fn all_containers_of_a_user_are_in_one_namespace_whoever_comes_first() -> Result<()> {
    as_user(|user| {
        let script = format!("{WHERE}; sleep 2");
        let words = ["run", "--rm", BOX, "sh", "-c", &script];
        let started = (0..4).map(|_| user.call(&words).spawn());
        let started: Vec<_> = started.collect::<Result<_>>()?;
        let said = started.into_iter().map(|call| call.wait()?.ok());
        let said: Vec<String> = said.collect::<Result<_>>()?;
        let map = "\n 0 12345 1\n 1 200000 65536\n";
        ensure!(
            said.iter()
                .all(|text| *text == said[0] && text.ends_with(map)),
            "{said:?}"
        );
        Ok(())
    })
}

#[test]
fn a_verb_reaches_a_container_whose_maker_is_gone_and_begins_anew_when_all_are() -> Result<()> {
    as_user(|user| {
        for _ in 0..2 {
            user.ok(&["run", "-d", "--name", "one", BOX, "sleep", "600"])?;
            // nobody but the container itself is left in the namespace
            for (pid, what) in host::processes_with(" monitor ")? {
                if what.contains(&*user.stage.store().to_string_lossy()) {
                    host::command("kill", ["-KILL"], [pid.to_string()])?;
                }
            }
            let inside = user.ok(&["exec", "one", "sh", "-c", WHERE])?;
            assert_eq!(run(user, &[], WHERE)?.ok()?, inside);
            user.ok(&["rm", "-f", "one"])?;
        }
        Ok(())
    })
}

#[test]
fn a_container_leads_nobody_into_a_namespace_of_its_own() -> Result<()> {
    as_user(|user| {
        let flags = [
            "--cap-add",
            "SYS_ADMIN",
            "--security-opt",
            "seccomp=unconfined",
        ];
        let start = ["run", "-d", "--name", "trap"];
        let program = [
            BOX,
            "sh",
            "-c",
            "readlink /proc/self/ns/user; exec unshare -U sleep 600",
        ];
        user.ok(&[&start[..], &flags, &program].concat())?;
        host::wait_for("another namespace", || {
            let seen = user.ok(&["exec", "trap", "readlink", "/proc/1/ns/user"]);
            let first = user.ok(&["logs", "trap"]).unwrap_or_default();
            seen.is_ok_and(|seen| !seen.is_empty() && !first.contains(seen.trim()))
        })?;
        let first = user.ok(&["logs", "trap"])?;
        assert_eq!(run(user, &[], "readlink /proc/self/ns/user")?.ok()?, first);
        user.ok(&["rm", "-f", "trap"])?;
        Ok(())
    })
}

#[test]
fn a_user_without_ranges_hears_what_is_missing() -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let mut user = Ordinary::new(stage)?;
        let owned = Image::new(stage.dir())?;
        owned.insert(&self::owned(stage)?, "/srv")?;
        let source = shown(&owned)?;
        for (ranges, why) in [
            ("other:200000:65536", "/etc/subuid gives it no ids"),
            ("tester:200000:65536x", "no range of ids"),
            ("tester:200000:40", "too few ids"),
        ] {
            user.give(ranges);
            let out = user.call(&["load", &source]).run()?;
            let text = out.stderr();
            ensure!(out.code() == 125 && text.contains(why), "{ranges}: {text}");
        }
        user.give("other:200000:65536");
        user.ok(&["ps"])?;
        ensure!(user.ok(&["run", "--help"])?.contains("--detach"));
        Ok(())
    })
}

#[test]
fn root_is_root_whatever_the_environment_says() -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let image = Image::new(stage.dir())?;
        let env = [
            "env",
            "HOME=/nowhere",
            "XDG_DATA_HOME=/nowhere",
            "XDG_RUNTIME_DIR=/nowhere",
            "USER=tester",
        ];
        let source = image.source();
        let words = [
            "run",
            "--rm",
            &source,
            "sh",
            "-c",
            "tr -s ' ' </proc/self/uid_map",
        ];
        let call = stage.call(words).under(env);
        assert_eq!(call.run()?.ok()?, " 0 0 4294967295\n");
        ensure!(!Path::new("/nowhere").exists());
        Ok(())
    })
}

#[test]
fn what_root_alone_may_have_is_refused_or_told() -> Result<()> {
    as_user(|user| {
        let out = run(user, &["--pids-limit", "10"], "true")?;
        ensure!(
            out.code() == 125 && out.stderr().contains("rootless needs no limits"),
            "{}",
            out.stderr()
        );
        let source = shown(&Image::new(&user.stage.folder("again")?)?)?;
        let words = ["--storage-driver", "erofs", "load", "-q", &source];
        user.ok(&["rmi", BOX])?;
        let out = user.call(&words).run()?;
        ensure!(
            out.code() == 0 && out.stderr().contains("directories"),
            "{}",
            out.stderr()
        );
        assert_eq!(run(user, &[], "id -u")?.ok()?, "0\n");
        Ok(())
    })
}

#[test]
fn a_user_has_the_hosts_network_volumes_and_an_init() -> Result<()> {
    as_user(|user| {
        let out = run(
            user,
            &["--network", "host"],
            "ls -d /sys/class/net/lo && id -u",
        )?;
        assert_eq!(out.ok()?, "/sys/class/net/lo\n0\n");
        let script = "test -d /proc/$PPID && id -u && ls /dev/shm >/dev/null";
        let out = run(user, &["--pid", "host", "--ipc", "host"], script)?;
        assert_eq!(out.ok()?, "0\n");
        let shared = user.stage.folder("shared")?;
        chown(&shared, Some(USER), Some(USER))?;
        let volume = format!("{}:/data", shared.display());
        let flags = ["--init", "-v", &volume, "-v", "/own"];
        let out = run(
            user,
            &flags,
            "touch /data/x /own/y && chown 5 /data/x && echo $$",
        )?;
        ensure!(out.ok()?.trim() != "1", "no init");
        assert_eq!(fs::metadata(shared.join("x"))?.uid(), 200_004);
        let groups = run(user, &[], "id -G; id -G -n >/dev/null")?;
        assert_eq!(groups.ok()?, "0\n");
        Ok(())
    })
}

#[test]
fn state_and_store_are_out_of_a_containers_reach() -> Result<()> {
    as_user(|user| {
        let root = user.stage.root();
        let [root, store] =
            [root, user.stage.store()].map(|dir| dir.to_string_lossy().into_owned());
        let script = format!("ls -d {root} {store} /proc/1/root{store} 2>/dev/null; echo none");
        assert_eq!(run(user, &[], &script)?.ok()?, "none\n");
        let list = Path::new(&root).join("@namespace");
        let list = fs::metadata(&list).context("nobody was written down")?;
        assert_eq!(
            (list.uid(), list.permissions().mode() & 0o777),
            (USER, 0o600)
        );
        Ok(())
    })
}

#[test]
fn below_a_delegated_cgroup_a_users_container_has_its_own() -> Result<()> {
    as_user(|user| {
        let outer = format!("{}/user", user.stage.cgroup());
        let inner = format!("{outer}/session");
        fs::create_dir_all(cgroup::dir(&inner))?;
        let limited = ["memory", "pids"].into_iter().all(cgroup::has_controller);
        let mut above = cgroup::dir("");
        for part in outer.split('/').filter(|part| limited && !part.is_empty()) {
            fs::write(above.join("cgroup.subtree_control"), "+memory +pids")?;
            above.push(part);
        }
        for group in [&outer, &inner] {
            for file in ["", "cgroup.procs", "cgroup.subtree_control"] {
                chown(cgroup::dir(group).join(file), Some(USER), Some(USER))?;
            }
        }
        let procs = cgroup::dir(&inner).join("cgroup.procs");
        let moved = format!("echo $$ > {}; exec \"$@\"", procs.display());
        let ok = |words: &[&str]| {
            let call = user.call(words).under(["sh", "-c", &moved, "sh"]);
            call.run()?.ok()
        };
        let limits: &[&str] = if limited { &["--pids-limit", "7"] } else { &[] };
        let start = ["run", "-d", "--name", "own"];
        let id = ok(&[&start[..], limits, &[BOX, "sleep", "600"]].concat())?;
        let own = cgroup::dir(&outer).join(format!("hostrun-{}", id.trim()));
        let members = fs::read_to_string(own.join("cgroup.procs"))?;
        assert_eq!(members.lines().count(), 1);
        if limited {
            assert_eq!(fs::read_to_string(own.join("pids.max"))?, "7\n");
        }
        ok(&["exec", "own", "true"])?;
        ok(&["rm", "-f", "own"])?;
        ensure!(!own.exists(), "its cgroup stays");
        ok(&["run", "--rm", "--cgroups", "split", BOX, "true"])?;
        ensure!(cgroup::dir(&inner).join("supervisor").exists());
        cgroup::remove(&user.stage.cgroup())
    })
}
