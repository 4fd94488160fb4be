//! Limits that bite. They need every cgroup v2 controller, so `make test-vm` runs them in a guest.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::{Bundle, cgroup, on_stage, on_stage_of_hostrun};
use serde_json::json;

/// Takes much more memory than any limit here.
const HUNGRY: &str = "exec dd if=/dev/zero of=/dev/null bs=100M count=2";
/// More than [`TASKS`], and the first ones are still there when the last one is born.
const FORKS: &str = "n=0; while [ $n -lt 40 ]; do n=$((n+1)); sleep 60 & done; echo all";
/// Enough for the threads of a runtime's own process in there, which dies where it gets no more.
const TASKS: u32 = 20;
/// Runs for a while on one processor.
const BUSY: &str = "n=0; while [ $n -lt 20000 ]; do n=$((n+1)); done";

fn group(bundle: &Bundle) -> Result<String> {
    let path = bundle.config().pointer("/linux/cgroupsPath");
    Ok(path
        .and_then(|path| path.as_str())
        .context("no cgroup")?
        .to_owned())
}

#[test]
fn every_controller_is_here() -> Result<()> {
    for controller in ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"] {
        ensure!(
            cgroup::has_controller(controller),
            "no {controller}: the machine is broken, not the runtime"
        );
    }
    Ok(())
}

#[test]
fn memory_beyond_the_limit_is_death() -> Result<()> {
    on_stage(|stage| {
        let limit = json!({"limit": 33_554_432, "swap": 33_554_432});
        let bundle = stage
            .bundle()?
            .set("/linux/resources/memory", limit)
            .shell(HUNGRY);
        assert_eq!(stage.run(&bundle)?.code(), 137);
        Ok(())
    })
}

#[test]
fn memory_above_the_high_mark_is_slowed_and_lives() -> Result<()> {
    on_stage(|stage| {
        let script = "dd if=/dev/zero of=/dev/null bs=9M count=1 2>/dev/null && grep '^high' /sys/fs/cgroup/memory.events";
        let bundle = stage
            .bundle()?
            .set(
                "/linux/resources/unified",
                json!({"memory.high": "8388608"}),
            )
            .shell(script);
        let text = stage.run(&bundle)?.ok()?;
        let times: u64 = text.trim().rsplit(' ').next().unwrap_or("0").parse()?;
        ensure!(times > 0, "{text}");
        Ok(())
    })
}

#[test]
fn processor_time_is_shared_by_weight() -> Result<()> {
    on_stage(|stage| {
        let busy = |weight: u64| {
            let bundle = stage
                .bundle()?
                .set("/linux/resources/cpu", json!({"cpus": "0"}))
                .set(
                    "/linux/resources/unified",
                    json!({"cpu.weight": weight.to_string()}),
                );
            Ok::<_, anyhow::Error>(bundle.shell("while :; do :; done"))
        };
        let (heavy, light) = (busy(1000)?, busy(100)?);
        let running = [stage.start(&light)?, stage.start(&heavy)?];
        let used = || {
            let used = |bundle| cgroup::value(&group(bundle)?, "cpu.stat", "usage_usec");
            Ok::<_, anyhow::Error>((used(&heavy)?, used(&light)?))
        };
        let before = used()?;
        std::thread::sleep(std::time::Duration::from_secs(3));
        let after = used()?;
        for container in running {
            container.delete()?;
        }
        // ten to one, and less where the scheduler's slices are long
        let (more, less) = (after.0 - before.0, after.1 - before.1);
        ensure!(more > 3 * less, "{more} us beside {less} us");
        Ok(())
    })
}

#[test]
fn limits_stand_in_the_containers_cgroup() -> Result<()> {
    on_stage(|stage| {
        let resources = json!({
            "devices": [{"allow": false, "access": "rwm"}],
            "memory": {"limit": 67_108_864, "swap": 134_217_728, "reservation": 33_554_432},
            "cpu": {"quota": 25_000, "period": 50_000, "shares": 512, "cpus": "1", "mems": "0"},
            "pids": {"limit": 17},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}],
            "unified": {"memory.high": "50331648"}
        });
        let bundle = stage
            .bundle()?
            .set("/linux/resources", resources)
            .shell("sleep 60");
        let container = stage.start(&bundle)?;
        let group = group(&bundle)?;
        for (file, value) in [
            ("memory.max", "67108864"),
            ("memory.swap.max", "67108864"),
            ("memory.low", "33554432"),
            ("memory.high", "50331648"),
            ("cpu.max", "25000 50000"),
            ("cpuset.cpus", "1"),
            ("cpuset.mems", "0"),
            ("pids.max", "17"),
            ("hugetlb.2MB.max", "4194304"),
        ] {
            assert_eq!(cgroup::read(&group, file)?, value, "{file}");
        }
        // 512 shares of 1024, by the formula of the time
        let weight: u64 = cgroup::read(&group, "cpu.weight")?.parse()?;
        ensure!((15..=70).contains(&weight), "cpu.weight {weight}");
        container.delete()
    })
}

#[test]
fn forks_beyond_the_limit_are_refused() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .set("/linux/resources/pids", json!({"limit": TASKS}))
            .shell(FORKS);
        let out = stage.run(&bundle)?;
        ensure!(
            out.code() != 0 && !out.stdout().contains("all"),
            "forked all: {}",
            out.stdout()
        );
        ensure!(out.stderr().contains("fork"), "{}", out.stderr());
        Ok(())
    })
}

