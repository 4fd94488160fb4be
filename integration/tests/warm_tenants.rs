//! What could reach one container of a pool from another, from the process that made it, or from the time
//! before it was wanted; and what is left when that process is killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::host::wait_for;
use hostrun_integration::warm::{Holder, bundle, call, parked};
use hostrun_integration::{Bundle, Stage, on_stage_of_hostrun};
use serde_json::{Value, json};

const REASON: &str = "it has no pools";

/// Says what it finds in every place that a process can leave something in, leaves something there, and
/// says what it finds then.
const TENANT: &str = r#"
look() { set -- "$1" /proc/[0-9]*; echo "$1: $(ls -A /dev/shm /dev/mqueue | tr '\n' ' ') $(cat /proc/sys/net/ipv4/ip_forward) \
$(cat /proc/sys/kernel/msgmax) $(hostname) $(ip -o addr | wc -l) $(sed 1d /proc/net/udp | wc -l) \
$# $(env | sort | tr '\n' ' ') $(ls /sys/fs/cgroup | grep -c mark)"; }
look found
echo 1 >/dev/shm/mark; echo 1 >/proc/sys/net/ipv4/ip_forward; echo 4242 >/proc/sys/kernel/msgmax
hostname mark; ip addr add 10.9.9.9/32 dev lo; mkdir /sys/fs/cgroup/mark; export MARK=1
sleep 1 &
look left
rmdir /sys/fs/cgroup/mark
"#;

#[test]
fn nothing_that_one_tenant_leaves_is_found_by_the_next() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let bundle = bundle(stage)?
            .shell(TENANT)
            .set("/linux/readonlyPaths", json!([]))
            .capabilities(&["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]);
        let bundle = writable_cgroup(bundle)?;
        let mut holder = Holder::new(stage, &bundle, 3)?;
        for left in (0..3).rev() {
            holder.ask(&stage.id(), &format!("0, {left} ready"))?;
        }
        let text = holder.end()?;
        let cold = call(stage, &bundle, &["cold", &stage.id()])?.run()?.ok()?;
        let said = |text: &str, what: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(what));
            lines.map(str::to_owned).collect()
        };
        let (found, left) = (said(&text, "found: "), said(&text, "left: "));
        ensure!(found.len() == 3 && left.len() == 3, "{text}");
        let cold = said(&cold, "found: ");
        for (found, left) in found.iter().zip(&left) {
            ensure!(Some(found) == cold.first(), "{found}, cold {cold:?}");
            let marks = left.split(' ').zip(found.split(' '));
            let changed = marks.filter(|(left, found)| left != found).count();
            ensure!(changed > 5, "it left nothing: {left}");
        }
        Ok(())
    })
}

/// The mount of the cgroup, to be written to.
fn writable_cgroup(bundle: Bundle) -> Result<Bundle> {
    let mounts = bundle.config()["mounts"].as_array().context("no mounts")?;
    let index = mounts.iter().position(|mount| mount["type"] == "cgroup");
    let pointer = format!("/mounts/{}/options", index.context("no cgroup")?);
    Ok(bundle.set(&pointer, json!(["nosuid", "noexec", "nodev"])))
}

/// The first process in a cgroup.
fn first_of(group: &Path) -> Result<PathBuf> {
    let pids = fs::read_to_string(group.join("cgroup.procs"))?;
    let pid = pids.lines().next().context("nobody")?;
    Ok(Path::new("/proc").join(pid))
}

#[test]
fn a_parked_process_has_no_descriptor_of_the_machine_and_no_memory_of_its_maker() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let filter = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["getcpu"], "action": "SCMP_ACT_ERRNO"}]});
        let bundle = bundle(stage)?
            .set("/linux/seccomp", filter)
            .set("/process/noNewPrivileges", json!(true))
            .capabilities(&[]);
        let holder = Holder::new(stage, &bundle, 2)?;
        for group in parked(stage) {
            let process = first_of(&group)?;
            let mut kinds = BTreeMap::<String, u32>::new();
            for entry in fs::read_dir(process.join("fd"))? {
                let target = fs::read_link(entry?.path())?;
                let target = target.to_string_lossy();
                let kind = target.split(':').next().unwrap_or_default();
                *kinds.entry(kind.to_owned()).or_default() += 1;
            }
            // the line to its maker and the socket it can be started by, once it has a name
            let expected = [("/dev/null".to_owned(), 3), ("socket".to_owned(), 2)];
            assert_eq!(kinds, BTreeMap::from(expected));
            let status = fs::read_to_string(process.join("status"))?;
            for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"] {
                ensure!(status.contains(line), "no {line}: {status}");
            }
            // its maker has 32 MiB of something
            let maker = format!("/proc/{}/status", holder.running.pid());
            let (ours, makers) = (anonymous(&status)?, anonymous(&fs::read_to_string(maker)?)?);
            ensure!(
                makers > 32 << 10 && ours < 4 << 10,
                "{ours} of {makers} KiB"
            );
        }
        holder.end().map(drop)
    })
}

