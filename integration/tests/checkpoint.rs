//! Checkpoint and restore. criu does not work on every kernel: where it does not, what it is told to
//! do is done by `integration/vm/checkpoint`, in the virtual machine.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use hostrun_integration::runtime::Call;
use hostrun_integration::socket::Receiver;
use hostrun_integration::{Bundle, Stage, host, namespace, on_stage, program};
use serde_json::json;

/// Counts in a file of its root as long as it lives. criu knows no files outside of the root.
const COUNTER: &str =
    "exec >/dev/null 2>&1; i=0; while :; do i=$((i+1)); echo $i >/count; sleep 0.05; done";

/// A dump in a machine that is emulated takes seconds.
const PATIENCE: Duration = Duration::from_mins(2);

/// Runs a test where criu works.
fn with_criu(name: &str, test: impl FnOnce(&Stage) -> Result<()>) -> Result<()> {
    let check = Call::new("criu".as_ref(), ["check"]).within(PATIENCE).run();
    let works = check.is_ok_and(|check| check.code() == 0);
    if works {
        return on_stage(test);
    }
    host::skip(name, "criu does not work on this kernel: see make test-vm")
}

/// A bundle that counts. criu of Debian 12 knows the network links of no kernel of today.
fn counter(stage: &Stage) -> Result<Bundle> {
    Ok(stage.bundle()?.shell(COUNTER).without_namespace("network"))
}

