//! The shim where there is something to limit: kills for want of memory, statistics, limits that change,
//! and checkpoints where criu works. In the virtual machine.

use anyhow::{Result, ensure};
use hostrun_integration::shim::message::{Field, message, text};
use hostrun_integration::shim::with_shims;
use hostrun_integration::{cgroup, host};
use serde_json::json;

/// Takes memory until it is killed.
const HUNGRY: &str = "dd if=/dev/zero of=/dev/null bs=100M count=2";

#[test]
fn kills_for_want_of_memory_are_told_before_the_end() -> Result<()> {
    with_shims(|shims| {
        let limit = json!({"limit": 33_554_432, "swap": 33_554_432});
        let bundle = shims.stage.bundle()?.set("/linux/resources/memory", limit);
        let mut running = shims.run(&bundle.shell(&format!("exec {HUNGRY}")), &[])?;
        assert_eq!(running.wait()?, 137);
        let id = running.id.clone();
        running.delete()?;
        let topics = || shims.sink.borrow().topics(&id);
        host::wait_for("the events", || {
            topics().last().is_some_and(|last| last == "delete")
        })?;
        assert_eq!(topics(), ["create", "start", "oom", "exit", "delete"]);
        Ok(())
    })
}

#[test]
fn one_of_many_that_is_killed_for_want_of_memory_is_told_too() -> Result<()> {
    with_shims(|shims| {
        let limit = json!({"limit": 33_554_432, "swap": 33_554_432});
        let bundle = shims.stage.bundle()?.set("/linux/resources/memory", limit);
        let script = format!("{HUNGRY}; sleep 60");
        let mut running = shims.run(&bundle.shell(&script), &[])?;
        let id = running.id.clone();
        let topics = || shims.sink.borrow().topics(&id);
        host::wait_for("the event", || topics().contains(&"oom".to_owned()))?;
        running.kill(9)?;
        assert_eq!(running.wait()?, 137);
        running.delete().map(drop)
    })
}

#[test]
fn limits_and_use_are_told_and_change() -> Result<()> {
    with_shims(|shims| {
        let limit = json!({"limit": 67_108_864});
        let bundle = shims.stage.bundle()?.set("/linux/resources/memory", limit);
        let bundle = bundle.set("/linux/resources/pids/limit", 17.into());
        let bundle = bundle.shell("sleep 60");
        let mut running = shims.run(&bundle, &[])?;
        let named = running.named();
        let stats = running.client.ok("Stats", &named)?.message(1)?.message(2)?;
        assert_eq!(stats.message(4)?.number(33), 67_108_864);
        ensure!(stats.message(4)?.number(32) > 0, "no memory is used");
        assert_eq!(stats.message(1)?.number(2), 17);
        let resources = message(&[
            (
                1,
                text("types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"),
            ),
            (2, text("{\"memory\":{\"limit\":50331648}}")),
        ]);
        let update = [(1, text(&running.id)), (2, resources)];
        running.client.ok("Update", &update)?;
        assert_eq!(
            cgroup::read(&bundle.cgroup()?, "memory.max")?.trim(),
            "50331648"
        );
        running.kill(9)?;
        running.wait()?;
        running.delete().map(drop)
    })
}

#[test]
fn a_checkpoint_is_written_and_restored() -> Result<()> {
    let check = hostrun_integration::runtime::Call::new("criu".as_ref(), ["check"]).run();
    if !check.is_ok_and(|check| check.code() == 0) {
        return host::skip("a_checkpoint", "criu does not work here");
    }
    with_shims(|shims| {
        let counter =
            "exec >/dev/null 2>&1; i=0; while :; do i=$((i+1)); echo $i >/count; sleep 0.05; done";
        let bundle = shims
            .stage
            .bundle()?
            .shell(counter)
            .without_namespace("network");
        let count = || {
            let text = std::fs::read_to_string(bundle.rootfs().join("count"));
            text.unwrap_or_default().trim().parse().unwrap_or(0_u64)
        };
        let mut running = shims.run(&bundle, &[])?;
        host::wait_for("a count", || count() > 3)?;
        let images = shims.stage.dir().join("images").display().to_string();
        let options = message(&[
            (1, text("containerd.runc.v1.CheckpointOptions")),
            (2, message(&[(1, Field::Number(1))])),
        ]);
        let fields = [(1, text(&running.id)), (2, text(&images)), (3, options)];
        running.client.ok("Checkpoint", &fields)?;
        running.wait()?;
        let from = count();
        running.delete()?;
        let mut again = shims.run(&bundle, &[(8, text(&images))])?;
        host::wait_for("a count that goes on", || count() > from)?;
        again.kill(9)?;
        again.wait()?;
        again.delete().map(drop)
    })
}
