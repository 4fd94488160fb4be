//! Containers whose limits change while they live, and what the kernel counts and tells of them. They need
//! every cgroup v2 controller, so `make test-vm` runs them in a guest.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::{Container, Stage, cgroup, host, on_stage, on_stage_of_hostrun};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

fn started(stage: &Stage, resources: Value) -> Result<(Container<'_>, String)> {
    let bundle = stage
        .bundle()?
        .set("/linux/resources", resources)
        .shell("sleep 100");
    let group = bundle.cgroup()?;
    Ok((stage.start(&bundle)?, group))
}

fn resources() -> Value {
    json!({
        "devices": [{"allow": false, "access": "rwm"}],
        "memory": {"limit": 32 * MIB, "reservation": 24 * MIB},
        "cpu": {"shares": 100, "quota": 500_000, "period": 1_000_000},
        "pids": {"limit": 20}
    })
}

/// Flags of `update`, and what files hold after it.
type Change<'a> = (&'a str, &'a [(&'a str, &'a str)]);

const CHANGES: &[Change<'_>] = &[
    ("--cpuset-cpus 1", &[("cpuset.cpus", "1")]),
    ("--cpuset-mems 0", &[("cpuset.mems", "0")]),
    (
        "--memory 67108864",
        &[("memory.max", "67108864"), ("memory.low", "25165824")],
    ),
    ("--memory 50M", &[("memory.max", "52428800")]),
    (
        "--memory-reservation 33554432",
        &[("memory.low", "33554432")],
    ),
    ("--memory-swap -1", &[("memory.swap.max", "max")]),
    (
        "--memory 30M --memory-swap 50M",
        &[("memory.max", "31457280"), ("memory.swap.max", "20971520")],
    ),
    (
        "--memory 60M --memory-swap 80M",
        &[("memory.max", "62914560"), ("memory.swap.max", "20971520")],
    ),
    (
        "--memory -1",
        &[("memory.max", "max"), ("memory.swap.max", "max")],
    ),
    (
        "--cpu-quota -1 --cpu-period 100000",
        &[("cpu.max", "max 100000")],
    ),
    ("--pids-limit 10", &[("pids.max", "10")]),
    ("--pids-limit -1", &[("pids.max", "max")]),
];

/// Debian's runc has the old curve of shares, forgets the quota with a new period, and has no other of these.
const NEWER_CHANGES: &[Change<'_>] = &[
    ("--cpu-share 1024", &[("cpu.weight", "100")]),
    ("--cpu-share 200", &[("cpu.weight", "29")]),
    (
        "--cpu-quota 500000 --cpu-period 1000000",
        &[("cpu.max", "500000 1000000")],
    ),
    ("--cpu-period 900000", &[("cpu.max", "500000 900000")]),
    ("--cpu-quota 600000", &[("cpu.max", "600000 900000")]),
    ("--cpu-quota -1", &[("cpu.max", "max 900000")]),
    (
        "--cpu-quota 50000 --cpu-period 100000",
        &[("cpu.max", "50000 100000")],
    ),
    ("--cpu-burst 20000", &[("cpu.max.burst", "20000")]),
    ("--cpu-burst 0", &[("cpu.max.burst", "0")]),
    ("--cpu-idle 1", &[("cpu.idle", "1")]),
    ("--cpu-idle 0", &[("cpu.idle", "0")]),
];

fn update(container: &Container<'_>, group: &str, (flags, files): Change<'_>) -> Result<()> {
    let words: Vec<&str> = flags.split(' ').collect();
    container.call("update", &words)?.ok()?;
    for (file, value) in files {
        assert_eq!(cgroup::read(group, file)?, *value, "{file} after {flags}");
    }
    Ok(())
}

#[test]
fn every_flag_of_update_reaches_its_file_and_nothing_else_changes() -> Result<()> {
    on_stage(|stage| {
        let (container, group) = started(stage, resources())?;
        let newer = if stage.runtime().is_hostrun() {
            NEWER_CHANGES
        } else {
            &[]
        };
        for change in CHANGES.iter().chain(newer) {
            update(&container, &group, *change)?;
        }
        container.delete()
    })
}

fn update_by_document(
    stage: &Stage,
    id: &str,
    document: &Value,
) -> Result<hostrun_integration::Outcome> {
    stage
        .call(["update", "-r", "-", id])
        .input(document.to_string())
        .run()
}

