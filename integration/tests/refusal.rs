//! Bad input: one clear line, the right exit code, nothing left behind.
//!
//! hostrun answers 125 for its own failures. runc answers 1 and may take several lines; what both
//! must do is refuse and leave nothing.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use hostrun_integration::runtime::Call;
use hostrun_integration::{Bundle, Outcome, Stage, cgroup, elf, on_stage, on_stage_of_hostrun};
use serde_json::{Value, json};

/// Checks the form of a refusal: `code` from hostrun, any failure from runc.
fn refused(stage: &Stage, what: &str, out: &Outcome, code: i32) -> Result<String> {
    ensure!(
        out.stdout().is_empty(),
        "{what}: something ran: {}",
        out.stdout()
    );
    let line = out.stderr();
    if stage.runtime().is_runc() {
        ensure!(out.code() != 0, "{what}: accepted");
        return Ok(line);
    }
    ensure!(
        out.code() == code,
        "{what}: exit code {} instead of {code}: {line}",
        out.code()
    );
    let lines: Vec<&str> = line.trim_end().lines().collect();
    let hints = lines
        .iter()
        .skip(1)
        .filter(|line| !line.trim_start().starts_with("hint:"))
        .count();
    ensure!(
        !lines.is_empty() && hints == 0,
        "{what}: not one line: {line}"
    );
    ensure!(
        line.starts_with("hostrun: "),
        "{what}: does not say who speaks: {line}"
    );
    for noise in ["os error", "panicked", "backtrace", "Error {", "Some("] {
        ensure!(!line.contains(noise), "{what}: not a sentence: {line}");
    }
    Ok(line)
}

/// Runs a bundle that must be refused with 125.
fn refuse(stage: &Stage, what: &str, bundle: &Bundle) -> Result<String> {
    refused(stage, what, &stage.run(bundle)?, 125)
}

/// A bundle that would say so if it ran.
fn loud(stage: &Stage) -> Result<Bundle> {
    Ok(stage.bundle()?.shell("echo it ran"))
}

#[test]
fn a_broken_configuration_is_refused() -> Result<()> {
    on_stage(|stage| {
        let whole = serde_json::to_string(loud(stage)?.config())?;
        let cut = &whole[..whole.len() / 2];
        for text in ["", "{", "[]", "null", "{}", "not json", cut, "\u{0}\u{1}"] {
            let dir = loud(stage)?.write_raw(text)?.to_string_lossy().into_owned();
            let out = stage.call(["run", "--bundle", &dir, &stage.id()]).run()?;
            refused(stage, &format!("config.json {text:.20?}"), &out, 125)?;
        }
        Ok(())
    })
}

#[test]
fn a_bundle_that_is_not_there_is_refused() -> Result<()> {
    on_stage(|stage| {
        let bundle = loud(stage)?;
        fs::create_dir(bundle.dir().join("config.json"))?;
        let empty = stage.folder("empty")?.to_string_lossy().into_owned();
        for dir in [
            "/not/there",
            &empty,
            "/etc/passwd",
            &bundle.dir().to_string_lossy(),
        ] {
            let out = stage.call(["run", "--bundle", dir, &stage.id()]).run()?;
            refused(stage, dir, &out, 125)?;
        }
        refuse(
            stage,
            "root",
            &loud(stage)?.set("/root/path", json!("not-there")),
        )?;
        refuse(
            stage,
            "root is a file",
            &loud(stage)?.set("/root/path", json!("/etc/passwd")),
        )?;
        Ok(())
    })
}

#[test]
fn values_of_the_wrong_kind_are_refused() -> Result<()> {
    on_stage(|stage| {
        for (path, value) in [
            ("/process/user/uid", json!("root")),
            ("/process/args", json!("sh")),
            ("/process/args", json!([])),
            ("/process/cwd", json!("relative")),
            ("/process/terminal", json!("yes")),
            ("/process/rlimits/0/type", json!("RLIMIT_NONE")),
            ("/mounts", json!({})),
            ("/linux/namespaces/0/type", json!("moon")),
            ("/linux/rootfsPropagation", json!("sideways")),
            ("/hostname", json!(7)),
        ] {
            refuse(stage, path, &loud(stage)?.set(path, value))?;
        }
        Ok(())
    })
}

#[test]
fn unknown_values_that_matter_are_refused() -> Result<()> {
    on_stage_of_hostrun(
        "runc 1.1 takes some of them for file system options",
        |stage| {
            let rule = |action: &str| json!({"defaultAction": action, "architectures": ["SCMP_ARCH_X86_64"]});
            for (path, value) in [
                ("/ociVersion", json!("abc")),
                ("/ociVersion", json!("9.0.0")),
                ("/linux/seccomp", rule("SCMP_ACT_MAYBE")),
                (
                    "/linux/devices",
                    json!([{"path": "/dev/x", "type": "q", "major": 1, "minor": 1}]),
                ),
                (
                    "/mounts/-",
                    json!({"destination": "relative", "type": "tmpfs"}),
                ),
                (
                    "/mounts/-",
                    json!({"destination": "/x", "type": "nosuchfs", "source": "x"}),
                ),
                (
                    "/mounts/-",
                    json!({"destination": "/x", "type": "tmpfs", "options": ["size=abc"]}),
                ),
                (
                    "/process/rlimits",
                    json!([{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 1}]),
                ),
            ] {
                refuse(
                    stage,
                    &format!("{path} {value}"),
                    &loud(stage)?.set(path, value.clone()),
                )?;
            }
            Ok(())
        },
    )
}

