//! Hooks that fail, hang, kill or keep everybody waiting, and what becomes of their container. Config
//! "POSIX-platform Hooks", runtime "Lifecycle".

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use hostrun_integration::hook::{KINDS, gone, noted, read, shell, with};
use hostrun_integration::host::wait_for;
use hostrun_integration::refusal::refused;
use hostrun_integration::{on_stage, on_stage_of_hostrun};
use serde_json::{Value, json};

#[test]
fn the_failing_hook_is_named_and_nothing_of_the_container_is_left() -> Result<()> {
    on_stage(|stage| {
        for verb in ["create", "run"] {
            for kind in &KINDS[..5] {
                if verb == "create" && ["startContainer", "poststart"].contains(kind) {
                    continue;
                }
                let (bundle, notes) = noted(stage)?;
                let after = notes.join("after");
                let late = format!("echo ran >>{}", after.display());
                let stopped = format!("cat >{}/stopped", notes.display());
                let bundle = with(bundle, kind, json!({"path": "/bin/true"}));
                let bundle = with(bundle, kind, shell("echo told you >&2; exit 3"));
                let bundle = with(bundle, kind, shell(&late));
                let bundle = with(bundle, "poststop", shell(&stopped)).shell("sleep 60");
                let dir = bundle.write()?.to_string_lossy().into_owned();
                let out = stage.call([verb, "--bundle", &dir, &stage.id()]).run()?;
                let code = if verb == "run" { 125 } else { 1 };
                let line = refused(stage, kind, &out, code)?;
                let words = format!("error running {kind} hook #1: exit status 3");
                // runc 1.1 does not say which kind, later ones do
                ensure!(
                    stage.runtime().is_runc() || line.contains(&words),
                    "{verb}: {line}"
                );
                ensure!(line.contains("told you"), "{verb} {kind}: {line}");
                ensure!(!after.exists(), "{verb} {kind}: the hook after it ran");
                ensure!(
                    notes.join("stopped").exists(),
                    "{verb} {kind}: no poststop hook ran"
                );
                fs::remove_dir_all(&notes)?;
                gone(stage, &bundle, kind)?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_hook_that_cannot_run_says_why() -> Result<()> {
    on_stage(|stage| {
        let plain = stage.dir().join("plain");
        fs::write(&plain, "#!/bin/sh\n")?;
        let plain = plain.to_string_lossy().into_owned();
        for (path, words) in [
            ("/no/such/hook", "no such file or directory"),
            (plain.as_str(), "permission denied"),
            ("/etc", "permission denied"),
        ] {
            for kind in &KINDS[..5] {
                let inside = *kind == "startContainer";
                if inside && path == plain {
                    continue;
                }
                let bundle = with(stage.bundle()?, kind, json!({"path": path}));
                let line = refused(stage, kind, &stage.run(&bundle.shell("sleep 60"))?, 125)?;
                ensure!(line.contains(words), "{kind} {path}: {line}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_hook_that_hangs_is_killed_with_what_it_started_when_its_time_is_up() -> Result<()> {
    on_stage_of_hostrun("runc waits for whatever holds a hook's output", |stage| {
        for kind in &KINDS[..5] {
            let (bundle, notes) = noted(stage)?;
            let script = format!("sleep 600 & echo $! >{}/pid; wait", notes.display());
            let mut hook = shell(&script);
            hook["timeout"] = json!(1);
            let bundle = with(bundle, kind, hook).shell("sleep 60");
            let begun = std::time::Instant::now();
            let line = refused(stage, kind, &stage.run(&bundle)?, 125)?;
            let took = begun.elapsed().as_secs();
            ensure!((1..20).contains(&took), "{kind}: it took {took} s");
            let words = format!("error running {kind} hook #0: ");
            ensure!(
                line.contains(&words) && line.contains("hook ran past specified timeout of 1.0s"),
                "{kind}: {line}"
            );
            let pid = read(&notes, "pid")?;
            // that of a process inside is another one's here
            let inside = kind.ends_with("Container");
            let gone = || inside || !Path::new("/proc").join(pid.trim()).join("exe").exists();
            wait_for("the end of what the hook started", gone)?;
        }
        Ok(())
    })
}

#[test]
fn hooks_that_are_wrong_are_refused_by_their_path_in_the_config() -> Result<()> {
    on_stage_of_hostrun("runc takes a relative path and no time at all", |stage| {
        let mut bundle = stage.bundle()?.shell("echo it ran");
        for kind in KINDS {
            bundle = with(bundle, kind, json!({"path": "/bin/true"}));
            bundle = with(bundle, kind, json!({"path": "bin/true", "timeout": 0}));
        }
        let line = refused(stage, "hooks", &stage.run(&bundle)?, 125)?;
        for kind in KINDS {
            for key in ["path", "timeout"] {
                let path = format!("hooks.{kind}[1].{key}: ");
                ensure!(line.contains(&path), "no {path}: {line}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_poststart_hook_that_fails_ends_the_container() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 lets it live, later ones do not", |stage| {
        let (bundle, notes) = noted(stage)?;
        let stopped = format!("echo stopped >>{}/stopped", notes.display());
        let bundle = with(bundle, "poststart", json!({"path": "/bin/false"}));
        let bundle = with(bundle, "poststop", shell(&stopped)).shell("sleep 600");
        let container = stage.create(&bundle)?;
        let out = container.call("start", &[])?;
        let line = refused(stage, "start", &out, 1)?;
        ensure!(
            line.contains("error running poststart hook #0: exit status 1"),
            "{line}"
        );
        ensure!(
            container.call("state", &[])?.code() != 0,
            "it is still there"
        );
        assert_eq!(read(&notes, "stopped")?, "stopped\n");
        gone(stage, &bundle, "start")
    })
}

#[test]
fn all_poststop_hooks_run_and_their_failures_are_warnings() -> Result<()> {
    on_stage(|stage| {
        let (bundle, notes) = noted(stage)?;
        let script = format!("echo ran >>{}/stopped", notes.display());
        let bundle = with(bundle, "poststop", json!({"path": "/bin/false"}));
        let bundle = with(bundle, "poststop", json!({"path": "/no/such"}));
        let bundle = with(bundle, "poststop", shell(&script));
        let container = stage.start(&bundle.clone().shell("sleep 60"))?;
        container.kill("KILL")?;
        container.wait_until("stopped")?;
        let warned = |what: &str, text: &str| -> Result<()> {
            if stage.runtime().is_runc() {
                return Ok(());
            }
            for words in [
                "warning: error running poststop hook #0: poststop hook failed with exit code 1",
                "warning: error running poststop hook #1: no such file or directory",
            ] {
                ensure!(text.contains(words), "{what}: {text}");
            }
            Ok(())
        };
        let delete = container.call("delete", &[])?;
        delete.ok()?;
        warned("delete", &delete.stderr())?;
        let run = stage.run(&bundle.clone().shell("exit 7"))?;
        assert_eq!(run.code(), 7, "{}", run.stderr());
        warned("run", &run.stderr())?;
        // runc 1.1 stops at the first that fails
        ensure!(
            stage.runtime().is_runc() || read(&notes, "stopped")? == "ran\nran\n",
            "the last hook did not run each time"
        );
        gone(stage, &bundle, "poststop")
    })
}

#[test]
fn a_container_is_seen_to_be_created_while_its_hooks_run_and_nobody_gets_in() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 says that there is no such container", |stage| {
        for kind in ["createRuntime", "createContainer"] {
            let (bundle, notes) = noted(stage)?;
            let (begun, go) = (notes.join("begun"), notes.join("go"));
            let wait = format!(
                "echo >{}; until [ -e {} ]; do sleep 0.05; done",
                begun.display(),
                go.display()
            );
            let bundle = with(bundle, kind, shell(&wait)).shell("sleep 60");
            let (id, dir) = (stage.id(), bundle.write()?.to_string_lossy().into_owned());
            let create = stage.call(["create", "--bundle", &dir, &id]).spawn()?;
            wait_for("the hook", || begun.exists())?;
            let state: Value = serde_json::from_str(&stage.call(["state", &id]).run()?.ok()?)?;
            assert_eq!(state["status"], "creating", "{kind}");
            ensure!(state["pid"].as_i64().is_some_and(|pid| pid > 0), "{state}");
            ensure!(stage.call(["list"]).run()?.ok()?.contains("creating"));
            for words in [
                &["start", &id][..],
                &["exec", &id, "true"],
                &["kill", &id, "KILL"],
                &["delete", &id],
            ] {
                let out = stage.call(words).run()?;
                ensure!(out.code() != 0, "{kind}: {words:?} went through");
            }
            fs::write(&go, "")?;
            create.wait()?.ok()?;
            let state: Value = serde_json::from_str(&stage.call(["state", &id]).run()?.ok()?)?;
            assert_eq!(state["status"], "created");
            stage.call(["delete", "--force", &id]).run()?.ok()?;
            fs::remove_dir_all(&notes)?;
        }
        Ok(())
    })
}

#[test]
fn a_container_can_be_deleted_by_force_while_its_hooks_hang() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 knows no container then", |stage| {
        for kind in ["prestart", "createContainer"] {
            let (bundle, notes) = noted(stage)?;
            let begun = notes.join("begun");
            let hang = format!("echo $$ >{}; exec sleep 600", begun.display());
            let bundle = with(bundle, kind, shell(&hang)).shell("sleep 60");
            let (id, dir) = (stage.id(), bundle.write()?.to_string_lossy().into_owned());
            let create = stage.call(["create", "--bundle", &dir, &id]).spawn()?;
            wait_for("the hook", || begun.exists())?;
            stage.call(["delete", "--force", &id]).run()?.ok()?;
            gone(stage, &bundle, kind)?;
            if kind == "prestart" {
                // its maker still waits for the hook, and dies with it when told
                create.signal(rustix::process::Signal::KILL)?;
            }
            let out = create.wait()?;
            ensure!(out.code() != 0, "{kind}: it was created");
            let pid = read(&notes, "begun")?;
            let inside = kind == "createContainer";
            wait_for("the end of the hook", || {
                inside || !Path::new("/proc").join(pid.trim()).join("exe").exists()
            })?;
            fs::remove_dir_all(&notes)?;
            gone(stage, &bundle, kind)?;
        }
        Ok(())
    })
}

#[test]
fn a_hook_that_kills_the_container_ends_it_and_nothing_else() -> Result<()> {
    on_stage(|stage| {
        let kill = "kill -9 $(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')";
        for kind in ["prestart", "createRuntime"] {
            let bundle = with(stage.bundle()?, kind, shell(kill)).shell("echo it ran");
            refused(stage, kind, &stage.run(&bundle)?, 125)?;
            gone(stage, &bundle, kind)?;
        }
        if stage.runtime().is_runc() {
            // it runs poststart hooks before there is anything to kill
            return Ok(());
        }
        let bundle = with(stage.bundle()?, "poststart", shell(kill)).shell("sleep 60");
        let out = stage.run(&bundle)?;
        assert_eq!(out.code(), 137, "{}", out.stderr());
        gone(stage, &bundle, "poststart")?;
        let container = stage.create(&bundle)?;
        container.start()?;
        container.wait_until("stopped")?;
        container.delete()
    })
}

#[test]
fn a_second_start_during_start_container_hooks_is_refused_and_asking_never_hangs() -> Result<()> {
    on_stage_of_hostrun("runc waits for its fifo", |stage| {
        let (bundle, notes) = noted(stage)?;
        let (begun, go) = (notes.join("begun"), notes.join("go"));
        let wait = format!(
            "echo >{}; until [ -e {} ]; do sleep 0.05; done",
            begun.display(),
            go.display()
        );
        let bundle = with(bundle, "startContainer", shell(&wait)).shell("sleep 60");
        let container = stage.create(&bundle)?;
        let start = stage.call(["start", &container.id]).spawn()?;
        wait_for("the hook", || begun.exists())?;
        for _ in 0..20 {
            assert_eq!(container.state()?["status"], "running");
        }
        let second = container.call("start", &[])?;
        ensure!(second.code() != 0, "started twice");
        fs::write(&go, "")?;
        start.wait()?.ok()?;
        container.delete()
    })
}