/// KiB of anonymous memory.
fn anonymous(status: &str) -> Result<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no RssAnon")?.parse()?)
}

#[test]
fn what_differs_from_the_class_is_refused_and_the_pool_stays_as_it_is() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let plain = bundle(stage)?.shell("echo $WHO $0");
        let mut holder = Holder::new(stage, &plain, 2)?;
        let filter = |action: &str| json!({"defaultAction": action});
        for (pointer, value, path) in [
            ("/hostname", json!("other"), "hostname"),
            (
                "/process/noNewPrivileges",
                json!(false),
                "process.noNewPrivileges",
            ),
            ("/process/user/uid", json!(7), "process.user.uid"),
            ("/linux/seccomp", filter("SCMP_ACT_ALLOW"), "linux.seccomp"),
            ("/linux/maskedPaths", json!([]), "linux.maskedPaths"),
            ("/root/readonly", json!(false), "root.readonly"),
            (
                "/linux/resources/pids",
                json!({"limit": 7}),
                "linux.resources.pids",
            ),
        ] {
            plain.clone().set(pointer, value).write()?;
            let id = stage.id();
            holder.say(&id)?;
            holder.running.wait_for(&format!("{id}: "))?;
            holder.running.wait_for("2 ready\n")?;
            let text = holder.running.stdout();
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{id}: ")));
            let line = line.context("no answer")?;
            let said = line.contains(path) && line.contains("differs") && line.ends_with("2 ready");
            ensure!(said, "{pointer}: {line}");
        }
        let other = plain
            .clone()
            .set("/process/env", json!(["PATH=/bin", "WHO=you"]))
            .set(
                "/process/args",
                json!(["/bin/sh", "-c", "echo $WHO $0", "then"]),
            )
            .set("/annotations", json!({"a": "b"}));
        other.write()?;
        let id = stage.id();
        holder.ask(&format!("keep {id}"), "0, 1 ready")?;
        let state: Value = serde_json::from_str(&stage.call(["state", &id]).run()?.ok()?)?;
        assert_eq!(state["annotations"], json!({"a": "b"}));
        stage.call(["delete", "--force", &id]).run()?.ok()?;
        holder.ask(&stage.id(), "0, 0 ready")?;
        let text = holder.end()?;
        ensure!(text.contains("you then\n"), "{text}");
        Ok(())
    })
}

#[test]
fn a_sandbox_whose_root_or_volume_was_replaced_is_thrown_away() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let volume = stage.folder("volume")?;
        let bundle = bundle(stage)?.bind(&volume, "/volume", &["bind", "ro"]);
        for replaced in [bundle.rootfs(), volume] {
            let mut holder = Holder::new(stage, &bundle, 2)?;
            let before = replaced.with_extension("before");
            fs::rename(&replaced, &before)?;
            fs::create_dir(&replaced)?;
            let id = stage.id();
            holder.say(&id)?;
            let answer = format!("none ready\n{id}: 1, 0 ready");
            holder.running.wait_for(&answer)?;
            ensure!(parked(stage).is_empty(), "{:?}", parked(stage));
            holder.end()?;
            fs::remove_dir(&replaced)?;
            fs::rename(&before, &replaced)?;
        }
        Ok(())
    })
}

#[test]
fn a_sandbox_that_died_while_it_waited_or_while_it_is_told_is_replaced_by_the_next() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let bundle = bundle(stage)?.shell("echo ran");
        let mut holder = Holder::new(stage, &bundle, 4)?;
        let groups = parked(stage);
        let kill = |group: &Path| fs::write(group.join("cgroup.kill"), "1");
        kill(groups.first().context("none")?)?;
        // it stands still, so that it is not told what it is sent
        let second = groups.get(1).context("one")?;
        fs::write(second.join("cgroup.freeze"), "1")?;
        let id = stage.id();
        holder.say(&id)?;
        wait_for("the id to be given", || stage.root().join(&id).exists())?;
        std::thread::sleep(std::time::Duration::from_millis(50));
        kill(second)?;
        holder.running.wait_for(&format!("{id}: 0, 1 ready"))?;
        let text = holder.end()?;
        ensure!(text.matches("ran\n").count() == 1, "{text}");
        Ok(())
    })
}

