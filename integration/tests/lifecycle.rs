//! What a hostile review found about a container's life: makers and starters that die, what a
//! parked process may do, what a payload inherits.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::host::{Mounted, slow, wait_for};
use hostrun_integration::namespace::{self, Held};
use hostrun_integration::{Bundle, Stage, cgroup, on_stage, on_stage_of_hostrun};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// The value behind `key:` in /proc/PID/status.
fn status(pid: i32, key: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    Ok(line.context("no such line")?.trim().to_owned())
}

/// Kills the runtime with its child in this system call, and sees whether anything lives on.
fn orphan(stage: &Stage, verb: &str, call: &str) -> Result<()> {
    let bundle = stage.bundle()?.shell("echo ran >/ran");
    let group = bundle.cgroup()?;
    let (id, dir) = (stage.id(), bundle.write()?.to_string_lossy().into_owned());
    let run = stage.call([verb, "--bundle", &dir, &id]);
    let run = run.under(slow(call, 2000)).spawn()?;
    let procs = || cgroup::read(&group, "cgroup.procs").unwrap_or_default();
    wait_for("a process in the cgroup", || !procs().is_empty())?;
    let child = procs().parse()?;
    let maker = status(child, "PPid")?.parse()?;
    kill_process(Pid::from_raw(maker).context("no maker")?, Signal::KILL)?;
    // strace ends with the last process it traces
    run.wait()?;
    ensure!(
        !bundle.rootfs().join("ran").exists(),
        "{verb}, {call}: the payload ran"
    );
    assert_eq!(procs(), "", "{verb}, {call}: something lives on");
    stage.call(["delete", "--force", &id]).run()?.ok()?;
    ensure!(!stage.root().join(&id).exists(), "its state is still there");
    cgroup::remove(&group)
}

