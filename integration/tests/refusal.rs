//! Bundles that make no sense, or ask for what is not there: refused before anything exists.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use hostrun_integration::refusal::{loud, refuse, refused};
use hostrun_integration::{on_stage, on_stage_of_hostrun};
use serde_json::{Value, json};

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
        let half = loud(stage)?
            .namespace("user", None)
            .set("/linux/uidMappings", mapping.clone());
        refuse(stage, "a user namespace without a map of groups", &half)?;
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
            let time = loud(stage)?.set("/linux/timeOffsets", offsets.clone());
            refuse(stage, "time offsets without a time namespace", &time)?;
            // the process would have to be seen by whoever is in that namespace already
            let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
            let seen = loud(stage)?
                .namespace("time", None)
                .namespace("user", None)
                .namespace("pid", Some(Path::new("/proc/self/ns/pid")))
                .set("/linux/uidMappings", maps.clone())
                .set("/linux/gidMappings", maps)
                .set("/linux/timeOffsets", offsets);
            let what = "time offsets in a new user namespace beside others";
            refuse(stage, what, &seen)?;
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
            (
                "/linux/personality",
                json!({"domain": "LINUX32", "flags": ["ADDR_NO_RANDOMIZE"]}),
            ),
            (
                "/mounts/-",
                json!({"destination": "/x", "type": "bind", "source": "/etc", "options": ["bind"],
                "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}),
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
            .set("/linux/rootfsPropagation", json!("sideways"))
            .set("/process/apparmorProfile", json!("unconfined-x"));
        let line = refuse(stage, "two at once", &bundle)?;
        for name in ["rootfsPropagation", "apparmorProfile"] {
            ensure!(line.contains(name), "{name} is missing: {line}");
        }
        Ok(())
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
