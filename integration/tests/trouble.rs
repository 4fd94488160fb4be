//! Trouble around a start: the program, the user, the machine, the disk, the command line.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use hostrun_integration::refusal::{loud, refuse, refused};
use hostrun_integration::runtime::Call;
use hostrun_integration::{cgroup, elf, on_stage, on_stage_of_hostrun};
use serde_json::json;

#[test]
fn a_program_that_cannot_run_says_why() -> Result<()> {
    on_stage(|stage| {
        let crlf = stage
            .bundle()?
            .file("/entry", 0o755, b"#!/bin/sh\r\necho it ran\r\n")?;
        let lost = stage
            .bundle()?
            .file("/entry", 0o755, b"#!/opt/lost/interpreter\n")?;
        let foreign = stage.bundle()?.file("/entry", 0o755, &elf::foreign(183))?;
        let text = stage
            .bundle()?
            .file("/entry", 0o644, b"#!/bin/sh\necho it ran\n")?;
        for (what, bundle, code, words) in [
            ("CRLF shebang", crlf, 127, vec!["/entry", "/bin/sh"]),
            (
                "missing interpreter",
                lost,
                127,
                vec!["/entry", "/opt/lost/interpreter"],
            ),
            (
                "another processor's program",
                foreign,
                126,
                vec!["/entry", "arm64"],
            ),
            ("not executable", text, 126, vec!["/entry"]),
            ("not there", stage.bundle()?, 127, vec!["/entry"]),
            (
                "a folder",
                stage.bundle()?.file("/entry/x", 0o644, b"")?,
                126,
                vec!["/entry"],
            ),
        ] {
            let out = stage.run(&bundle.args(&["/entry"]))?;
            let line = refused(stage, what, &out, code)?;
            for word in words {
                ensure!(
                    stage.runtime().is_runc() || line.contains(word),
                    "{what}: no {word}: {line}"
                );
            }
            if what.starts_with("CRLF") && !stage.runtime().is_runc() {
                ensure!(
                    line.contains("carriage return"),
                    "no word of the CR: {line}"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn create_already_says_that_there_is_no_such_program() -> Result<()> {
    on_stage(|stage| {
        let text = stage.bundle()?.file("/text", 0o644, b"nothing to run\n")?;
        let locked = stage.bundle()?.file("/locked/run", 0o755, &elf::exit(0))?;
        let locked = locked.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        let locked = locked.capabilities(&[]);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(locked.rootfs().join("locked"), mode)?;
        for (bundle, program, words) in [
            (
                stage.bundle()?,
                "not-there",
                "executable file not found in $PATH",
            ),
            (stage.bundle()?, "/not/there", "no such file or directory"),
            (text, "/text", "permission denied"),
            (locked, "/locked/run", "permission denied"),
        ] {
            let bundle = bundle.args(&[program]);
            let dir = bundle.write()?.to_string_lossy().into_owned();
            let id = stage.id();
            let out = stage.call(["create", "--bundle", &dir, &id]).run()?;
            ensure!(out.code() != 0, "{program}: created");
            ensure!(out.stderr().contains(words), "{program}: {}", out.stderr());
            ensure!(
                !stage.root().join(&id).exists(),
                "{program}: it has a state"
            );
        }
        Ok(())
    })
}

#[test]
fn an_ordinary_user_is_told_that_root_is_needed() -> Result<()> {
    on_stage_of_hostrun("runc has a rootless mode", |stage| {
        // the binary may be in a folder that only root can enter
        let copy = stage.runtime().copy_to(stage.dir())?;
        let dir = loud(stage)?.write()?.to_string_lossy().into_owned();
        let root = stage.root().to_string_lossy().into_owned();
        let words = ["--root", &root, "run", "--bundle", &dir, &stage.id()].map(str::to_owned);
        let nobody = [
            "setpriv",
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
        ];
        let out = copy.call(words).under(nobody).run()?;
        let line = refused(stage, "not root", &out, 125)?;
        ensure!(line.contains("root"), "{line}");
        Ok(())
    })
}

#[test]
fn a_machine_without_cgroup2_is_named() -> Result<()> {
    on_stage_of_hostrun("runc falls back to cgroup v1", |stage| {
        let call = stage.run_call(&loud(stage)?)?;
        let without = "umount --lazy --recursive /sys/fs/cgroup; while umount --lazy /sys/fs/cgroup 2>/dev/null; do :; done; exec \"$@\"";
        let out = call
            .under([
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                without,
                "without",
            ])
            .run()?;
        let line = refused(stage, "no cgroup2", &out, 125)?;
        ensure!(line.contains("cgroup"), "{line}");
        Ok(())
    })
}

#[test]
fn a_limit_that_cannot_be_applied_is_refused() -> Result<()> {
    on_stage(|stage| {
        for (controller, path, value) in [
            (
                "memory",
                "/linux/resources/memory",
                json!({"limit": 33_554_432}),
            ),
            (
                "cpu",
                "/linux/resources/cpu",
                json!({"quota": 10_000, "period": 100_000}),
            ),
            ("pids", "/linux/resources/pids", json!({"limit": 16})),
            ("cpuset", "/linux/resources/cpu", json!({"cpus": "0"})),
        ] {
            if cgroup::has_controller(controller) {
                let out = stage.run(&stage.bundle()?.set(path, value))?;
                out.ok()?;
                continue;
            }
            let line = refuse(stage, controller, &loud(stage)?.set(path, value))?;
            ensure!(
                stage.runtime().is_runc() || line.contains(controller),
                "{line}"
            );
        }
        Ok(())
    })
}

#[test]
fn an_id_in_use_is_refused_and_its_container_lives_on() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage.bundle()?.shell("sleep 60");
        let container = stage.start(&bundle)?;
        let other = loud(stage)?;
        let dir = other.write()?.to_string_lossy().into_owned();
        for verb in ["run", "create"] {
            let out = stage.call([verb, "--bundle", &dir, &container.id]).run()?;
            let code = if verb == "run" { 125 } else { 1 };
            let line = refused(stage, "id in use", &out, code)?;
            ensure!(
                stage.runtime().is_runc() || line.contains(&container.id),
                "{line}"
            );
        }
        assert_eq!(container.state()?["status"], "running");
        container.delete()
    })
}

#[test]
fn ids_that_are_paths_are_refused() -> Result<()> {
    on_stage(|stage| {
        let dir = loud(stage)?.write()?.to_string_lossy().into_owned();
        let long = "x".repeat(2000);
        for id in ["", ".", "..", "../x", "a/b", "/abs", "a b", "a\nb", &long] {
            let out = stage.call(["run", "--bundle", &dir, id]).run()?;
            refused(stage, &format!("id {id:.10?}"), &out, 125)?;
        }
        Ok(())
    })
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing() -> Result<()> {
    on_stage(|stage| {
        let root = stage.folder("state")?;
        let path = root.to_string_lossy().into_owned();
        for options in [
            "mode=700,size=4k,nr_inodes=1",
            "mode=700,size=4k,nr_inodes=4",
        ] {
            Call::new(
                Path::new("mount"),
                ["-t", "tmpfs", "-o", options, "tmpfs", &path],
            )
            .run()?
            .ok()?;
            // the one block there is holds a file already
            drop(fs::write(root.join("full"), [1; 4096]));
            let out = stage.run(&loud(stage)?);
            let left = fs::read_dir(&root)?
                .flatten()
                .filter(|entry| entry.file_name() != "full")
                .count();
            Call::new(Path::new("umount"), [&path]).run()?.ok()?;
            let line = refused(stage, options, &out?, 125)?;
            ensure!(
                stage.runtime().is_runc() || line.contains("ENOSPC") || line.contains("space"),
                "{line}"
            );
            ensure!(
                stage.runtime().is_runc() || left == 0,
                "{left} files are left"
            );
        }
        Ok(())
    })
}

#[test]
fn a_wrong_command_line_is_refused() -> Result<()> {
    on_stage(|stage| {
        // the verbs of an OCI runtime answer as runc does
        let words: [(&[&str], i32); 6] = [
            (&["no-such-verb"], 125),
            (&["run"], 125),
            (&["run", "--no-such-flag", "x"], 125),
            (&["state", "not-there"], 1),
            (&["kill", "not-there", "TERM"], 1),
            (&["delete", "not-there"], 1),
        ];
        for (words, code) in words {
            let out = stage.call(words).run()?;
            ensure!(out.code() != 0, "{words:?} went through");
            if !stage.runtime().is_runc() {
                assert_eq!(out.code(), code, "{words:?}: {}", out.stderr());
                ensure!(!out.stderr().is_empty(), "{words:?}: no word");
            }
        }
        let container = stage.start(&stage.bundle()?.shell("sleep 60"))?;
        let out = container.call("kill", &["NOSUCHSIGNAL"])?;
        ensure!(out.code() != 0, "an unknown signal was sent");
        container.delete()
    })
}