#[test]
fn processor_time_beyond_the_quota_is_throttled() -> Result<()> {
    on_stage(|stage| {
        let script = format!("{BUSY}; grep nr_throttled /sys/fs/cgroup/cpu.stat");
        let quota = json!({"quota": 10_000, "period": 100_000});
        let bundle = stage
            .bundle()?
            .set("/linux/resources/cpu", quota)
            .shell(&script);
        let text = stage.run(&bundle)?.ok()?;
        let times: u64 = text.trim().rsplit(' ').next().unwrap_or("0").parse()?;
        ensure!(times >= 3, "throttled {times} times");
        Ok(())
    })
}

#[test]
fn processors_are_those_asked_for() -> Result<()> {
    on_stage(|stage| {
        for set in ["0", "1", "0-1"] {
            let bundle = stage
                .bundle()?
                .set("/linux/resources/cpu", json!({"cpus": set}));
            let out = stage.run(&bundle.shell("grep Cpus_allowed_list /proc/self/status"))?;
            assert_eq!(out.ok()?, format!("Cpus_allowed_list:\t{set}\n"));
        }
        Ok(())
    })
}

#[test]
fn device_rules_bite() -> Result<()> {
    on_stage(|stage| {
        let rules = json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}
        ]);
        let script =
            "mknod /tmp/kmsg c 1 11 && mknod /tmp/mem c 1 1 && mknod /tmp/disk b 7 0; echo made $?
            dd if=/tmp/kmsg count=0 2>/dev/null; echo kmsg $?
            (: >/tmp/kmsg) 2>/dev/null; echo write $?
            dd if=/tmp/mem count=0 2>/dev/null; echo mem $?
            head -c1 /dev/zero >/dev/null; echo zero $?";
        let bundle = stage
            .bundle()?
            .capabilities(&["CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_SYSLOG"])
            .set("/linux/resources/devices", rules)
            .shell(script);
        let text = stage.run(&bundle)?.stdout();
        let wanted = "kmsg 0\nwrite 1\nmem 1\nzero 0\n";
        ensure!(text.ends_with(wanted), "{text}");
        Ok(())
    })
}

#[test]
fn a_frozen_container_can_be_killed_and_deleted() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage.bundle()?.shell("sleep 60 & sleep 60 & wait");
        let container = stage.start(&bundle)?;
        let freeze = cgroup::dir(&group(&bundle)?).join("cgroup.freeze");
        fs::write(freeze, "1")?;
        container.kill("KILL")?;
        container.wait_until("stopped")?;
        container.delete()
    })
}

#[test]
fn delete_by_force_kills_every_process() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .shell("for n in 1 2 3 4 5 6 7 8 9; do sleep 60 & done; sleep 60");
        stage.start(&bundle)?.delete()
    })
}

#[test]
fn limits_of_an_image_are_flags() -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let image = Image::new(stage.dir())?;
        let name = stage.call(["load", "-q", &image.source()]).run()?.ok()?;
        let run = |flags: &[&str], script: &str| -> Result<(i32, String)> {
            let words = [&["--rm"], flags, &[name.trim(), "sh", "-c", script]].concat();
            let out = stage.image_call(words).run()?;
            Ok((out.code(), out.stdout()))
        };
        let see = |file: &str| format!("cat /sys/fs/cgroup/{file}");
        assert_eq!(run(&["-m", "32m", "--memory-swap", "32m"], HUNGRY)?.0, 137);
        for (flags, file, value) in [
            (vec!["-m", "32m"], "memory.max", "33554432\n"),
            (vec!["-m", "32m"], "memory.swap.max", "33554432\n"),
            (
                vec!["-m", "32m", "--memory-swap", "-1"],
                "memory.swap.max",
                "max\n",
            ),
            (vec!["--cpus", "0.5"], "cpu.max", "50000 100000\n"),
            (vec!["--pids-limit", "9"], "pids.max", "9\n"),
            (vec!["--pids-limit", "-1"], "pids.max", "max\n"),
            (vec!["--cpuset-cpus", "1"], "cpuset.cpus.effective", "1\n"),
        ] {
            assert_eq!(run(&flags, &see(file))?, (0, value.to_owned()), "{flags:?}");
        }
        let (code, text) = run(&["--pids-limit", &TASKS.to_string()], FORKS)?;
        ensure!(code != 0 && !text.contains("all"), "forked all: {text}");
        let (_, text) = run(
            &["--cpus", "0.1"],
            &format!("{BUSY}; grep nr_throttled /sys/fs/cgroup/cpu.stat"),
        )?;
        ensure!(!text.contains("nr_throttled 0"), "{text}");
        Ok(())
    })
}

#[test]
fn no_limit_is_set_that_nobody_asked_for() -> Result<()> {
    on_stage(|stage| {
        // a controller that nobody needs may be off, and then there is no file
        let script = "cat /sys/fs/cgroup/*.max 2>/dev/null | sort -u; true";
        let text = stage.run(&stage.bundle()?.shell(script))?.ok()?;
        for line in text.lines() {
            let unlimited =
                line.starts_with("max") || line.parse::<u64>().is_ok_and(|n| n > 1 << 60);
            ensure!(unlimited, "a limit nobody asked for: {line} in {text}");
        }
        Ok(())
    })
}