/// System calls by name, and the how many-th of that name, that follow the parking.
fn steps(stage: &Stage, bundle: &Bundle, how: &str) -> Result<Vec<(String, usize)>> {
    let trace = stage.dir().join("trace");
    let path = trace.to_string_lossy().into_owned();
    let strace = ["strace", "-qq", "-s", "0", "-o", &path];
    let id = stage.id();
    call(stage, bundle, &[how, &id])?
        .under(strace)
        .run()?
        .ok()?;
    let mut counts = BTreeMap::<String, usize>::new();
    let mut steps = Vec::new();
    for line in fs::read_to_string(&trace)?.lines() {
        let Some((name, _)) = line.split_once('(') else {
            continue;
        };
        let count = counts.entry(name.to_owned()).or_default();
        *count += 1;
        if name == "clone3" {
            steps.clear();
        }
        steps.push((name.to_owned(), *count));
    }
    Ok(steps)
}

#[test]
fn a_container_is_gone_or_whole_when_the_holder_is_killed_at_any_step() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let bundle = bundle(stage)?.shell("sleep 0.2");
        for how in ["take", "run"] {
            let steps = steps(stage, &bundle, how)?;
            ensure!(steps.len() > 30, "{steps:?}");
            let mut seen = BTreeMap::<String, usize>::new();
            let stride = if std::env::var("HOSTRUN_TEST_CHURN").is_ok() {
                1
            } else {
                6
            };
            for (name, number) in steps.iter().step_by(stride) {
                let id = stage.id();
                let inject = format!("inject={name}:signal=KILL:when={number}");
                let strace = ["strace", "-qq", "-o", "/dev/null", "-e", &inject];
                call(stage, &bundle, &[how, &id])?.under(strace).run()?;
                let status = settled(stage, &id)
                    .with_context(|| format!("{how} killed at {name} {number}"))?;
                swept(stage, &bundle)
                    .with_context(|| format!("{how} killed at {name} {number}"))?;
                *seen.entry(status).or_default() += 1;
            }
            let kinds: Vec<_> = seen.keys().map(String::as_str).collect();
            ensure!(
                kinds.contains(&"gone") && kinds.len() > 1,
                "{how}: {seen:?}"
            );
        }
        Ok(())
    })
}

/// Whoever opens the next pool takes away what was never told; what has no record yet when it is old.
fn swept(stage: &Stage, bundle: &Bundle) -> Result<()> {
    wait_for("the end of all that was parked", || {
        let empty = |text: String| text.contains("populated 0");
        let events = |group: &PathBuf| fs::read_to_string(group.join("cgroup.events"));
        parked(stage)
            .iter()
            .all(|group| events(group).is_ok_and(empty))
    })?;
    for entry in fs::read_dir(stage.root())? {
        fs::File::open(entry?.path())?.set_modified(SystemTime::UNIX_EPOCH)?;
    }
    call(stage, bundle, &["take", &stage.id()])?.run()?.ok()?;
    ensure!(parked(stage).is_empty(), "{:?}", parked(stage));
    let left = fs::read_dir(stage.root())?.map(|entry| Ok(entry?.file_name()));
    let left = left.collect::<Result<Vec<_>>>()?;
    ensure!(
        left.iter().all(|name| name == "@filters"),
        "state is left: {left:?}"
    );
    Ok(())
}

/// What has become of a container whose maker was killed; it is deleted then.
fn settled(stage: &Stage, id: &str) -> Result<String> {
    let mut status = String::new();
    let mut look = || {
        let out = stage.call(["state", id]).run().ok();
        let text = out.filter(|out| out.code() == 0).map(|out| out.stdout());
        let state = text.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        status = state.map_or("gone".to_owned(), |state| {
            let said = |key| state.get(key).and_then(Value::as_str).unwrap_or_default();
            assert_eq!(said("id"), id);
            said("status").to_owned()
        });
        status.clone()
    };
    wait_for("a container that is no longer made", || {
        look() != "creating"
    })?;
    if look() == "created" && stage.call(["start", id]).run()?.code() != 0 {
        // It had not been told its program, and had yet to notice that nobody is left to tell it.
        wait_for("the end of a container without a program", || {
            look() == "stopped"
        })?;
    }
    stage.call(["delete", "--force", id]).run()?.ok()?;
    ensure!(!stage.root().join(id).exists(), "its state is left");
    Ok(status)
}
