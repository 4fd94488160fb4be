//! hostrun under the name runc: everything means what it means there. The same tests run on runc.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use hostrun_integration::runtime::Call;
use hostrun_integration::{Bundle, Outcome, Stage, on_stage, on_stage_of_hostrun};
use serde_json::{Value, json};

/// The runtime under test by the name runc.
struct Runc<'a> {
    stage: &'a Stage,
    program: PathBuf,
}

impl<'a> Runc<'a> {
    fn new(stage: &'a Stage) -> Result<Self> {
        let program = stage.dir().join("runc");
        if !program.exists() {
            symlink(stage.runtime().program(), &program)?;
        }
        Ok(Self { stage, program })
    }

    fn bare(&self, words: &[&str]) -> Call {
        Call::new(&self.program, words)
    }

    fn call(&self, words: &[&str]) -> Call {
        let root = self.stage.root().to_string_lossy().into_owned();
        self.bare(&[&["--root", &root], words].concat())
    }

    fn run(&self, bundle: &Bundle, words: &[&str]) -> Result<Outcome> {
        self.call(words).in_dir(bundle.write()?).run()
    }
}

#[test]
fn run_takes_the_bundle_it_stands_in_and_answers_with_the_payloads_code() -> Result<()> {
    on_stage(|stage| {
        let runc = Runc::new(stage)?;
        let bundle = stage.bundle()?.shell("echo hello; exit 7");
        let id = stage.id();
        let out = runc.run(&bundle, &["run", "--pid-file", "pid", &id])?;
        assert_eq!((out.code(), out.stdout().as_str()), (7, "hello\n"));
        ensure!(bundle.dir().join("pid").exists(), "no pid file");
        ensure!(runc.call(&["state", &id]).run()?.code() == 1, "it was kept");
        let signal = stage
            .bundle()?
            .without_namespace("pid")
            .shell("kill -TERM $$");
        assert_eq!(runc.run(&signal, &["run", &id])?.code(), 143);
        Ok(())
    })
}

#[test]
fn a_container_that_is_kept_is_stopped_until_it_is_deleted() -> Result<()> {
    on_stage(|stage| {
        let runc = Runc::new(stage)?;
        let (bundle, id) = (stage.bundle()?, stage.id());
        runc.run(&bundle, &["run", "--keep", &id])?.ok()?;
        let state: Value = serde_json::from_str(&runc.call(&["state", &id]).run()?.ok()?)?;
        assert_eq!(
            (&state["status"], &state["pid"]),
            (&json!("stopped"), &json!(0))
        );
        runc.call(&["delete", &id]).run()?.ok().map(drop)
    })
}

#[test]
fn a_failure_is_a_line_of_a_log_and_its_code_is_1() -> Result<()> {
    on_stage(|stage| {
        let runc = Runc::new(stage)?;
        let out = runc.call(&["state", "not-there"]).run()?;
        assert_eq!(out.code(), 1);
        ensure!(
            out.stderr().contains("level=error msg="),
            "{}",
            out.stderr()
        );
        ensure!(
            out.stderr().contains("container does not exist"),
            "{}",
            out.stderr()
        );
        // a log of its own gets the line, and standard error the message
        let log = stage.dir().join("log").to_string_lossy().into_owned();
        let words = ["--log", &log, "--log-format", "json", "state", "not-there"];
        let out = runc.call(&words).run()?;
        ensure!(!out.stderr().contains("level="), "{}", out.stderr());
        let line: Value = serde_json::from_str(fs::read_to_string(&log)?.trim())?;
        assert_eq!(line["level"], "error");
        ensure!(
            line["msg"]
                .as_str()
                .is_some_and(|msg| out.stderr().contains(msg)),
            "{line}"
        );
        Ok(())
    })
}

#[test]
fn a_log_that_cannot_be_opened_is_a_failure_before_anything_is_done() -> Result<()> {
    on_stage(|stage| {
        let runc = Runc::new(stage)?;
        let log = stage.dir().join("missing/log");
        let log = log.to_string_lossy().into_owned();
        let (bundle, id) = (stage.bundle()?.shell("echo it ran"), stage.id());
        let out = runc.run(&bundle, &["--log", &log, "run", &id])?;
        assert_eq!((out.code(), out.stdout().as_str()), (1, ""));
        let words = format!("open {log}: no such file or directory");
        ensure!(out.stderr().contains(&words), "{}", out.stderr());
        // where it can be, it is there even if nothing is said
        let log = stage.dir().join("log").to_string_lossy().into_owned();
        runc.bare(&["--log", &log, "features"]).run()?.ok()?;
        assert_eq!(fs::read_to_string(&log)?, "");
        Ok(())
    })
}

#[test]
fn every_failure_of_exec_but_the_commands_own_is_255() -> Result<()> {
    on_stage(|stage| {
        let runc = Runc::new(stage)?;
        let (bundle, id) = (stage.bundle()?.args(&["/bin/sleep", "60"]), stage.id());
        runc.run(&bundle, &["run", "-d", &id])?.ok()?;
        let calls: [(&[&str], i32); 6] = [
            (&["exec", &id, "sh", "-c", "exit 42"], 42),
            (&["exec", &id, "false"], 1),
            (&["exec", &id, "no-such-binary"], 255),
            (&["exec", "not-there", "true"], 255),
            (&["exec", "--pid-file", "/not/there/pid", &id, "true"], 255),
            (&["exec", "--user", "nobody", &id, "true"], 255),
        ];
        for (words, code) in calls {
            let out = runc.call(words).run()?;
            assert_eq!(out.code(), code, "{words:?}: {}", out.stderr());
        }
        runc.call(&["delete", "--force", &id]).run()?.ok().map(drop)
    })
}

