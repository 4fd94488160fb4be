//! docs/parity.md: every test it names exists, and every row says whether it holds. Beside that, the
//! lines of it that no other suite shows: what other runtimes pass over in silence.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::pty::Pty;
use hostrun_integration::refusal::{loud, refuse};
use hostrun_integration::socket::Receiver;
use hostrun_integration::{Stage, cgroup, on_stage, on_stage_of_hostrun, sources};
use serde_json::{Value, json};

/// Line, verdict, and what shows it or why not, of every row.
fn rows(table: &str) -> Vec<[&str; 3]> {
    let rows = table
        .lines()
        .filter_map(sources::row)
        .filter_map(|cells| <[&str; 3]>::try_from(cells).ok());
    // no head and no rule below it
    rows.filter(|[line, ..]| *line != "what" && !line.starts_with('-'))
        .collect()
}

#[test]
fn every_line_holds_by_a_test_that_exists_or_says_why_not() -> Result<()> {
    let table = sources::read("docs/parity.md")?;
    let rows = rows(&table);
    ensure!(rows.len() > 80, "only {} rows", rows.len());
    let mut wrong = Vec::new();
    for [line, verdict, shown] in rows {
        let tests: Vec<&str> = sources::quoted(shown)
            .filter(|reference| reference.contains(".rs: "))
            .collect();
        let errors = tests
            .iter()
            .filter_map(|test| sources::test_exists(test).err());
        wrong.extend(errors.map(|error| format!("{line}: {error}")));
        match verdict {
            "holds" | "in part" if tests.is_empty() => wrong.push(format!("{line}: no test")),
            "no" if shown.is_empty() => wrong.push(format!("{line}: no reason")),
            "holds" | "in part" | "no" => {}
            other => wrong.push(format!("{line}: {other:?} is no verdict")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What cgroup v2 has no file for, so that no value but one that asks for nothing can be honoured.
fn only_v1() -> [(&'static str, Value); 9] {
    [
        ("network/classID", json!(1)),
        ("network/priorities", json!([{"name": "lo", "priority": 1}])),
        ("memory/swappiness", json!(10)),
        ("memory/disableOOMKiller", json!(true)),
        ("memory/kernel", json!(1 << 20)),
        ("memory/kernelTCP", json!(1 << 20)),
        ("blockIO/leafWeight", json!(100)),
        ("cpu/realtimeRuntime", json!(900_000)),
        ("cpu/realtimePeriod", json!(1_000_000)),
    ]
}

#[test]
fn what_only_cgroup_v1_could_do_is_refused_by_its_path() -> Result<()> {
    on_stage_of_hostrun("runc passes most of it over in silence", |stage| {
        for (setting, value) in only_v1() {
            let bundle = loud(stage)?.set(&format!("/linux/resources/{setting}"), value);
            let line = refuse(stage, setting, &bundle)?;
            let path = format!("linux.resources.{}", setting.replace('/', "."));
            ensure!(line.contains(&path), "{path} is not named: {line}");
        }
        Ok(())
    })
}

#[test]
fn an_update_refuses_it_too_and_changes_nothing() -> Result<()> {
    on_stage_of_hostrun("runc passes most of it over in silence", |stage| {
        let container = stage.start(&stage.bundle()?.args(&["/bin/sleep", "60"]))?;
        for (setting, value) in only_v1() {
            let (group, name) = setting.split_once('/').context("no group")?;
            let change = json!({group: {name: value}}).to_string();
            let call = stage.call(["update", "-r", "-", &container.id]);
            let out = call.input(change.clone()).run()?;
            ensure!(out.code() == 1, "{change}: accepted");
            let path = format!("{group}.{name}");
            ensure!(
                out.stderr().contains(&path),
                "{change}: {path} is not named: {}",
                out.stderr()
            );
        }
        container.delete()
    })
}

#[test]
fn rdma_without_its_controller_is_an_error_that_names_it() -> Result<()> {
    on_stage(|stage| {
        let limit = json!({"mlx5_0": {"hcaHandles": 3}});
        let bundle = loud(stage)?.set("/linux/resources/rdma", limit);
        let line = refuse(stage, "rdma", &bundle)?;
        ensure!(line.contains("rdma"), "{line}");
        Ok(())
    })
}

#[test]
fn a_kernels_file_system_needs_no_source_and_a_mask_may_stand_twice() -> Result<()> {
    on_stage(|stage| {
        let mut bundle = stage.bundle()?;
        for (target, kind) in [("/proc", "proc"), ("/sys", "sysfs"), ("/run", "tmpfs")] {
            bundle = bundle.without_mount(target).set(
                "/mounts/-",
                json!({"destination": target, "type": kind, "options": ["nosuid"]}),
            );
        }
        let masked = json!([
            "/proc/acpi",
            "/proc/keys",
            "/proc/acpi",
            "/proc/keys",
            "/proc/scsi"
        ]);
        // /sys stands behind its cgroup now, which no longer matters
        let bundle = bundle
            .without_mount("/sys/fs/cgroup")
            .set("/linux/maskedPaths", masked)
            .set("/root/readonly", json!(true))
            .shell("ls /proc/self/exe /sys/kernel >/dev/null && ls /proc/acpi; cat /proc/keys; echo ok");
        assert_eq!(stage.run(&bundle)?.ok()?, "ok\n");
        Ok(())
    })
}

#[test]
fn a_frozen_cgroup_is_refused_at_once_and_stays_as_it_is() -> Result<()> {
    on_stage(|stage| {
        let bundle = loud(stage)?;
        let group = bundle.cgroup()?;
        fs::create_dir_all(cgroup::dir(&group))?;
        fs::write(cgroup::dir(&group).join("cgroup.freeze"), "1")?;
        let begun = Instant::now();
        let line = refuse(stage, "a frozen cgroup", &bundle)?;
        ensure!(begun.elapsed() < Duration::from_secs(20), "it hung");
        ensure!(line.contains("frozen"), "{line}");
        assert_eq!(cgroup::read(&group, "cgroup.freeze")?.trim(), "1");
        cgroup::remove(&group)
    })
}

#[test]
fn a_terminal_has_the_size_of_the_config_and_leaves_line_ends_alone() -> Result<()> {
    on_stage(|stage| {
        let console = Receiver::listen(&stage.dir().join("s"))?;
        let bundle = stage
            .bundle()?
            .set("/process/terminal", json!(true))
            .set("/process/consoleSize", json!({"height": 31, "width": 91}))
            .shell("stty size; stty -a; echo the-end; sleep 60");
        let (dir, id) = (bundle.write()?.to_string_lossy().into_owned(), stage.id());
        let path = console.path();
        let create = ["create", "--bundle", &dir, "--console-socket", &path, &id];
        stage.call(create).run()?.ok()?;
        let (_, master) = console.receive()?;
        stage.call(["start", &id]).run()?.ok()?;
        let mut seen = String::new();
        let mut buffer = [0_u8; 4096];
        while !seen.contains("the-end") {
            let count = rustix::io::read(&master, &mut buffer)?;
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        stage.call(["delete", "--force", &id]).run()?.ok()?;
        ensure!(
            stage.runtime().is_runc() || seen.starts_with("31 91"),
            "1.1 passes the size over, but not this one: {seen:?}"
        );
        attached(stage)
    })
}

/// Whoever runs at a terminal of ours gets what the payload wrote.
fn attached(stage: &Stage) -> Result<()> {
    let script = "stty -a | grep -o '.onlcr'";
    let bundle = stage.bundle()?.set("/process/terminal", json!(true));
    let mut pty = Pty::open()?;
    let run = pty.spawn(stage.run_call(&bundle.shell(script))?)?;
    let screen = pty.wait_for("onlcr")?;
    run.wait()?.ok()?;
    ensure!(screen.contains("-onlcr"), "{screen:?}");
    Ok(())
}

#[test]
fn what_the_caller_left_open_reaches_neither_the_first_process_nor_exec() -> Result<()> {
    on_stage(|stage| {
        let leak = ["sh", "-c", "exec 3</ 7</etc/passwd; exec \"$@\"", "leak"];
        let bundle = stage.bundle()?.args(&["/bin/sleep", "60"]);
        let (dir, id) = (bundle.write()?.to_string_lossy().into_owned(), stage.id());
        let create = ["create", "--bundle", &dir, &id];
        stage.call(create).under(leak).run()?.ok()?;
        stage.call(["start", &id]).under(leak).run()?.ok()?;
        let look = "for n in /proc/1/fd/* /proc/self/fd/*; do [ -e $n/. ] && echo $n; \
             case $n in */fd/[0-9]) [ ${n##*/} -gt 2 ] && readlink $n;; esac; done; echo done";
        let exec = ["exec", &id, "sh", "-c", look];
        let out = stage.call(exec).under(leak).run()?.ok()?;
        ensure!(!out.contains("passwd") && out.ends_with("done\n"), "{out}");
        ensure!(out.lines().count() == 1, "{out}");
        stage.call(["delete", "--force", &id]).run()?.ok().map(drop)
    })
}
