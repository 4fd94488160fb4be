//! What engines call a runtime with, word for word, and what they go by: exit codes, files, JSON.
//! The eight things that broke engines with other runtimes each have a test of their own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::socket::Receiver;
use hostrun_integration::{Bundle, Outcome, Runtime, Stage, cgroup, on_stage};
use serde_json::{Value, json};

/// An engine: the runtime, called with its words before the verb.
struct Engine<'a> {
    stage: &'a Stage,
    log: PathBuf,
}

impl<'a> Engine<'a> {
    fn new(stage: &'a Stage) -> Self {
        Self {
            stage,
            log: stage.dir().join("log.json"),
        }
    }

    /// `--root R --log L --log-format json VERB...`, from the root of the file system.
    fn call(&self, words: &[&str], input: &str) -> Result<Outcome> {
        let root = self.stage.root().to_string_lossy().into_owned();
        let log = self.log.to_string_lossy().into_owned();
        let before = ["--root", &root, "--log", &log, "--log-format", "json"];
        let all = before.iter().chain(words);
        let call = self.stage.runtime().call(all);
        call.input(input).in_dir(Path::new("/")).run()
    }

    fn ok(&self, words: &[&str]) -> Result<String> {
        self.call(words, "")?
            .ok()
            .with_context(|| format!("{words:?}"))
    }

    /// The last line of its log, which is what people see.
    fn last_words(&self) -> Result<String> {
        let text = fs::read_to_string(&self.log)?;
        let line = text.lines().last().context("an empty log")?;
        let line: Value = serde_json::from_str(line)?;
        let word = |key: &str| line.get(key).and_then(Value::as_str);
        ensure!(
            word("level") == Some("error") && word("time").is_some(),
            "{line}"
        );
        Ok(word("msg").context("no message")?.to_owned())
    }
}