#[test]
fn nothing_runs_when_the_runtime_is_killed_while_it_makes_a_container() -> Result<()> {
    on_stage_of_hostrun("runc makes a container with several processes", |stage| {
        for verb in ["create", "run"] {
            // the first thing the child does, before it is tied to its parent; and one later
            for call in ["prctl", "mount"] {
                orphan(stage, verb, call).with_context(|| format!("{verb} {call}"))?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_container_in_a_joined_user_namespace_has_the_life_of_any_other() -> Result<()> {
    on_stage_of_hostrun(
        "runc 1.1 demands the mappings of a joined user namespace again",
        |stage| {
            let held = Held::new(&["--user"], "user")?;
            let process = held.path().ancestors().nth(2).context("no process")?;
            for map in ["uid_map", "gid_map"] {
                fs::write(process.join(map), "0 100000 65536\n")?;
            }
            let bundle = stage
                .bundle()?
                .namespace("user", Some(held.path()))
                .without_mount("/sys/fs/cgroup")
                .args(&["/bin/sleep", "60"]);
            bundle.give_away()?;
            let container = stage.create(&bundle)?;
            assert_eq!(container.state()?["status"], "created");
            container.start()?;
            assert_eq!(container.state()?["status"], "running");
            let pid = container.pid()?;
            assert_eq!(status(pid, "Name")?, "sleep");
            assert_eq!(status(pid, "NSpid")?, format!("{pid}\t1"));
            assert_eq!(namespace::of(pid, "user")?, held.identity()?);
            let exec = container.exec(&["readlink", "/proc/self/ns/user"])?;
            assert_eq!(exec.ok()?.trim(), held.identity()?);
            ensure!(
                container.call("delete", &[])?.code() != 0,
                "deleted while it runs"
            );
            container.kill("KILL")?;
            container.wait_until("stopped")?;
            container.call("delete", &[])?.ok().map(drop)
        },
    )
}

#[test]
fn a_small_limit_of_files_holds_in_a_user_namespace() -> Result<()> {
    on_stage(|stage| {
        let limit = json!([{"type": "RLIMIT_NOFILE", "soft": 12, "hard": 12}]);
        let bundle = stage.bundle()?.mapped()?.set("/process/rlimits", limit);
        let out = stage.run(&bundle.shell("ulimit -Sn; ulimit -Hn"))?;
        assert_eq!(out.ok()?, "12\n12\n");
        Ok(())
    })
}

#[test]
fn a_container_whose_starter_was_killed_is_running() -> Result<()> {
    on_stage_of_hostrun("the system call is hostrun's", |stage| {
        let container = stage.create(&stage.bundle()?.shell("sleep 60"))?;
        // the order to start is out; the socket it went through is about to be removed
        let inject = "inject=unlinkat:error=EPERM:signal=KILL";
        let killed = ["strace", "-qq", "-o", "/dev/null", "-e", inject];
        let start = stage.call(["start", &container.id]).under(killed).run()?;
        ensure!(start.code() != 0, "the starter was not killed");
        let socket = stage.root().join(&container.id).join("start.sock");
        ensure!(socket.exists(), "the starter was killed too late");
        assert_eq!(container.state()?["status"], "running");
        for verb in ["start", "delete"] {
            let out = container.call(verb, &[])?;
            assert_eq!(out.code(), 1, "{verb} went through: {}", out.stderr());
        }
        assert_eq!(container.state()?["status"], "running");
        container.delete()
    })
}

#[test]
fn delete_in_another_state_root_does_not_kill_a_container_of_the_same_name() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage.bundle()?.unset("/linux/cgroupsPath");
        let container = stage.start(&bundle.shell("sleep 60"))?;
        let other = stage.folder("other")?;
        let remains = other.join(&container.id);
        for config in [false, true] {
            if !remains.exists() {
                fs::DirBuilder::new().mode(0o700).create(&remains)?;
            }
            if config {
                fs::write(remains.join("config.json"), bundle_text(&container.id))?;
            }
            let (root, id) = (other.to_string_lossy(), container.id.as_str());
            let delete = ["--root", &root, "delete", "--force", id];
            stage.runtime().call(delete).run()?;
            assert_eq!(container.state()?["status"], "running");
            assert_eq!(container.exec(&["echo", "alive"])?.ok()?, "alive\n");
        }
        container.delete()
    })
}

/// A config without a path of its own for the cgroup.
fn bundle_text(id: &str) -> String {
    json!({"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "hostname": id}).to_string()
}

#[test]
fn a_parked_process_has_its_user_already_and_little_to_lose() -> Result<()> {
    on_stage(|stage| {
        let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]});
        let bundle = stage
            .bundle()?
            .set("/linux/seccomp", filter)
            .set("/process/noNewPrivileges", json!(false))
            .set("/process/user", json!({"uid": 1000, "gid": 1001}))
            .capabilities(&["CAP_KILL"])
            .args(&["/bin/sleep", "60"]);
        let container = stage.create(&bundle)?;
        let pid = container.pid()?;
        assert_eq!(status(pid, "Uid")?, "1000\t1000\t1000\t1000");
        assert_eq!(status(pid, "Gid")?, "1001\t1001\t1001\t1001");
        let (kill, admin) = (1 << 5, 1 << 21);
        for set in ["CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"] {
            let has = u64::from_str_radix(&status(pid, set)?, 16)?;
            ensure!(has & !(kill | admin) == 0, "{set} is {has:x}");
        }
        container.start()?;
        if stage.runtime().is_runc() {
            // its start does not wait for execve
            wait_for("the program", || {
                status(pid, "Name").is_ok_and(|name| name == "sleep")
            })?;
        }
        assert_eq!(status(pid, "Name")?, "sleep");
        assert_eq!(status(pid, "CapBnd")?, "0000000000000020");
        assert_eq!(status(pid, "CapEff")?, "0000000000000000");
        assert_eq!(status(pid, "NoNewPrivs")?, "0");
        assert_eq!(status(pid, "Seccomp")?, "2");
        container.delete()
    })
}

#[test]
fn an_executed_process_has_the_containers_oom_score() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage.bundle()?.set("/process/oomScoreAdj", json!(321));
        let container = stage.start(&bundle.shell("sleep 60"))?;
        let exec = container.exec(&["cat", "/proc/self/oom_score_adj"])?;
        assert_eq!(exec.ok()?, "321\n");
        container.delete()
    })
}

