//! The verbs of an OCI runtime one by one: what they print, what they refuse, and in which words.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::host::wait_for;
use hostrun_integration::image::Image;
use hostrun_integration::{Bundle, Runtime, Stage, on_stage, on_stage_of_hostrun};
use serde_json::{Value, json};

fn sleeper(stage: &Stage) -> Result<Bundle> {
    Ok(stage.bundle()?.args(&["/bin/sleep", "60"]))
}

#[test]
fn state_has_every_key_of_the_spec_and_the_owner() -> Result<()> {
    on_stage(|stage| {
        let bundle = sleeper(stage)?.set("/annotations/a", json!("b"));
        let container = stage.create(&bundle)?;
        let state = container.state()?;
        let text = |key: &str| state.get(key).and_then(Value::as_str).unwrap_or_default();
        assert_eq!(
            (text("id"), text("status")),
            (container.id.as_str(), "created")
        );
        // runc has the key and leaves it empty here; in its list it says the name
        let owner = if stage.runtime().is_runc() {
            ""
        } else {
            "root"
        };
        assert_eq!(text("owner"), owner);
        assert_eq!(text("rootfs"), bundle.rootfs().to_string_lossy());
        assert_eq!(text("bundle"), bundle.dir().to_string_lossy());
        ensure!(
            text("created").starts_with("20") && text("created").ends_with('Z'),
            "{state}"
        );
        ensure!(text("ociVersion").starts_with("1."), "{state}");
        assert_eq!(state.pointer("/annotations/a"), Some(&json!("b")));
        container.delete()
    })
}

#[test]
fn a_paused_container_stands_still_until_it_is_resumed() -> Result<()> {
    on_stage(|stage| {
        let container = stage.start(&sleeper(stage)?)?;
        let early = container.call("resume", &[])?;
        ensure!(
            early.code() == 1 && early.stderr().contains("not paused"),
            "{}",
            early.stderr()
        );
        container.call("pause", &[])?.ok()?;
        assert_eq!(container.state()?["status"], "paused");
        let exec = container.exec(&["true"])?;
        assert_eq!(exec.code(), 255);
        ensure!(
            exec.stderr().contains("cannot exec in a paused container"),
            "{}",
            exec.stderr()
        );
        container.call("resume", &[])?.ok()?;
        assert_eq!(container.state()?["status"], "running");
        container.exec(&["true"])?.ok()?;
        container.call("pause", &[])?.ok()?;
        // forced, a paused one goes like any other
        container.delete()
    })
}

#[test]
fn exec_that_ignores_the_pause_runs_when_it_is_over() -> Result<()> {
    on_stage(|stage| {
        let container = stage.start(&sleeper(stage)?)?;
        container.call("pause", &[])?.ok()?;
        let words = ["exec", "--ignore-paused", &container.id, "echo", "awake"];
        let exec = stage.call(words).spawn()?;
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(exec.stdout(), "");
        container.call("resume", &[])?.ok()?;
        assert_eq!(exec.wait()?.ok()?, "awake\n");
        container.delete()
    })
}