#[test]
fn a_document_changes_what_it_names_and_a_use_above_the_limit_is_refused() -> Result<()> {
    on_stage(|stage| {
        let (container, group) = started(stage, resources())?;
        let change = json!({"memory": {"limit": 64 * MIB}, "cpu": {"shares": 100, "quota": 500_000,
            "period": 1_000_000, "cpus": "0"}, "pids": {"limit": 7}});
        update_by_document(stage, &container.id, &change)?.ok()?;
        for (file, value) in [
            ("memory.max", "67108864"),
            ("cpu.max", "500000 1000000"),
            ("cpuset.cpus", "0"),
            ("pids.max", "7"),
        ] {
            assert_eq!(cgroup::read(&group, file)?, value, "{file}");
        }
        if stage.runtime().is_hostrun() {
            let unified = json!({"unified": {"cpu.weight": "16", "pids.max": "10"}});
            update_by_document(stage, &container.id, &unified)?.ok()?;
            assert_eq!(cgroup::read(&group, "cpu.weight")?, "16");
            assert_eq!(cgroup::read(&group, "pids.max")?, "10");
        }
        let check = json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}});
        let refused = update_by_document(stage, &container.id, &check)?;
        ensure!(
            refused.code() != 0 || stage.runtime().is_runc(),
            "{}",
            refused.stderr()
        );
        if stage.runtime().is_hostrun() {
            let text = refused.stderr();
            ensure!(
                text.contains("rejecting memory limit 4096 <= usage"),
                "{text}"
            );
            assert_eq!(cgroup::read(&group, "memory.max")?, "67108864");
            // one that the kernel refuses takes back the one before it
            let wrong = json!({"memory": {"limit": 96 * MIB}, "unified": {"pids.max": "many"}});
            ensure!(update_by_document(stage, &container.id, &wrong)?.code() != 0);
            assert_eq!(cgroup::read(&group, "memory.max")?, "67108864");
        }
        container.delete()
    })
}

#[test]
fn a_paused_container_is_frozen_changes_and_stays_paused() -> Result<()> {
    on_stage(|stage| {
        let (container, group) = started(stage, resources())?;
        container.call("pause", &[])?.ok()?;
        assert_eq!(cgroup::value(&group, "cgroup.events", "frozen")?, 1);
        update(
            &container,
            &group,
            ("--pids-limit 30", &[("pids.max", "30")]),
        )?;
        assert_eq!(container.state()?["status"], "paused");
        container.call("resume", &[])?.ok()?;
        assert_eq!(cgroup::value(&group, "cgroup.events", "frozen")?, 0);
        assert_eq!(container.state()?["status"], "running");
        container.delete()
    })
}

#[test]
fn a_kill_for_want_of_memory_is_an_event() -> Result<()> {
    on_stage(|stage| {
        let limit = json!({"memory": {"limit": 32 * MIB, "swap": 32 * MIB}});
        let (container, group) = started(stage, limit)?;
        let words = ["events", "--interval", "200ms", &container.id];
        let mut events = stage.call(words).spawn()?;
        events.wait_for("\"stats\"")?;
        let hungry = "exec dd if=/dev/zero of=/dev/null bs=100M count=1";
        let out = container.exec(&["sh", "-c", hungry])?;
        assert_eq!(out.code(), 137, "{}", out.stderr());
        events.wait_for(&format!("{{\"type\":\"oom\",\"id\":\"{}\"}}", container.id))?;
        assert_eq!(cgroup::value(&group, "memory.events", "oom_kill")?, 1);
        container.delete()?;
        // it ends with the container
        events.wait()?.ok().map(drop)
    })
}

#[test]
fn statistics_are_what_the_kernel_counts() -> Result<()> {
    on_stage(|stage| {
        let (container, group) = started(stage, resources())?;
        container
            .exec(&[
                "sh",
                "-c",
                "n=0; while [ $n -lt 3000 ]; do n=$((n+1)); done",
            ])?
            .ok()?;
        let before = cgroup::value(&group, "cpu.stat", "usage_usec")?;
        let line = container.call("events", &["--stats"])?.ok()?;
        let after = cgroup::value(&group, "cpu.stat", "usage_usec")?;
        let stats: Value = serde_json::from_str(&line)?;
        let number = |pointer: &str| {
            let value = stats.pointer(&format!("/data{pointer}"));
            value
                .and_then(Value::as_u64)
                .with_context(|| format!("no {pointer} in {line}"))
        };
        let total = number("/cpu/usage/total")? / 1000;
        ensure!(
            (before..=after).contains(&total),
            "{before} <= {total} <= {after}"
        );
        assert_eq!(number("/memory/usage/limit")?, 32 * MIB);
        ensure!(number("/memory/usage/usage")? > 0 && number("/memory/raw/anon")? > 0);
        assert_eq!(number("/pids/current")?, 1);
        assert_eq!(number("/pids/limit")?, 20);
        if fs::read("/proc/pressure/memory").is_ok() && stage.runtime().is_hostrun() {
            number("/memory/psi/some/total")?;
        }
        container.delete()
    })
}

/// A block device: the host's, or one of this test's own.
struct Disk(String);

impl Disk {
    fn new(stage: &Stage) -> Result<Self> {
        // that of the host, which is a real one: a virtual machine's
        if fs::exists("/dev/vdb")? {
            return Ok(Self("/dev/vdb".to_owned()));
        }
        let file = stage.dir().join("disk");
        fs::File::create(&file)?.set_len(8 * MIB)?;
        let out = std::process::Command::new("losetup")
            .args(["--find", "--show"])
            .arg(&file)
            .output()
            .context("run losetup")?;
        ensure!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        Ok(Self(String::from_utf8(out.stdout)?.trim().to_owned()))
    }