/// Which of the three signals below the line of a status ignores.
fn ignored(line: &str) -> Result<u64> {
    let digits = line.trim().strip_prefix("SigIgn:").context("no mask")?;
    let (hup, usr1, term) = (1, 1 << 9, 1 << 14);
    Ok(u64::from_str_radix(digits.trim(), 16)? & (hup | usr1 | term))
}

#[test]
fn signals_the_caller_ignores_are_not_ignored_by_the_payload() -> Result<()> {
    on_stage(|stage| {
        let deaf = ["sh", "-c", "trap '' TERM HUP USR1; exec \"$@\"", "deaf"];
        let show = ["/bin/grep", "SigIgn", "/proc/self/status"];
        let run = stage.run_call(&stage.bundle()?.args(&show))?;
        assert_eq!(ignored(&run.under(deaf).run()?.ok()?)?, 0);
        let container = stage.start(&stage.bundle()?.shell("sleep 60"))?;
        let exec = stage.call(["exec", &container.id].into_iter().chain(show));
        assert_eq!(ignored(&exec.under(deaf).run()?.ok()?)?, 0);
        container.delete()
    })
}

/// Starts a container on a shared root, and looks in it for what is mounted on that later.
fn late_mount(stage: &Stage, bundle: Bundle, propagation: &str) -> Result<String> {
    let rootfs = bundle.rootfs();
    fs::create_dir(rootfs.join("late"))?;
    let root = Mounted::again(&rootfs)?;
    root.propagation("shared")?;
    let bundle = bundle
        .set("/linux/rootfsPropagation", json!(propagation))
        .shell("sleep 60");
    let container = stage.start(&bundle)?;
    let late = Mounted::tmpfs(&rootfs.join("late"), &[])?;
    fs::write(late.at().join("file"), "")?;
    let seen = container.exec(&["ls", "/late"])?.ok()?;
    container.delete()?;
    Ok(seen)
}

#[test]
fn a_root_that_is_a_slave_receives_what_the_machine_mounts_later() -> Result<()> {
    on_stage(|stage| {
        assert_eq!(late_mount(stage, stage.bundle()?, "rslave")?, "file\n");
        assert_eq!(late_mount(stage, stage.bundle()?, "rprivate")?, "");
        Ok(())
    })
}

#[test]
fn a_parked_process_holds_no_folder_of_the_machine_among_preserved_descriptors() -> Result<()> {
    on_stage_of_hostrun("runc takes no gaps", |stage| {
        // of 3 to 8 only these two are the caller's
        let gaps = "exec 3<&- 4</dev/null 5<&- 6<&- 7<&- 8</dev/zero; exec \"$@\"";
        let (id, bundle) = (stage.id(), stage.bundle()?.shell("sleep 60"));
        let dir = bundle.write()?.to_string_lossy().into_owned();
        let words = ["create", "--preserve-fds", "6", "--bundle", &dir, &id];
        let create = stage.call(words).under(["sh", "-c", gaps, "gaps"]);
        create.run()?.ok()?;
        let state: serde_json::Value =
            serde_json::from_str(&stage.call(["state", &id]).run()?.ok()?)?;
        let folder = format!("/proc/{}/fd", state["pid"]);
        let mut numbers = BTreeSet::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let what = fs::read_link(&path)?;
            ensure!(!path.is_dir(), "{} is {}", path.display(), what.display());
            if !what.to_string_lossy().starts_with("socket:") {
                let name = path.file_name().unwrap_or_default();
                numbers.insert(name.to_string_lossy().into_owned());
            }
        }
        assert_eq!(numbers, ["0", "1", "2", "4", "8"].map(String::from).into());
        stage.call(["delete", "--force", &id]).run()?.ok()?;
        let bundle = stage.bundle()?.shell("ls /proc/1/fd; true");
        let dir = bundle.write()?.to_string_lossy().into_owned();
        let words = ["run", "--preserve-fds", "6", "--bundle", &dir, &stage.id()];
        let run = stage.call(words).under(["sh", "-c", gaps, "gaps"]).run()?;
        assert_eq!(run.ok()?, "0\n1\n2\n4\n8\n");
        Ok(())
    })
}
