//! Classes of service of the processor. Where no resctrl is mounted, which is everywhere but on
//! hardware that has it, containers that ask for one are refused, and all else is skipped.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use hostrun_integration::refusal::{loud, refuse};
use hostrun_integration::{Stage, host, on_stage, on_stage_of_hostrun};
use serde_json::{Value, json};

const RESCTRL: &str = "/sys/fs/resctrl";

/// The mount, if the machine has it.
fn resctrl(test: &str) -> Result<Option<PathBuf>> {
    let root = Path::new(RESCTRL);
    if root.join("schemata").exists() {
        return Ok(Some(root.to_owned()));
    }
    host::skip(test, "no resctrl is mounted: it takes hardware")?;
    Ok(None)
}

#[test]
fn a_class_of_service_without_resctrl_is_refused_by_its_path() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 passes it over without resctrl", |stage| {
        if Path::new(RESCTRL).join("schemata").exists() {
            return host::skip("refusal without resctrl", "it is mounted");
        }
        for rdt in [
            json!({}),
            json!({"closID": "gold"}),
            json!({"closID": "/", "enableMonitoring": true}),
            json!({"schemata": ["L3:0=f"]}),
            json!({"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20"}),
            json!({"enableCMT": true, "enableMBM": true}),
        ] {
            let line = refuse(
                stage,
                "no resctrl",
                &loud(stage)?.set("/linux/intelRdt", rdt),
            )?;
            ensure!(line.contains("linux.intelRdt"), "{line}");
            ensure!(line.contains("Intel RDT is not enabled"), "{line}");
        }
        Ok(())
    })
}

#[test]
fn a_class_that_would_lead_elsewhere_is_refused() -> Result<()> {
    on_stage(|stage| {
        for name in [
            "..",
            ".",
            "../../../etc",
            "a/b",
            "info",
            "mon_groups",
            "tasks",
        ] {
            if stage.runtime().is_runc() && !name.contains(['.', '/']) {
                // 1.1 hands what is left to the kernel
                continue;
            }
            let bundle = loud(stage)?.set("/linux/intelRdt", json!({"closID": name}));
            let line = refuse(stage, name, &bundle)?;
            // a line of runc's log has its quotes escaped
            let line = line.replace('\\', "");
            ensure!(
                line.contains(&format!("invalid intelRdt.ClosID {name:?}")),
                "{line}"
            );
        }
        Ok(())
    })
}

#[test]
fn schemas_that_the_machine_has_no_use_for_are_refused_in_update() -> Result<()> {
    on_stage(|stage| {
        if Path::new(RESCTRL).join("schemata").exists() {
            return host::skip("update without resctrl", "it is mounted");
        }
        let bundle = stage.bundle()?.args(&["/bin/sleep", "60"]);
        let container = stage.start(&bundle)?;
        for (flag, schema, said) in [
            (
                "--l3-cache-schema",
                "L3:0=f",
                "Intel RDT/CAT: l3 cache schema is not enabled",
            ),
            (
                "--mem-bw-schema",
                "MB:0=20",
                "Intel RDT/MBA: memory bandwidth schema is not enabled",
            ),
        ] {
            let out = stage.call(["update", flag, schema, &container.id]).run()?;
            ensure!(out.code() == 1, "{flag}: {}", out.code());
            ensure!(out.stderr().contains(said), "{flag}: {}", out.stderr());
        }
        container.delete()
    })
}

fn tasks(group: &Path) -> Result<Vec<i32>> {
    let text = fs::read_to_string(group.join("tasks"))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

fn pid(stage: &Stage, id: &str) -> Result<i32> {
    let state: Value = serde_json::from_str(&stage.call(["state", id]).run()?.ok()?)?;
    let pid = state.get("pid").and_then(Value::as_i64);
    Ok(pid.unwrap_or(0).try_into()?)
}

#[test]
fn a_container_is_in_its_class_from_its_first_instruction_to_its_end() -> Result<()> {
    on_stage(|stage| {
        let Some(root) = resctrl("a class of the container's own")? else {
            return Ok(());
        };
        let bundle = stage
            .bundle()?
            .set("/linux/intelRdt", json!({}))
            .args(&["/bin/sleep", "60"]);
        let container = stage.start(&bundle)?;
        let group = root.join(&container.id);
        ensure!(tasks(&group)?.contains(&pid(stage, &container.id)?));
        let words = [
            "exec",
            container.id.as_str(),
            "cat",
            "/proc/self/cpu_resctrl_groups",
        ];
        let seen = stage.call(words).run()?.ok()?;
        ensure!(seen.contains(&container.id), "{seen}");
        container.delete()?;
        ensure!(!group.exists(), "its class is still there");
        Ok(())
    })
}

#[test]
fn a_monitoring_group_ends_with_its_container() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 makes none", |stage| {
        let Some(root) =
            resctrl("a monitoring group")?.filter(|root| root.join("mon_groups").exists())
        else {
            return Ok(());
        };
        let bundle = stage
            .bundle()?
            .set(
                "/linux/intelRdt",
                json!({"closID": "/", "enableMonitoring": true}),
            )
            .args(&["/bin/sleep", "60"]);
        let container = stage.start(&bundle)?;
        let group = root.join("mon_groups").join(&container.id);
        ensure!(tasks(&group)?.contains(&pid(stage, &container.id)?));
        let events = stage
            .call(["events", "--stats", &container.id])
            .run()?
            .ok()?;
        ensure!(events.contains("cmt_stats"), "{events}");
        container.delete()?;
        ensure!(!group.exists(), "its group is still there");
        Ok(())
    })
}