    fn number(&self) -> Result<(u32, u32)> {
        let status = fs::metadata(&self.0)?;
        let device = std::os::unix::fs::MetadataExt::rdev(&status);
        Ok((rustix::fs::major(device), rustix::fs::minor(device)))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.0.contains("loop") {
            drop(host::command("losetup", ["--detach"], [&self.0]));
        }
    }
}

#[test]
fn reads_beyond_the_rate_wait() -> Result<()> {
    on_stage(|stage| {
        let disk = Disk::new(stage)?;
        let (major, minor) = disk.number()?;
        let rules = json!([{"allow": false, "access": "rwm"},
            {"allow": true, "type": "b", "major": major, "minor": minor, "access": "r"}]);
        let bundle = stage
            .bundle()?
            .set("/linux/resources/devices", rules)
            .set("/linux/resources/blockIO", json!({"throttleReadBpsDevice":
                [{"major": major, "minor": minor, "rate": 524_288}]}))
            .set("/linux/devices", json!([{"path": "/dev/disk", "type": "b", "major": major,
                "minor": minor, "fileMode": 0o600, "uid": 0, "gid": 0}]))
            .shell("dd if=/dev/disk of=/dev/null bs=64k count=24 iflag=direct 2>/dev/null; cat /sys/fs/cgroup/io.max");
        let begin = std::time::Instant::now();
        let text = stage.run(&bundle)?.ok()?;
        let line = format!("{major}:{minor} rbps=524288 wbps=max riops=max wiops=max\n");
        assert_eq!(text, line);
        // 1.5 MiB at 0.5 MiB a second
        ensure!(
            begin.elapsed() > Duration::from_millis(1500),
            "{:?}",
            begin.elapsed()
        );
        Ok(())
    })
}

#[test]
fn a_writable_cgroup_belongs_to_the_root_of_the_user_namespace_and_its_limits_do_not() -> Result<()>
{
    on_stage_of_hostrun("runc 1.1 gives cgroups away only with systemd", |stage| {
        let script = "cd /sys/fs/cgroup; stat -c %u . cgroup.procs cgroup.subtree_control memory.max; mkdir sub; echo $?";
        for (option, wanted) in [
            ("rw", "0\n0\n0\n65534\n0\n"),
            ("ro", "65534\n65534\n65534\n65534\n1\n"),
        ] {
            let bundle = stage
                .bundle()?
                .set("/linux/resources/memory", json!({"limit": 64 * MIB}))
                .mapped()?
                .mount(
                    "/sys/fs/cgroup",
                    "cgroup",
                    "cgroup",
                    &["nosuid", "noexec", "nodev", option],
                )
                .shell(script);
            assert_eq!(stage.run(&bundle)?.stdout(), wanted, "{option}");
        }
        Ok(())
    })
}

#[test]
fn exec_follows_the_first_process_when_the_cgroup_is_divided() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .without_mount("/sys/fs/cgroup")
            .mount("/sys/fs/cgroup", "cgroup", "cgroup", &["rw"])
            .set("/linux/resources/memory", json!({"limit": 64 * MIB}))
            .shell("sleep 100");
        let container = stage.start(&bundle)?;
        let run = |words: &[&str]| -> Result<String> {
            let out = stage.call([&["exec"], words].concat()).run()?;
            Ok(format!("{}{}", out.stdout(), out.stderr()))
        };
        let id = &*container.id;
        let own = ["cat", "/proc/self/cgroup"];
        assert_eq!(run(&[&[id][..], &own].concat())?, "0::/\n");
        // whoever made the process may be there for a moment still, and shows as 0
        let divide = "cd /sys/fs/cgroup; mkdir foo other; echo 1 >foo/cgroup.procs; echo $$ >foo/cgroup.procs
            while [ -n \"$(cat cgroup.procs)\" ]; do :; done; echo +memory >cgroup.subtree_control";
        assert_eq!(run(&[id, "sh", "-c", divide])?, "");
        assert_eq!(run(&[&[id][..], &own].concat())?, "0::/foo\n");
        assert_eq!(
            run(&[&["--cgroup", "other", id][..], &own].concat())?,
            "0::/other\n"
        );
        for wrong in ["/", "nothing", "../..", "foo/../.."] {
            let text = run(&["--cgroup", wrong, id, "true"])?;
            ensure!(!text.is_empty(), "--cgroup {wrong} is no error");
            let dots = wrong.contains("..");
            let words = if dots {
                "bad sub cgroup path"
            } else {
                " to cgroups"
            };
            ensure!(
                text.contains(words) || stage.runtime().is_runc(),
                "{wrong}: {text}"
            );
        }
        container.delete()
    })
}
