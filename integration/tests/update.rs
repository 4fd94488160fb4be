//! Update: what it reads. That limits bite is tested in the virtual machine.

use std::fs;

use anyhow::{Result, ensure};
use hostrun_integration::{Container, Stage, cgroup, on_stage, on_stage_of_hostrun};
use serde_json::json;

fn update(
    stage: &Stage,
    container: &Container<'_>,
    words: &[&str],
    input: &str,
) -> Result<(i32, String)> {
    let call = stage.call([&["update"], words, &[container.id.as_str()]].concat());
    let out = call.input(input).run()?;
    Ok((out.code(), out.stderr()))
}

#[test]
fn limits_come_from_a_file_or_from_standard_input() -> Result<()> {
    on_stage_of_hostrun(
        "runc leaves limits of huge pages alone in update",
        |stage| {
            let limit = |bytes: u64| json!([{"pageSize": "2MB", "limit": bytes}]);
            let bundle = stage
                .bundle()?
                .set("/linux/resources/hugepageLimits", limit(2 << 20));
            let container = stage.start(&bundle.clone().args(&["/bin/sleep", "60"]))?;
            let now = || cgroup::read(&bundle.cgroup()?, "hugetlb.2MB.max");
            assert_eq!(now()?.trim(), (2 << 20).to_string());
            let more = json!({"hugepageLimits": limit(4 << 20)}).to_string();
            assert_eq!(
                update(stage, &container, &["-r", "-"], &more)?,
                (0, String::new())
            );
            assert_eq!(now()?.trim(), (4 << 20).to_string());
            let file = stage.dir().join("resources.json");
            fs::write(&file, json!({"HugepageLimits": limit(6 << 20)}).to_string())?;
            let path = file.to_string_lossy().into_owned();
            update(stage, &container, &["--resources", &path], "")?;
            assert_eq!(now()?.trim(), (6 << 20).to_string());
            container.delete()
        },
    )
}

#[test]
fn what_cannot_be_read_or_applied_is_refused_and_changes_nothing() -> Result<()> {
    on_stage(|stage| {
        let container = stage.start(&stage.bundle()?.args(&["/bin/sleep", "60"]))?;
        for (words, input) in [
            (vec!["-r", "-"], "no json"),
            (vec!["-r", "/not/there"], ""),
            (vec!["--cpu-quota", "much"], ""),
            (vec!["--memory", "some"], ""),
            (vec!["--l3-cache-schema", "L3:0=f"], ""),
        ] {
            let (code, said) = update(stage, &container, &words, input)?;
            ensure!(code == 1 && !said.is_empty(), "{words:?}: {code} {said}");
        }
        assert_eq!(container.state()?["status"], "running");
        let (code, _) = update(stage, &container, &["-r", "-"], "{}")?;
        assert_eq!(code, 0);
        container.delete()
    })
}

#[test]
fn a_container_that_is_not_there_has_no_limits() -> Result<()> {
    on_stage(|stage| {
        let out = stage
            .call(["update", "--memory", "64M", "not-there"])
            .run()?;
        ensure!(
            out.code() == 1 && out.stderr().contains("does not exist"),
            "{}",
            out.stderr()
        );
        Ok(())
    })
}
