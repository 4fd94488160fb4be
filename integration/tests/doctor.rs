//! `hostrun doctor`: every check has an id, a verdict and a way out.

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::kernel::STEPS;
use hostrun_integration::{Stage, on_stage_of_hostrun};
use serde_json::Value;

const REASON: &str = "runc has no doctor";

fn checks(stage: &Stage) -> Result<(i32, Vec<Value>)> {
    let out = stage.call(["doctor", "--format", "json"]).run()?;
    let list: Value = serde_json::from_str(&out.stdout())?;
    Ok((out.code(), list.as_array().context("no list")?.clone()))
}

fn verdict<'a>(checks: &'a [Value], id: &str) -> Result<&'a str> {
    let check = checks.iter().find(|check| check["id"] == id);
    check
        .and_then(|check| check["verdict"].as_str())
        .with_context(|| format!("no check {id}"))
}

#[test]
fn a_machine_that_runs_containers_is_well() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let (code, checks) = checks(stage)?;
        assert_eq!(code, 0, "{checks:?}");
        for id in [
            "kernel.version",
            "kernel.openat2",
            "kernel.mount_setattr",
            "cgroup.version",
        ] {
            assert_eq!(verdict(&checks, id)?, "ok", "{id}");
        }
        for check in &checks {
            let well = check["verdict"] == "ok";
            ensure!(well || check["fix"].is_string(), "no way out: {check}");
        }
        ensure!(checks.len() >= 18, "only {} checks", checks.len());
        let table = stage.call(["doctor"]).run()?.ok()?;
        ensure!(
            table.starts_with("CHECK") && table.contains("cgroup.version"),
            "{table}"
        );
        Ok(())
    })
}

#[test]
fn an_old_kernel_is_told_by_what_it_answers() -> Result<()> {
    let oldest = STEPS[STEPS.len() - 1];
    oldest.pretend(|| {
        on_stage_of_hostrun(REASON, |stage| {
            let (code, checks) = checks(stage)?;
            assert_eq!(code, 0);
            assert_eq!(verdict(&checks, "kernel.mount_setattr")?, "warning");
            assert_eq!(verdict(&checks, "kernel.landlock")?, "warning");
            Ok(())
        })
    })
}

#[test]
fn a_machine_without_cgroup2_is_a_failure_with_a_fix() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let without = "umount --lazy --recursive /sys/fs/cgroup; while umount --lazy /sys/fs/cgroup 2>/dev/null; do :; done; exec \"$@\"";
        let own = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            without,
            "without",
        ];
        let out = stage.call(["doctor"]).under(own).run()?;
        assert_eq!(out.code(), 1, "{}", out.stdout());
        ensure!(
            out.stdout().contains("fix cgroup.version: "),
            "{}",
            out.stdout()
        );
        Ok(())
    })
}

#[test]
fn containers_that_were_left_are_named() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let container = stage.start(&stage.bundle()?)?;
        container.wait_until("stopped")?;
        let (_, found) = checks(stage)?;
        assert_eq!(verdict(&found, "state.stale")?, "warning");
        container.delete()?;
        let (_, found) = checks(stage)?;
        assert_eq!(verdict(&found, "state.stale")?, "ok");
        Ok(())
    })
}

#[test]
fn unit_files_are_checked_with_file_and_line() -> Result<()> {
    on_stage_of_hostrun("runc has no such verb", |stage| {
        let file = stage.dir().join("web.container");
        std::fs::write(&file, "[Container]\nPublishPort=80:80\nImage=web\n")?;
        let path = file.to_string_lossy().into_owned();
        let out = stage.call(["unit", "check", &path]).run()?;
        let said = out.stdout();
        ensure!(
            out.code() == 1 && said.contains("web.container:2: PublishPort="),
            "{said}"
        );
        std::fs::write(&file, "[Container]\nImage=web\n")?;
        let out = stage.call(["unit", "show", &path]).run()?.ok()?;
        ensure!(out.contains(" run --rm "), "{out}");
        stage.call(["unit", "check", &path]).run()?.ok().map(drop)
    })
}