#[test]
fn fields_that_contradict_each_other_are_refused() -> Result<()> {
    on_stage(|stage| {
        let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        let twice = loud(stage)?.set("/linux/namespaces/-", json!({"type": "pid"}));
        refuse(stage, "one namespace twice", &twice)?;
        let unmapped = loud(stage)?.namespace("user", None);
        refuse(stage, "a user namespace without mappings", &unmapped)?;
        let wrong = loud(stage)?.namespace("network", Some(Path::new("/proc/self/ns/ipc")));
        refuse(stage, "a path of another kind of namespace", &wrong)?;
        let file = loud(stage)?.namespace("network", Some(Path::new("/etc/passwd")));
        refuse(stage, "a path that is no namespace", &file)?;
        let shared = loud(stage)?.without_namespace("uts");
        refuse(stage, "a hostname in the machine's uts namespace", &shared)?;
        let sysctl = json!({"kernel.msgmax": "1"});
        let machine = loud(stage)?
            .without_namespace("ipc")
            .set("/linux/sysctl", sysctl);
        refuse(stage, "a sysctl of the machine", &machine)?;
        if !stage.runtime().is_runc() {
            let mapped = loud(stage)?.set("/linux/uidMappings", mapping);
            refuse(stage, "mappings without a user namespace", &mapped)?;
            let offsets = json!({"boottime": {"secs": 1}});
            let time = loud(stage)?.set("/linux/timeOffsets", offsets);
            refuse(stage, "time offsets without a time namespace", &time)?;
            let climbing = loud(stage)?.set("/linux/cgroupsPath", json!("/../../x"));
            refuse(stage, "a cgroup path that climbs", &climbing)?;
        }
        Ok(())
    })
}

#[test]
fn what_is_not_supported_yet_is_refused_by_its_path() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 supports or ignores these", |stage| {
        for (path, value) in [
            ("/hooks/prestart", json!([{"path": "/bin/true"}])),
            ("/hooks/createRuntime", json!([{"path": "/bin/true"}])),
            ("/process/apparmorProfile", json!("unconfined-x")),
            ("/process/selinuxLabel", json!("a:b:c:d")),
            ("/process/scheduler", json!({"policy": "SCHED_BATCH"})),
            (
                "/process/ioPriority",
                json!({"class": "IOPRIO_CLASS_IDLE", "priority": 1}),
            ),
            ("/linux/mountLabel", json!("a:b:c:d")),
            ("/linux/intelRdt", json!({"closID": "x"})),
            ("/linux/personality", json!({"domain": "LINUX32"})),
            (
                "/mounts/-",
                json!({"destination": "/x", "type": "bind", "source": "/etc", "options": ["bind"],
                "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}],
                "gidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}),
            ),
        ] {
            let line = refuse(stage, path, &loud(stage)?.set(path, value))?;
            // "/mounts/-" became a number
            let name = path
                .trim_start_matches('/')
                .replace("/-", "")
                .replace('/', ".");
            ensure!(
                line.replace('/', ".").contains(&name),
                "{path} is not named: {line}"
            );
        }
        Ok(())
    })
}

#[test]
fn every_refusal_is_named_at_once() -> Result<()> {
    on_stage_of_hostrun("runc stops at the first", |stage| {
        let bundle = loud(stage)?
            .set("/linux/mountLabel", json!("a:b:c:d"))
            .set("/process/apparmorProfile", json!("unconfined-x"));
        let line = refuse(stage, "two at once", &bundle)?;
        for name in ["mountLabel", "apparmorProfile"] {
            ensure!(line.contains(name), "{name} is missing: {line}");
        }
        Ok(())
    })
}

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
                vec!["/entry", "aarch64"],
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
                    line.contains("CR") || line.contains("\\r"),
                    "no word of the CR: {line}"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn an_ordinary_user_is_told_that_root_is_needed() -> Result<()> {
    on_stage_of_hostrun("runc has a rootless mode", |stage| {
        // the binary may be in a folder that only root can enter
        let program = stage.dir().join("hostrun");
        fs::copy(stage.runtime().program(), &program)?;
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
        let out = Call::new(&program, words).under(nobody).run()?;
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
            let line = refused(stage, "id in use", &out, 125)?;
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
        for options in ["size=4k,nr_inodes=1", "size=4k,nr_inodes=4"] {
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
        let words: [&[&str]; 6] = [
            &["no-such-verb"],
            &["run"],
            &["run", "--no-such-flag", "x"],
            &["state", "not-there"],
            &["kill", "not-there", "TERM"],
            &["delete", "not-there"],
        ];
        for words in words {
            let out = stage.call(words).run()?;
            ensure!(out.code() != 0, "{words:?} went through");
            if !stage.runtime().is_runc() {
                assert_eq!(out.code(), 125, "{words:?}: {}", out.stderr());
                ensure!(!out.stderr().is_empty(), "{words:?}: no word");
            }
        }
        let container = stage.start(&stage.bundle()?.shell("sleep 60"))?;
        let out = container.call("kill", &["NOSUCHSIGNAL"])?;
        ensure!(out.code() != 0, "an unknown signal was sent");
        container.delete()
    })
}

#[test]
fn unknown_keys_are_named_and_do_not_stop_a_start() -> Result<()> {
    on_stage_of_hostrun("runc ignores them in silence", |stage| {
        let bundle = stage
            .bundle()?
            .set("/linux/futureKey", Value::Bool(true))
            .shell("echo it ran");
        let out = stage.run(&bundle)?;
        assert_eq!(out.ok()?, "it ran\n");
        ensure!(
            out.stderr().contains("futureKey"),
            "not named: {}",
            out.stderr()
        );
        Ok(())
    })
}
