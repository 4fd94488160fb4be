//! Flags of exec in a container that was made from a bundle, as runc has them.

use std::fs;

use anyhow::{Result, ensure};
use hostrun_integration::{Container, Stage, on_stage, on_stage_of_hostrun};
use serde_json::{Value, json};

fn container(stage: &Stage) -> Result<Container<'_>> {
    stage.start(&stage.bundle()?.args(&["/bin/sleep", "60"]))
}

/// Runs `exec FLAGS... ID WORDS...`.
fn exec(stage: &Stage, id: &str, flags: &[&str], words: &[&str]) -> Result<String> {
    let all = [&["exec"], flags, &[id], words].concat();
    stage.call(all).run()?.ok()
}

fn refused(stage: &Stage, id: &str, flags: &[&str], text: &str) -> Result<()> {
    let out = stage
        .call([&["exec"], flags, &[id, "true"]].concat())
        .run()?;
    assert_eq!(out.code(), 255, "{flags:?}: {}", out.stderr());
    ensure!(out.stderr().contains(text), "{flags:?}: {}", out.stderr());
    Ok(())
}

#[test]
fn a_user_is_a_number_and_groups_are_added() -> Result<()> {
    on_stage(|stage| {
        let container = container(stage)?;
        let id = container.id.as_str();
        let out = exec(
            stage,
            id,
            &["-u", "1000:1000", "-g", "100", "-g", "65534"],
            &["id", "-G"],
        )?;
        assert_eq!(out, "1000 100 65534\n");
        assert_eq!(exec(stage, id, &["--user", "1000"], &["id", "-g"])?, "0\n");
        let home = exec(stage, id, &["--user", "1000"], &["sh", "-uc", "echo $HOME"])?;
        assert_eq!(home, "/home/user\n");
        assert_eq!(
            exec(stage, id, &["--user", "4711"], &["sh", "-uc", "echo $HOME"])?,
            "/\n"
        );
        refused(
            stage,
            id,
            &["--user", "user"],
            "parsing user as int for uid failed",
        )?;
        refused(
            stage,
            id,
            &["--user", "1:x"],
            "parsing x as int for gid failed",
        )?;
        container.delete()
    })
}

#[test]
fn variables_directory_and_input_are_the_callers_wish() -> Result<()> {
    on_stage(|stage| {
        let container = container(stage)?;
        let id = container.id.as_str();
        let out = exec(
            stage,
            id,
            &["-e", "A=b c", "-e", "D=", "--cwd", "/tmp"],
            &["sh", "-c", "echo $A-$D; pwd"],
        )?;
        assert_eq!(out, "b c-\n/tmp\n");
        let call = stage.call(["exec", id, "cat"]).input("from the caller");
        assert_eq!(call.run()?.ok()?, "from the caller");
        container.delete()
    })
}

#[test]
fn a_capability_goes_into_three_sets_and_no_other() -> Result<()> {
    on_stage(|stage| {
        if stage.runtime().is_runc() {
            // runc 1.1.5 sets the ambient one, too, which it calls a bug since
            return Ok(());
        }
        let bundle = stage
            .bundle()?
            .capabilities(&["CAP_KILL"])
            .args(&["/bin/sleep", "60"]);
        let container = stage.start(&bundle)?;
        let id = container.id.as_str();
        let sets = |flags: &[&str]| exec(stage, id, flags, &["grep", "Cap", "/proc/self/status"]);
        let number = |text: &str, set: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(set).map(str::trim));
            line.and_then(|hex| u64::from_str_radix(hex, 16).ok())
        };
        let more = sets(&["--cap", "CAP_SYS_TIME", "-c", "chown"])?;
        let wanted = Some(1 << 5 | 1 << 25 | 1);
        for set in ["CapBnd:", "CapEff:", "CapPrm:"] {
            assert_eq!(number(&more, set), wanted, "{set} {more}");
        }
        for set in ["CapInh:", "CapAmb:"] {
            assert_eq!(number(&more, set), Some(0), "{set} {more}");
        }
        assert_eq!(number(&sets(&[])?, "CapBnd:"), Some(1 << 5));
        container.delete()
    })
}

#[test]
fn new_privileges_can_be_forbidden_for_one_process() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .set("/process/noNewPrivileges", json!(false));
        let container = stage.start(&bundle.args(&["/bin/sleep", "60"]))?;
        let words = ["grep", "NoNewPrivs", "/proc/self/status"];
        assert_eq!(
            exec(stage, &container.id, &["--no-new-privs"], &words)?,
            "NoNewPrivs:\t1\n"
        );
        assert_eq!(exec(stage, &container.id, &[], &words)?, "NoNewPrivs:\t0\n");
        container.delete()
    })
}

