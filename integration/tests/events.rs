//! Events: what a container uses, line by line, until it ends.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::{on_stage, on_stage_of_hostrun};
use serde_json::Value;

#[test]
fn one_look_has_every_part_that_readers_of_runcs_events_know() -> Result<()> {
    on_stage(|stage| {
        let container = stage.start(&stage.bundle()?.args(&["/bin/sleep", "60"]))?;
        let out = stage
            .call(["events", "--stats", &container.id])
            .run()?
            .ok()?;
        assert_eq!(out.lines().count(), 1);
        let begin = format!(
            "{{\"type\":\"stats\",\"id\":\"{}\",\"data\":{{",
            container.id
        );
        ensure!(out.starts_with(&begin), "{out}");
        let event: Value = serde_json::from_str(&out)?;
        let data = event
            .get("data")
            .and_then(Value::as_object)
            .context("no data")?;
        let keys: BTreeSet<&str> = data.keys().map(String::as_str).collect();
        let wanted = [
            "blkio",
            "cpu",
            "cpuset",
            "hugetlb",
            "intel_rdt",
            "memory",
            "network_interfaces",
            "pids",
        ];
        assert_eq!(keys, wanted.into_iter().collect());
        let number = |pointer: &str| event.pointer(pointer).and_then(Value::as_u64);
        ensure!(number("/data/cpu/usage/user").is_some(), "{out}");
        ensure!(number("/data/memory/usage/limit").is_some(), "{out}");
        container.delete()
    })
}

#[test]
fn looks_go_on_until_the_container_ends() -> Result<()> {
    on_stage_of_hostrun(
        "runc watches nothing without a memory controller",
        |stage| {
            let container = stage.start(&stage.bundle()?.args(&["/bin/sleep", "60"]))?;
            let words = ["events", "--interval", "100ms", &container.id];
            let mut events = stage.call(words).spawn()?;
            events.wait_for("\"stats\"")?;
            container.delete()?;
            let out = events.wait()?;
            ensure!(out.stdout().lines().count() >= 1, "{}", out.stderr());
            Ok(())
        },
    )
}

#[test]
fn a_container_that_has_ended_has_no_events() -> Result<()> {
    on_stage(|stage| {
        let container = stage.start(&stage.bundle()?.args(&["/bin/sleep", "60"]))?;
        container.kill("KILL")?;
        container.wait_until("stopped")?;
        let out = stage.call(["events", "--stats", &container.id]).run()?;
        ensure!(
            out.code() == 1 && out.stderr().contains("is not running"),
            "{}",
            out.stderr()
        );
        let zero = stage
            .call(["events", "--interval", "0", &container.id])
            .run()?;
        ensure!(zero.code() != 0, "an interval of nothing was taken");
        container.delete()
    })
}