#[test]
fn a_program_the_kernel_will_not_execute_leaves_one_line() -> Result<()> {
    on_stage_of_hostrun(
        "runc says it in one line since 1.2; the oracle is older",
        |stage| {
            let runc = Runc::new(stage)?;
            let bundle = stage
                .bundle()?
                .file("/run.sh", 0o755, b"#!/not/there x\n")?;
            let (bundle, id) = (bundle.args(&["/run.sh"]), stage.id());
            let out = runc.run(&bundle, &["run", &id])?;
            assert_eq!(out.stderr(), "exec /run.sh: no such file or directory\n");
            assert_eq!(out.code(), 1);
            Ok(())
        },
    )
}

#[test]
fn stopped_containers_are_told_from_running_ones_in_the_words_callers_know() -> Result<()> {
    on_stage(|stage| {
        let runc = Runc::new(stage)?;
        let (bundle, id) = (stage.bundle()?.args(&["/bin/sleep", "60"]), stage.id());
        runc.run(&bundle, &["run", "-d", &id])?.ok()?;
        let running = runc.call(&["delete", &id]).run()?;
        ensure!(
            running.code() == 1 && running.stderr().contains("is not stopped"),
            "{}",
            running.stderr()
        );
        runc.call(&["kill", &id, "0"]).run()?.ok()?;
        runc.call(&["kill", &id, "KILL"]).run()?.ok()?;
        hostrun_integration::host::wait_for("it ends", || {
            let state = runc.call(&["state", &id]).run();
            state.is_ok_and(|state| state.stdout().contains("stopped"))
        })?;
        let killed = runc.call(&["kill", &id, "TERM"]).run()?;
        ensure!(killed.code() == 1, "killed twice");
        ensure!(
            killed.stderr().contains("container not running"),
            "{}",
            killed.stderr()
        );
        let exec = runc.call(&["exec", &id, "true"]).run()?;
        ensure!(
            exec.code() == 255 && exec.stderr().contains("stopped container"),
            "{}",
            exec.stderr()
        );
        runc.call(&["delete", &id]).run()?.ok().map(drop)
    })
}

#[test]
fn help_and_version_have_the_form_that_scripts_read() -> Result<()> {
    on_stage(|stage| {
        let runc = Runc::new(stage)?;
        let help = runc.bare(&["-h"]).run()?.ok()?;
        let lines: Vec<&str> = help.lines().filter(|line| !line.is_empty()).collect();
        ensure!(
            lines.first().is_some_and(|line| line.starts_with("NAME:")),
            "{help}"
        );
        ensure!(
            lines
                .get(1)
                .is_some_and(|line| line.contains("runc - Open Container Initiative runtime")),
            "{help}"
        );
        for verb in [
            "create", "delete", "events", "exec", "kill", "list", "pause", "ps", "resume", "run",
            "spec", "start", "state", "update", "features",
        ] {
            let help = runc.bare(&[verb, "-h"]).run()?.ok()?;
            let second = help.lines().filter(|line| !line.is_empty()).nth(1);
            ensure!(
                second.is_some_and(|line| line.contains(&format!("runc {verb}"))),
                "{verb}: {help}"
            );
        }
        let unknown = runc.bare(&["foo", "-h"]).run()?;
        let said = unknown.stdout() + &unknown.stderr();
        ensure!(
            unknown.code() != 0 && said.contains("No help topic for 'foo'"),
            "{said}"
        );
        let version = runc.bare(&["-v"]).run()?.ok()?;
        ensure!(
            version.starts_with("runc version ") && version.contains("\nspec: 1."),
            "{version}"
        );
        Ok(())
    })
}

#[test]
fn debug_lines_go_to_the_log_and_nowhere_else() -> Result<()> {
    on_stage(|stage| {
        let runc = Runc::new(stage)?;
        let (bundle, id) = (stage.bundle()?, stage.id());
        let out = runc.run(&bundle, &["--debug", "run", &id])?;
        for words in [
            "level=debug",
            "child process in init()",
            "init: closing the pipe to signal completion",
        ] {
            ensure!(out.stderr().contains(words), "{words}: {}", out.stderr());
        }
        let log = stage.dir().join("log").to_string_lossy().into_owned();
        let out = runc.run(&bundle, &["--debug", "--log", &log, "run", &id])?;
        ensure!(!out.stderr().contains("level=debug"), "{}", out.stderr());
        let text = fs::read_to_string(&log)?;
        ensure!(text.contains("level=debug"), "{text}");
        Ok(())
    })
}

#[test]
fn verbs_that_runc_does_not_have_are_not_there() -> Result<()> {
    on_stage(|stage| {
        let runc = Runc::new(stage)?;
        for verb in ["images", "load", "logs", "rm", "stop", "inspect"] {
            ensure!(runc.bare(&[verb]).run()?.code() != 0, "{verb}");
        }
        Ok(())
    })
}

#[test]
fn a_state_directory_that_was_named_and_is_not_there_is_an_error_of_list() -> Result<()> {
    on_stage_of_hostrun("the oracle is older than that rule", |stage| {
        let runc = Runc::new(stage)?;
        let out = runc.bare(&["--root", "/not/there", "list"]).run()?;
        ensure!(out.code() == 1, "{}", out.stdout());
        Ok(())
    })
}