#[test]
fn list_has_a_row_an_id_or_an_object_for_each_container() -> Result<()> {
    on_stage(|stage| {
        let (first, second) = (
            stage.start(&sleeper(stage)?)?,
            stage.create(&sleeper(stage)?)?,
        );
        let table = stage.call(["list"]).run()?.ok()?;
        let title: Vec<&str> = table
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        assert_eq!(title, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
        assert_eq!(table.lines().count(), 3);
        let ids = stage.call(["list", "-q"]).run()?.ok()?;
        let ids: Vec<&str> = ids.lines().collect();
        assert_eq!(ids, [first.id.as_str(), second.id.as_str()]);
        for words in [["list", "-f", "json"], ["list", "--format", "json"]] {
            let text = stage.call(words).run()?.ok()?;
            ensure!(text.starts_with("[{\"ociVersion\":\"1."), "{text}");
            let states: Value = serde_json::from_str(&text)?;
            let status = |at: &str| {
                states
                    .pointer(at)
                    .and_then(Value::as_str)
                    .map(str::to_owned)
            };
            assert_eq!(status("/0/status").as_deref(), Some("running"));
            assert_eq!(status("/1/status").as_deref(), Some("created"));
        }
        first.delete()?;
        second.delete()
    })
}

#[test]
fn ps_shows_the_containers_lines_of_the_machines_own_ps() -> Result<()> {
    on_stage(|stage| {
        let container = stage.start(&sleeper(stage)?)?;
        let pid = container.pid()?.to_string();
        let table = container.call("ps", &[])?.ok()?;
        let title = table.lines().next().unwrap_or_default();
        ensure!(
            title.starts_with("UID") && title.contains("PPID") && title.ends_with("CMD"),
            "{table}"
        );
        ensure!(
            table.lines().count() == 2 && table.contains(&pid),
            "{table}"
        );
        let other = container.call("ps", &["-e", "-x"])?.ok()?;
        ensure!(
            other
                .lines()
                .next()
                .is_some_and(|line| line.contains("STAT")),
            "{other}"
        );
        let json = stage
            .call(["ps", "-f", "json", &container.id])
            .run()?
            .ok()?;
        assert_eq!(json.trim(), format!("[{pid}]"));
        container.delete()
    })
}

#[test]
fn options_stand_before_or_behind_the_id() -> Result<()> {
    on_stage(|stage| {
        let (bundle, id) = (sleeper(stage)?, stage.id());
        let dir = bundle.write()?.to_string_lossy().into_owned();
        let call = stage.call(["create", &id, "--bundle", &dir, "--pid-file", "pid"]);
        call.in_dir(stage.dir()).run()?.ok()?;
        ensure!(
            stage.dir().join("pid").exists(),
            "the pid file is not where the caller stands"
        );
        stage.call(["delete", &id, "--force"]).run()?.ok().map(drop)
    })
}

#[test]
fn a_signal_has_a_name_or_a_number_and_0_only_asks() -> Result<()> {
    on_stage(|stage| {
        let container = stage.start(&sleeper(stage)?)?;
        for signal in ["0", "CONT", "SIGCONT", "18"] {
            container.kill(signal)?;
        }
        let wrong = container.call("kill", &["NOSUCH"])?;
        ensure!(
            wrong.code() == 1 && wrong.stderr().contains("unknown signal"),
            "{}",
            wrong.stderr()
        );
        container.kill("KILL")?;
        container.wait_until("stopped")?;
        let late = container.call("kill", &["0"])?;
        ensure!(
            late.code() == 1 && late.stderr().contains("container not running"),
            "{}",
            late.stderr()
        );
        container.delete()
    })
}

#[test]
fn kill_ends_what_outlived_the_first_process_in_the_machines_pid_namespace() -> Result<()> {
    on_stage_of_hostrun("runc does since 1.2; the oracle is older", |stage| {
        let bundle = stage
            .bundle()?
            .without_namespace("pid")
            .shell("sleep 60 & sleep 60 & wait");
        let container = stage.start(&bundle)?;
        let group = bundle.cgroup()?;
        let count = || {
            hostrun_integration::cgroup::read(&group, "cgroup.procs")
                .map_or(0, |list| list.lines().count())
        };
        wait_for("three processes", || count() == 3)?;
        let pid = rustix::process::Pid::from_raw(container.pid()?).context("no pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        container.wait_until("stopped")?;
        assert_eq!(count(), 2);
        container.kill("KILL")?;
        wait_for("nobody", || count() == 0)?;
        container.call("delete", &[])?.ok().map(drop)
    })
}

/// What later versions of runc write otherwise than the oracle.
fn forget_what_changed(document: &mut Value) {
    for (object, keys) in [
        ("", &["ociVersion", "hostname"][..]),
        ("/process/capabilities", &["ambient"]),
        ("/linux", &["maskedPaths", "namespaces"]),
    ] {
        if let Some(Value::Object(object)) = document.pointer_mut(object) {
            object.retain(|key, _| !keys.contains(&key.as_str()));
        }
    }
}

#[test]
fn spec_writes_the_document_that_scripts_edit() -> Result<()> {
    on_stage(|stage| {
        let written = |folder: &str, runtime: &Runtime, words: &[&str]| -> Result<Value> {
            let dir = stage.folder(folder)?;
            runtime.call(words).in_dir(&dir).run()?.ok()?;
            Ok(serde_json::from_str(&fs::read_to_string(
                dir.join("config.json"),
            )?)?)
        };
        let (ours, oracle) = (stage.runtime(), Runtime::oracle()?);
        for (name, words) in [
            ("plain", vec!["spec"]),
            ("rootless", vec!["spec", "--rootless"]),
        ] {
            let mut own = written(&format!("own-{name}"), ours, &words)?;
            let mut runcs = written(&format!("runc-{name}"), &oracle, &words)?;
            [&mut own, &mut runcs]
                .into_iter()
                .for_each(forget_what_changed);
            assert_eq!(own, runcs, "{name}");
        }
        let dir = stage.folder("own-plain")?;
        let again = ours.call(["spec"]).in_dir(&dir).run()?;
        ensure!(
            again.code() == 1 && again.stderr().contains("exists"),
            "{}",
            again.stderr()
        );
        let folder = stage.folder("elsewhere")?;
        ours.call(["spec", "--bundle", &folder.to_string_lossy()])
            .run()?
            .ok()?;
        ensure!(
            folder.join("config.json").exists(),
            "--bundle was passed over"
        );
        Ok(())
    })
}

#[test]
fn what_spec_writes_runs() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage.bundle()?;
        stage
            .runtime()
            .call(["spec"])
            .in_dir(bundle.dir())
            .run()?
            .ok()?;
        let path = bundle.dir().join("config.json");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let group = bundle.cgroup()?;
        for (pointer, value) in [
            ("/process/terminal", json!(false)),
            ("/process/args", json!(["echo", "hello"])),
        ] {
            *config.pointer_mut(pointer).context("not in the document")? = value;
        }
        if let Some(Value::Object(linux)) = config.pointer_mut("/linux") {
            linux.insert("cgroupsPath".to_owned(), json!(group));
        }
        fs::write(&path, config.to_string())?;
        let dir = bundle.dir().to_string_lossy().into_owned();
        let out = stage.call(["run", "--bundle", &dir, &stage.id()]).run()?;
        assert_eq!(out.ok()?, "hello\n");
        Ok(())
    })
}