fn count(bundle: &Bundle) -> u64 {
    let text = fs::read_to_string(bundle.rootfs().join("count")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Waits until it counts on from where it was.
fn goes_on(bundle: &Bundle, from: u64) -> Result<()> {
    host::wait_for("a counter that goes on", || count(bundle) > from)?;
    ensure!(from == 0 || count(bundle) < from + 1000, "it began anew");
    Ok(())
}

/// `restore --detach` into a new container, which is returned by its name.
fn restore(stage: &Stage, bundle: &Bundle, images: &str) -> Result<String> {
    let (id, dir) = (stage.id(), bundle.dir().to_string_lossy().into_owned());
    let pid_file = stage.dir().join(format!("{id}.pid"));
    let pid_path = pid_file.to_string_lossy().into_owned();
    let words = [
        "restore",
        "--detach",
        "--bundle",
        &dir,
        "--image-path",
        images,
    ];
    let words = [&words[..], &["--pid-file", &pid_path, &id]].concat();
    stage.call(&words).within(PATIENCE).run()?.ok()?;
    let state = stage.call(["state", &id]).run()?.ok()?;
    let state: serde_json::Value = serde_json::from_str(&state)?;
    let value = |key: &str| state.get(key).map(ToString::to_string);
    assert_eq!(value("status").as_deref(), Some("\"running\""));
    let pid = fs::read_to_string(&pid_file)?;
    assert_eq!(value("pid").as_deref(), Some(pid.trim()));
    Ok(id)
}

fn images(stage: &Stage, name: &str) -> String {
    stage.dir().join(name).to_string_lossy().into_owned()
}

#[test]
fn a_container_goes_on_where_it_was_dumped() -> Result<()> {
    with_criu("a_container_goes_on_where_it_was_dumped", |stage| {
        let volume = stage.folder("volume")?;
        fs::write(volume.join("file"), "of the machine\n")?;
        let bundle = counter(stage)?.bind(&volume, "/data", &["rbind", "rw"]);
        let container = stage.start(&bundle)?;
        goes_on(&bundle, 5)?;
        let images = images(stage, "images");
        let words = ["checkpoint", "--image-path", &images, &container.id];
        stage.call(words).within(PATIENCE).run()?.ok()?;
        ensure!(
            stage.call(["state", &container.id]).run()?.code() != 0,
            "it is still there"
        );
        let dumped = count(&bundle);
        let id = restore(stage, &bundle, &images)?;
        goes_on(&bundle, dumped)?;
        // everything of a container works on it
        let exec = |words: &[&str]| stage.call([&["exec", &id], words].concat()).run();
        assert_eq!(exec(&["cat", "/data/file"])?.ok()?, "of the machine\n");
        assert_eq!(
            exec(&["readlink", "/proc/1/ns/pid"])?.ok()?,
            exec(&["readlink", "/proc/self/ns/pid"])?.ok()?
        );
        for verb in ["pause", "resume"] {
            stage.call([verb, &id]).run()?.ok()?;
        }
        let ps = stage.call(["ps", "--format", "json", &id]).run()?.ok()?;
        let pids: Vec<i32> = serde_json::from_str(&ps)?;
        ensure!(!pids.is_empty(), "nobody in its cgroup");
        ensure!(
            namespace::of(pids[0], "pid")? != namespace::own("pid")?,
            "restored into the machine's own namespaces"
        );
        stage.call(["delete", "--force", &id]).run()?.ok().map(drop)
    })
}

#[test]
fn a_container_that_is_left_running_can_be_dumped_twice() -> Result<()> {
    with_criu(
        "a_container_that_is_left_running_can_be_dumped_twice",
        |stage| {
            let bundle = counter(stage)?;
            let container = stage.start(&bundle)?;
            goes_on(&bundle, 1)?;
            let (first, second) = (images(stage, "first"), images(stage, "second"));
            let dump = |flags: &[&str]| {
                let words = [&["checkpoint"], flags, &[container.id.as_str()]].concat();
                stage.call(words).within(PATIENCE).run()?.ok()
            };
            dump(&["--pre-dump", "--image-path", &first])?;
            goes_on(&bundle, count(&bundle))?;
            let work = images(stage, "work");
            dump(&[
                "--leave-running",
                "--image-path",
                &second,
                "--parent-path",
                "../first",
                "--work-path",
                &work,
            ])?;
            ensure!(
                stage.dir().join("work/dump.log").exists(),
                "no log in the work path"
            );
            goes_on(&bundle, count(&bundle))?;
            container.delete()?;
            let id = restore(stage, &bundle, &second)?;
            goes_on(&bundle, count(&bundle))?;
            stage.call(["delete", "--force", &id]).run()?.ok().map(drop)
        },
    )
}

#[test]
fn what_cannot_be_dumped_or_restored_is_an_error_and_leaves_all_as_it_was() -> Result<()> {
    on_stage(|stage| {
        let images = images(stage, "images");
        let container = stage.create(&stage.bundle()?.shell("sleep 60"))?;
        let dump = |flags: &[&str]| {
            let words = [
                &["checkpoint", "--image-path", &images],
                flags,
                &[container.id.as_str()],
            ];
            stage.call(words.concat()).within(PATIENCE).run()
        };
        let refused = |flags: &[&str], words: &str| -> Result<()> {
            let out = dump(flags)?;
            ensure!(out.code() == 1, "{flags:?}: exit code {}", out.code());
            ensure!(out.stderr().contains(words), "{flags:?}: {}", out.stderr());
            Ok(())
        };
        refused(&[], "Container cannot be checkpointed in created state")?;
        container.start()?;
        refused(
            &["--page-server", "nowhere"],
            "Use --page-server ADDRESS:PORT to specify page server",
        )?;
        refused(&["--empty-ns", "pid"], "is not supported")?;
        refused(&["--manage-cgroups-mode", "odd"], "manage")?;
        refused(&["--parent-path", "/tmp"], "--parent-path must be relative")?;
        assert_eq!(container.state()?["status"], "running");
        let nobody = stage
            .call(["checkpoint", "--image-path", &images, "nobody"])
            .run()?;
        ensure!(
            nobody.stderr().contains("container does not exist"),
            "{nobody:?}"
        );
        container.delete()
    })
}

#[test]
fn a_criu_that_is_missing_or_fails_is_named_with_its_log() -> Result<()> {
    on_stage(|stage| {
        let folder = stage.folder("bin")?;
        let images = images(stage, "images");
        let container = stage.start(&stage.bundle()?.shell("sleep 60"))?;
        let with = |path: &str| {
            let path = format!("PATH={path}");
            let words = ["checkpoint", "--image-path", &images, &container.id];
            stage
                .call(words)
                .under(["env", &path])
                .within(PATIENCE)
                .run()
        };
        let missing = with(&folder.to_string_lossy())?;
        ensure!(missing.code() == 1, "{missing:?}");
        ensure!(
            missing.stderr().contains("criu") && missing.stderr().contains("not found"),
            "{missing:?}"
        );
        if !stage.runtime().is_runc() {
            // one that ends at once, as when it was built for another machine
            let criu = folder.join("criu");
            program::write(&criu, 0o755, "#!/bin/sh\nexit 3\n")?;
            let failed = with(&format!("{}:/bin", folder.display()))?;
            ensure!(failed.code() == 1, "{failed:?}");
            ensure!(
                failed.stderr().contains("criu failed") && failed.stderr().contains("dump.log"),
                "{failed:?}"
            );
        }
        assert_eq!(container.state()?["status"], "running");
        container.delete()
    })
}

#[test]
fn cve_2026_53492_images_of_a_stranger_are_data() -> Result<()> {
    hostrun_integration::on_stage_of_hostrun("runc writes its log through a link", |stage| {
        let bundle = stage.bundle()?.shell("sleep 60");
        let victim = stage.dir().join("victim");
        fs::write(&victim, "precious\n")?;
        let images = stage.folder("images")?;
        let dir = bundle.write()?.to_string_lossy().into_owned();
        let restore = || {
            let path = images.to_string_lossy().into_owned();
            let words = [
                "restore",
                "--detach",
                "--bundle",
                &dir,
                "--image-path",
                &path,
                &stage.id(),
            ];
            stage.call(words).within(PATIENCE).run()
        };
        for name in [
            "restore.log",
            "descriptors.json",
            "inventory.img",
            "pages-1.img",
        ] {
            std::os::unix::fs::symlink(&victim, images.join(name))?;
            let out = restore()?;
            ensure!(out.code() != 0, "{name}: restored");
            ensure!(
                out.stderr().contains("only plain files belong there"),
                "{name}: {}",
                out.stderr()
            );
            fs::remove_file(images.join(name))?;
        }
        // annotations of an archive are not asked for, and what is no pipe is not opened
        fs::write(
            images.join("config.dump"),
            json!({"annotations": {"org.criu.config": victim}}).to_string(),
        )?;
        fs::write(
            images.join("descriptors.json"),
            json!([victim, victim, victim]).to_string(),
        )?;
        ensure!(restore()?.code() != 0, "restored from nothing");
        assert_eq!(fs::read_to_string(&victim)?, "precious\n");
        Ok(())
    })
}

#[test]
fn hooks_of_the_host_run_for_what_was_dumped() -> Result<()> {
    with_criu("hooks_of_the_host_run_for_what_was_dumped", |stage| {
        let told = stage.dir().join("told");
        let hook = |kind: &str| {
            let script = format!("(echo {kind}; cat; echo) >> {}", told.display());
            json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
        };
        let mut bundle = counter(stage)?;
        for kind in ["prestart", "createRuntime", "poststop"] {
            bundle = bundle.set(&format!("/hooks/{kind}"), hook(kind));
        }
        let container = stage.start(&bundle)?;
        goes_on(&bundle, 1)?;
        let images = images(stage, "images");
        let words = ["checkpoint", "--image-path", &images, &container.id];
        stage.call(words).within(PATIENCE).run()?.ok()?;
        fs::write(&told, "")?;
        let id = restore(stage, &bundle, &images)?;
        goes_on(&bundle, count(&bundle))?;
        stage.call(["delete", "--force", &id]).run()?.ok()?;
        let told = fs::read_to_string(&told)?;
        let kinds = told
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('{'));
        let kinds: Vec<&str> = kinds.collect();
        assert_eq!(kinds, ["prestart", "createRuntime", "poststop"], "{told}");
        ensure!(told.contains(&format!("\"id\":\"{id}\"")), "{told}");
        Ok(())
    })
}

#[test]
fn a_terminal_that_was_dumped_comes_back_over_the_socket() -> Result<()> {
    with_criu("a_terminal_that_was_dumped_comes_back", |stage| {
        let script = "i=0; while :; do i=$((i+1)); echo at $i; echo $i >/count; sleep 0.05; done";
        let bundle = stage
            .bundle()?
            .shell(script)
            .without_namespace("network")
            .set("/process/terminal", json!(true));
        let dir = bundle.write()?.to_string_lossy().into_owned();
        let first = Receiver::listen(&stage.dir().join("first"))?;
        let path = first.path();
        let id = stage.id();
        let words = ["run", "--detach", "--bundle", &dir, "--console-socket"];
        let words = [&words[..], &[&path, &id]].concat();
        stage.call(words).run()?.ok()?;
        let (_, master) = first.receive()?;
        goes_on(&bundle, 1)?;
        let images = images(stage, "images");
        let words = ["checkpoint", "--image-path", &images, &id];
        stage.call(words).within(PATIENCE).run()?.ok()?;
        drop(master);
        let dumped = count(&bundle);
        let second = Receiver::listen(&stage.dir().join("second"))?;
        let path = second.path();
        let id = stage.id();
        let words = ["restore", "--detach", "--bundle", &dir, "--image-path"];
        let words = [&words[..], &[&images, "--console-socket", &path, &id]].concat();
        stage.call(words).within(PATIENCE).run()?.ok()?;
        let (_, master) = second.receive()?;
        let mut seen = [0_u8; 64];
        let length = rustix::io::read(&master, &mut seen)?;
        let seen = String::from_utf8_lossy(seen.get(..length).unwrap_or_default()).into_owned();
        ensure!(seen.contains("at "), "{seen:?}");
        goes_on(&bundle, dumped)?;
        stage.call(["delete", "--force", &id]).run()?.ok().map(drop)
    })
}