fn sleeper(stage: &Stage) -> Result<Bundle> {
    Ok(stage.bundle()?.args(&["/bin/sleep", "60"]))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn a_container_lives_as_containerd_and_docker_call_it() -> Result<()> {
    on_stage(|stage| {
        let engine = Engine::new(stage);
        let bundle = sleeper(stage)?;
        let (id, dir) = (stage.id(), text(bundle.write()?));
        let pid_file = stage.dir().join("init.pid");
        engine.ok(&[
            "create",
            "--bundle",
            &dir,
            "--pid-file",
            &text(&pid_file),
            &id,
        ])?;
        let state: Value = serde_json::from_str(&engine.ok(&["state", &id])?)?;
        assert_eq!(state["status"], "created");
        assert_eq!(fs::read_to_string(&pid_file)?, state["pid"].to_string());
        engine.ok(&["start", &id])?;

        let process = json!({
            "args": ["/bin/sh", "-c", "echo $A > /told"], "env": ["PATH=/bin", "A=b"], "cwd": "/",
            "user": {"uid": 0, "gid": 0}
        });
        let file = stage.dir().join("process.json");
        fs::write(&file, process.to_string())?;
        let exec_pid = stage.dir().join("exec.pid");
        let words = [
            "exec",
            "--process",
            &text(&file),
            "--detach",
            "--pid-file",
            &text(&exec_pid),
            &id,
        ];
        engine.ok(&words)?;
        ensure!(fs::read_to_string(&exec_pid)?.parse::<i32>()? > 0, "no pid");
        let told = bundle.rootfs().join("told");
        hostrun_integration::host::wait_for("exec ran", || {
            fs::read_to_string(&told).is_ok_and(|text| text == "b\n")
        })?;

        engine.ok(&["pause", &id])?;
        let state: Value = serde_json::from_str(&engine.ok(&["state", &id])?)?;
        assert_eq!(state["status"], "paused");
        engine.ok(&["resume", &id])?;
        let pids: Vec<i32> = serde_json::from_str(&engine.ok(&["ps", "--format", "json", &id])?)?;
        ensure!(
            pids.contains(&fs::read_to_string(&pid_file)?.parse()?),
            "{pids:?}"
        );
        engine.ok(&["kill", &id, "9"])?;
        hostrun_integration::host::wait_for("it ends", || {
            engine
                .ok(&["state", &id])
                .is_ok_and(|state| state.contains("stopped"))
        })?;
        engine.ok(&["delete", &id])?;
        engine.ok(&["delete", "--force", &id]).map(drop)
    })
}

#[test]
fn a_container_with_a_terminal_lives_as_conmon_calls_it() -> Result<()> {
    on_stage(|stage| {
        let engine = Engine::new(stage);
        let bundle = sleeper(stage)?.set("/process/terminal", json!(true));
        let (id, dir) = (stage.id(), text(bundle.write()?));
        let console = Receiver::listen(&stage.dir().join("console.sock"))?;
        let pid_file = text(&stage.dir().join("pid"));
        let words = [
            "create",
            "--bundle",
            &dir,
            "--pid-file",
            &pid_file,
            "--console-socket",
            &console.path(),
            "--preserve-fds",
            "0",
            &id,
        ];
        engine.ok(&words)?;
        let (_, master) = console.receive()?;
        ensure!(rustix::termios::isatty(&master), "no terminal was sent");
        engine.ok(&["start", &id])?;
        engine.ok(&["delete", "--force", &id])?;
        drop(master);
        Ok(())
    })
}

#[test]
fn behaviour_1_resources_that_ask_for_nothing_are_fine_without_their_controllers() -> Result<()> {
    on_stage(|stage| {
        let empty = json!({
            "blockIO": {}, "cpu": {"shares": 0}, "memory": {}, "pids": {"limit": 0},
            "devices": [{"allow": false, "access": "rwm"}]
        });
        let bundle = stage.bundle()?.set("/linux/resources", empty);
        stage.run(&bundle)?.ok().map(drop)
    })
}

#[test]
fn behaviour_2_device_rules_need_no_cap_sys_resource() -> Result<()> {
    on_stage(|stage| {
        let call = stage.run_call(&stage.bundle()?)?;
        let without = [
            "setpriv",
            "--bounding-set",
            "-sys_resource",
            "--inh-caps",
            "-sys_resource",
        ];
        call.under(without).run()?.ok().map(drop)
    })
}

#[test]
fn behaviour_3_the_last_line_of_the_log_has_the_words_engines_look_for() -> Result<()> {
    on_stage(|stage| {
        let engine = Engine::new(stage);
        for (program, words) in [
            ("not-a-program", "executable file not found in $PATH"),
            ("/not/a/program", "no such file or directory"),
            ("/etc/passwd", "permission denied"),
        ] {
            let bundle = stage.bundle()?.args(&[program]);
            let (id, dir) = (stage.id(), text(bundle.write()?));
            let created = engine.call(&["create", "--bundle", &dir, &id], "")?;
            if created.code() == 0 {
                let started = engine.call(&["start", &id], "")?;
                assert_eq!(started.code(), 1, "{program}: {}", started.stderr());
                ensure!(
                    started.stderr().contains(words),
                    "{program}: {}",
                    started.stderr()
                );
            }
            let said = engine.last_words()?;
            ensure!(said.contains(words), "{program}: {said}");
            engine.ok(&["delete", "--force", &id])?;
        }
        Ok(())
    })
}

#[test]
fn behaviour_4_deleting_what_is_not_there_is_an_error_but_when_forced() -> Result<()> {
    on_stage(|stage| {
        let engine = Engine::new(stage);
        let plain = engine.call(&["delete", "not-there"], "")?;
        assert_eq!(plain.code(), 1);
        ensure!(
            plain.stderr().contains("does not exist"),
            "{}",
            plain.stderr()
        );
        let forced = engine.call(&["delete", "--force", "not-there"], "")?;
        assert_eq!((forced.code(), forced.stdout()), (0, String::new()));
        Ok(())
    })
}

#[test]
fn behaviour_5_a_cgroup_that_has_processes_is_refused() -> Result<()> {
    on_stage(|stage| {
        if stage.runtime().is_runc() {
            // runc refuses since 1.3; the oracle is older
            return Ok(());
        }
        let engine = Engine::new(stage);
        let first = sleeper(stage)?;
        let (id, dir) = (stage.id(), text(first.write()?));
        engine.ok(&["create", "--bundle", &dir, &id])?;
        let second = stage
            .bundle()?
            .set("/linux/cgroupsPath", json!(first.cgroup()?));
        let (other, dir) = (stage.id(), text(second.write()?));
        let out = engine.call(&["create", "--bundle", &dir, &other], "")?;
        assert_eq!(out.code(), 1, "{}", out.stderr());
        ensure!(
            cgroup::read(&first.cgroup()?, "cgroup.procs").is_ok(),
            "it is gone"
        );
        engine.ok(&["delete", "--force", &id]).map(drop)
    })
}

#[test]
fn behaviour_6_rules_twice_no_rlimits_and_any_version_1_are_fine() -> Result<()> {
    on_stage(|stage| {
        let rule = json!({"allow": false, "access": "rwm"});
        let device = json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"});
        let bundle = stage
            .bundle()?
            .set(
                "/linux/resources/devices",
                json!([rule, device, rule, device]),
            )
            .set("/ociVersion", json!("1.2.1"))
            .unset("/process/rlimits")
            .shell("echo x > /dev/null && echo fine");
        assert_eq!(stage.run(&bundle)?.ok()?, "fine\n");
        Ok(())
    })
}

#[test]
fn behaviour_7_update_reads_both_ways_ps_is_a_bare_array_and_features_is_free_of_effects()
-> Result<()> {
    on_stage(|stage| {
        let engine = Engine::new(stage);
        let bundle = sleeper(stage)?;
        let (id, dir) = (stage.id(), text(bundle.write()?));
        engine.ok(&["create", "--bundle", &dir, &id])?;
        engine.ok(&["start", &id])?;
        engine.call(&["update", "--resources=-", &id], "{}")?.ok()?;
        let file = stage.dir().join("resources.json");
        fs::write(&file, "{}")?;
        engine.ok(&["update", &format!("--resources={}", file.display()), &id])?;
        let pids: Value = serde_json::from_str(&engine.ok(&["ps", "--format", "json", &id])?)?;
        ensure!(
            pids.as_array().is_some_and(|list| list.len() == 1),
            "{pids}"
        );
        engine.ok(&["delete", "--force", &id])?;
        let features = stage.runtime().call(["features"]).run()?.ok()?;
        let features: Value = serde_json::from_str(&features)?;
        assert_eq!(features["ociVersionMin"], "1.0.0");
        Ok(())
    })
}

#[test]
fn behaviour_8_kill_all_reaches_every_process_and_forgives_the_end() -> Result<()> {
    on_stage(|stage| {
        let engine = Engine::new(stage);
        let bundle = stage
            .bundle()?
            .without_namespace("pid")
            .shell("sleep 60 & sleep 60 & wait");
        let (id, dir) = (stage.id(), text(bundle.write()?));
        engine.ok(&["create", "--bundle", &dir, &id])?;
        engine.ok(&["start", &id])?;
        let group = bundle.cgroup()?;
        let count = || cgroup::read(&group, "cgroup.procs").map_or(0, |list| list.lines().count());
        hostrun_integration::host::wait_for("three processes", || count() == 3)?;
        engine.ok(&["kill", "--all", &id, "9"])?;
        hostrun_integration::host::wait_for("nobody", || count() == 0)?;
        engine.ok(&["kill", "--all", &id, "9"])?;
        engine.ok(&["delete", &id]).map(drop)
    })
}

#[test]
fn the_version_says_who_and_which_spec() -> Result<()> {
    on_stage(|stage| {
        let runtime: &Runtime = stage.runtime();
        let out = runtime.call(["--version"]).run()?.ok()?;
        let lines: Vec<&str> = out.lines().collect();
        ensure!(
            lines.first().is_some_and(|line| line.contains(" version ")),
            "{out}"
        );
        ensure!(
            lines.iter().any(|line| line.starts_with("spec: 1.")),
            "{out}"
        );
        ensure!(
            lines.iter().any(|line| line.starts_with("commit: ")),
            "{out}"
        );
        Ok(())
    })
}