#[test]
fn descriptors_of_socket_activation_are_handed_on() -> Result<()> {
    on_stage(|stage| {
        let file = stage.dir().join("file");
        fs::write(&file, "activated\n")?;
        let script = "echo $LISTEN_FDS $LISTEN_PID; cat <&3; cat <&4";
        let call = stage.run_call(&preserving(stage, script)?)?;
        let opens = format!(
            "exec 3<{0} 4<{0}; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" \"$@\"",
            file.display()
        );
        let out = call.under(["sh", "-c", &opens]).run()?;
        // the second descriptor is not preserved
        ensure!(
            out.stdout() == "1 1\nactivated\n",
            "{}{}",
            out.stdout(),
            out.stderr()
        );
        Ok(())
    })
}

#[test]
fn descriptors_of_socket_activation_are_handed_to_containers_of_images_by_name() -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let image = Image::new(stage.dir())?;
        let file = stage.dir().join("file");
        fs::write(&file, "activated\n")?;
        let opens = format!(
            "exec 3<{0} 4<{0}; export LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=web; exec \"$0\" \"$@\"",
            file.display()
        );
        let source = image.source();
        let script = "test $LISTEN_PID = $$ && echo $LISTEN_FDS $LISTEN_FDNAMES; cat <&3; cat <&4";
        // an init is process 1 then, and the command is who is meant
        for words in [&["--rm"][..], &["--rm", "--init"]] {
            let words = [words, &[&source, "sh", "-c", script]].concat();
            let call = stage.image_call(words).under(["sh", "-c", &opens]);
            let out = call.run()?;
            let told = (out.stdout(), out.stderr());
            ensure!(told.0 == "1 web\nactivated\n", "{told:?}");
        }
        Ok(())
    })
}

#[test]
fn activation_that_names_no_process_is_ours_and_may_have_gaps() -> Result<()> {
    on_stage_of_hostrun("as crun has it; runc wants to be named", |stage| {
        for (pid, heard) in [("unset LISTEN_PID", "2 1\n"), ("LISTEN_PID=1", "\n")] {
            let call = stage.run_call(&preserving(stage, "echo $LISTEN_FDS $LISTEN_PID")?)?;
            let opens = format!("export LISTEN_FDS=2 LISTEN_PID; {pid}; exec \"$0\" \"$@\"");
            assert_eq!(
                call.under(["sh", "-c", &opens]).run()?.ok()?,
                heard,
                "{pid}"
            );
        }
        Ok(())
    })
}

fn preserving(stage: &Stage, script: &str) -> Result<Bundle> {
    Ok(stage.bundle()?.shell(script))
}

#[test]
fn a_session_keyring_is_the_containers_own_or_the_callers() -> Result<()> {
    on_stage(|stage| {
        let count = |flags: &[&str]| -> Result<hostrun_integration::Outcome> {
            let id = stage.id();
            let script = format!("grep -c _ses.{id} /proc/keys");
            let bundle = stage.bundle()?.unset("/linux/maskedPaths").shell(&script);
            let dir = bundle.write()?.to_string_lossy().into_owned();
            let words = [&["run", "--bundle", &dir], flags, &[&id]].concat();
            stage.call(words).run()
        };
        let (own, shared) = (count(&[])?, count(&["--no-new-keyring"])?);
        // a kernel without keys has no file of them
        if !own.stderr().contains("No such file") {
            assert_eq!((own.stdout().trim(), shared.stdout().trim()), ("1", "0"));
        }
        Ok(())
    })
}