#[test]
fn a_process_from_a_file_is_whole_and_what_it_leaves_out_is_the_containers() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .capabilities(&["CAP_KILL"])
            .args(&["/bin/sleep", "60"]);
        let container = stage.start(&bundle)?;
        let file = stage.dir().join("process.json");
        let path = file.to_string_lossy().into_owned();
        let mut process = json!({
            "args": ["sh", "-c", "echo $A $HOME; pwd; grep CapBnd /proc/self/status; ulimit -n"],
            "env": ["PATH=/bin", "A=b"], "cwd": "/tmp", "user": {"uid": 1000, "gid": 1000}
        });
        fs::write(&file, process.to_string())?;
        let out = exec(stage, &container.id, &["--process", &path], &[])?;
        let said = "b /home/user\n/tmp\nCapBnd:\t0000000000000020\n";
        // runc's process has whatever limit its caller has
        let limit = if stage.runtime().is_runc() {
            ""
        } else {
            "1024\n"
        };
        ensure!(out.starts_with(said) && out.ends_with(limit), "{out}");
        for (key, value, text) in [
            ("cwd", json!(""), "Cwd property must not be empty"),
            ("cwd", json!("tmp"), "Cwd must be an absolute path"),
            ("args", json!([]), "args must not be empty"),
        ] {
            let before = process.get(key).cloned().unwrap_or(Value::Null);
            if let Some(object) = process.as_object_mut() {
                object.insert(key.to_owned(), value);
            }
            fs::write(&file, process.to_string())?;
            refused(stage, &container.id, &["-p", &path], text)?;
            if let Some(object) = process.as_object_mut() {
                object.insert(key.to_owned(), before);
            }
        }
        refused(
            stage,
            &container.id,
            &["-p", "/not/there"],
            "no such file or directory",
        )?;
        container.delete()
    })
}

#[test]
fn a_cgroup_below_the_containers_own_is_joined_and_no_other() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage.bundle()?.args(&["/bin/sleep", "60"]);
        let container = stage.start(&bundle)?;
        let group = format!("{}/sub", bundle.cgroup()?);
        let below = hostrun_integration::cgroup::dir(&group);
        fs::create_dir(&below)?;
        let id = container.id.as_str();
        let own = |flags: &[&str]| exec(stage, id, flags, &["grep", "0::", "/proc/self/cgroup"]);
        assert_eq!(own(&["--cgroup", "sub"])?.trim(), "0::/sub");
        assert_eq!(own(&["--cgroup", "/"])?.trim(), "0::/");
        refused(
            stage,
            id,
            &["--cgroup", "nonexistent"],
            "no such file or directory",
        )?;
        if !stage.runtime().is_runc() {
            refused(stage, id, &["--cgroup", ".."], "bad sub cgroup path")?;
            refused(
                stage,
                id,
                &["--cgroup", "nonexistent"],
                "/nonexistent/cgroup.procs: no such file or directory",
            )?;
            refused(stage, id, &["--cgroup", "whaaat:/"], "unknown controller ")?;
        }
        container.delete()
    })
}

#[test]
fn descriptors_are_preserved_and_gaps_are_passed_over() -> Result<()> {
    on_stage_of_hostrun("runc stops at a gap", |stage| {
        let container = container(stage)?;
        let file = stage.dir().join("file");
        fs::write(&file, "kept\n")?;
        let words = [
            "exec",
            "--preserve-fds",
            "3",
            &container.id,
            "sh",
            "-c",
            "cat <&5; ls /proc/self/fd | wc -l",
        ];
        let opens = format!("exec 5<{}; exec \"$0\" \"$@\"", file.display());
        let out = stage.call(words).under(["sh", "-c", &opens]).run()?.ok()?;
        // the three streams, the one that is kept, and the folder that ls reads
        assert_eq!(out, "kept\n5\n");
        container.delete()
    })
}

#[test]
fn a_container_that_waits_to_be_started_can_be_joined() -> Result<()> {
    on_stage(|stage| {
        let container = stage.create(&stage.bundle()?.args(&["/bin/sleep", "60"]))?;
        assert_eq!(container.exec(&["echo", "early"])?.ok()?, "early\n");
        container.start()?;
        container.delete()
    })
}
