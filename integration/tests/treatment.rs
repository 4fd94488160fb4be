//! How the kernel treats a process: scheduler, priorities, processors, memory, personality; for the
//! first process of a container and for those that join it.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::refusal::{loud, refuse};
use hostrun_integration::{Bundle, Stage, on_stage, on_stage_of_hostrun};
use serde_json::{Value, json};

const OLD: &str = "runc 1.1 does not know it";

/// A field of /proc/PID/stat, counted from 1 as proc_pid_stat(5) does.
fn stat(pid: i32, field: usize) -> Result<i64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = text.rsplit_once(") ").context("no name")?;
    let value = rest.split(' ').nth(field - 3).context("too short")?;
    Ok(value.parse()?)
}

/// The value behind `key:` in a status file.
fn status<'a>(text: &'a str, key: &str) -> &'a str {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or("missing").trim()
}

fn sleeps(stage: &Stage) -> Result<Bundle> {
    Ok(stage.bundle()?.shell("sleep 60"))
}

#[test]
fn personality_of_32_bits_holds_for_the_container_and_who_joins_it() -> Result<()> {
    on_stage(|stage| {
        for (domain, machine) in [("LINUX32", "i686"), ("LINUX", "x86_64")] {
            let bundle = stage
                .bundle()?
                .set("/linux/personality", json!({"domain": domain, "flags": []}));
            if stage.runtime().is_runc() {
                // 1.1 takes the key and does nothing with it
                stage.run(&bundle.shell("uname -m"))?.ok()?;
                continue;
            }
            assert_eq!(
                stage.run(&bundle.clone().shell("uname -m"))?.ok()?.trim(),
                machine
            );
            let container = stage.start(&bundle.shell("sleep 60"))?;
            assert_eq!(container.exec(&["uname", "-m"])?.ok()?.trim(), machine);
            container.delete()?;
        }
        Ok(())
    })
}

#[test]
fn personality_needs_no_call_that_the_filter_denies() -> Result<()> {
    on_stage(|stage| {
        let filter = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO"}]});
        let bundle = stage
            .bundle()?
            .set("/linux/personality", json!({"domain": "LINUX"}))
            .set("/linux/seccomp", filter)
            .shell("uname -m");
        assert_eq!(stage.run(&bundle)?.ok()?, "x86_64\n");
        Ok(())
    })
}

#[test]
fn scheduler_holds_for_the_container_and_who_joins_it_may_have_its_own() -> Result<()> {
    on_stage_of_hostrun(OLD, |stage| {
        let batch = json!({"policy": "SCHED_BATCH", "priority": 0, "nice": 19});
        let container = stage.start(&sleeps(stage)?.set("/process/scheduler", batch))?;
        let pid = container.pid()?;
        assert_eq!((stat(pid, 41)?, stat(pid, 19)?), (3, 19));
        let script = "cut -d ' ' -f 19,41 /proc/self/stat";
        let seen = container.exec(&["sh", "-c", script])?.ok()?;
        assert_eq!(seen, "19 3\n");
        container.delete()
    })
}

#[test]
fn a_scheduler_with_a_deadline_is_set_last() -> Result<()> {
    on_stage_of_hostrun(OLD, |stage| {
        let deadline = json!({"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK"],
            "nice": 19, "priority": 0, "runtime": 42000, "deadline": 100_000, "period": 1_000_000});
        let bundle = stage.bundle()?.set("/process/scheduler", deadline);
        let bundle = bundle.args(&["/bin/sleep", "60"]);
        let container = stage.start(&bundle)?;
        assert_eq!(stat(container.pid()?, 41)?, 6);
        container.delete()
    })
}

#[test]
fn schedulers_that_make_no_sense_are_refused() -> Result<()> {
    on_stage_of_hostrun(OLD, |stage| {
        for (scheduler, text) in [
            (
                json!({"policy": "SCHED_OTHER", "nice": -21}),
                "invalid scheduler.nice: -21",
            ),
            (
                json!({"policy": "SCHED_BATCH", "priority": 3}),
                "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
            ),
            (
                json!({"policy": "SCHED_RR", "priority": 1, "runtime": 7}),
                "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
            ),
            (
                json!({"policy": "SCHED_LATER"}),
                "process.scheduler.policy: invalid scheduler policy: SCHED_LATER",
            ),
            (
                json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NONE"]}),
                "process.scheduler.flags[0]: invalid scheduler flag: SCHED_FLAG_NONE",
            ),
        ] {
            let line = refuse(
                stage,
                text,
                &loud(stage)?.set("/process/scheduler", scheduler),
            )?;
            ensure!(line.contains(text), "{line}");
        }
        Ok(())
    })
}

#[test]
fn io_priority_holds_for_the_container_and_who_joins_it() -> Result<()> {
    on_stage_of_hostrun(OLD, |stage| {
        for (class, level, seen) in [
            ("IOPRIO_CLASS_BE", 4, "best-effort: prio 4\n"),
            ("IOPRIO_CLASS_RT", 1, "realtime: prio 1\n"),
            ("IOPRIO_CLASS_IDLE", 0, "idle\n"),
        ] {
            let priority = json!({"class": class, "priority": level});
            let bundle = stage.bundle()?.set("/process/ioPriority", priority);
            assert_eq!(stage.run(&bundle.clone().args(&["ionice"]))?.ok()?, seen);
            let container = stage.start(&bundle.args(&["/bin/sleep", "60"]))?;
            assert_eq!(container.exec(&["ionice"])?.ok()?, seen);
            container.delete()?;
        }
        for (priority, text) in [
            (
                json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
                "process.ioPriority.priority: invalid ioPriority.Priority: 8",
            ),
            (
                json!({"class": "IOPRIO_CLASS_NOW"}),
                "process.ioPriority.class: invalid ioPriority.Class: \"IOPRIO_CLASS_NOW\"",
            ),
        ] {
            let line = refuse(
                stage,
                text,
                &loud(stage)?.set("/process/ioPriority", priority),
            )?;
            ensure!(line.contains(text), "{line}");
        }
        Ok(())
    })
}

const NUMA: &str = "head -n 1 /proc/self/numa_maps | cut -d ' ' -f 2";

#[test]
fn memory_policy_is_what_was_asked_for() -> Result<()> {
    if !fs::exists("/proc/self/numa_maps")? {
        return hostrun_integration::host::skip("memory policy", "the kernel has no NUMA");
    }
    on_stage_of_hostrun(OLD, |stage| {
        for (policy, seen) in [
            (
                json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}),
                "interleave:0",
            ),
            (
                json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
                "bind=static:0",
            ),
            (
                json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}),
                "prefer=relative:0",
            ),
            (json!({"mode": "MPOL_LOCAL"}), "local"),
            (json!({"mode": "MPOL_DEFAULT"}), "default"),
            (json!({}), "default"),
        ] {
            let bundle = stage.bundle()?.set("/linux/memoryPolicy", policy);
            let run = stage.run(&bundle.clone().shell(NUMA))?;
            assert_eq!(run.ok()?.trim(), seen);
            let container = stage.start(&bundle.shell("sleep 60"))?;
            assert_eq!(container.exec(&["sh", "-c", NUMA])?.ok()?.trim(), seen);
            container.delete()?;
        }
        Ok(())
    })
}

#[test]
fn memory_policies_that_make_no_sense_are_refused() -> Result<()> {
    on_stage_of_hostrun(OLD, |stage| {
        for (policy, text) in [
            (
                json!({"mode": "INTERLEAVE", "nodes": "0"}),
                "invalid memory policy mode",
            ),
            (json!({"nodes": "0-7"}), "invalid memory policy mode"),
            (
                json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES", "badflag"]}),
                "invalid memory policy flag",
            ),
            (
                json!({"mode": "MPOL_BIND", "nodes": "0-9876543210", "flags": []}),
                "invalid memory policy node",
            ),
            (
                json!({"mode": "MPOL_DEFAULT", "nodes": "0-7", "flags": ["MPOL_F_NUMA_BALANCING",
                    "MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}),
                "set_mempolicy: invalid argument",
            ),
        ] {
            let line = refuse(
                stage,
                text,
                &loud(stage)?.set("/linux/memoryPolicy", policy),
            )?;
            ensure!(line.contains(text), "{line}");
        }
        Ok(())
    })
}

const ALLOWED: &str = "grep Cpus_allowed_list /proc/self/status";

#[test]
fn processors_of_the_caller_do_not_bind_the_container() -> Result<()> {
    on_stage_of_hostrun("runc does so since 1.4", |stage| {
        let all = fs::read_to_string("/proc/self/status")?;
        let all = status(&all, "Cpus_allowed_list");
        let bound = ["taskset", "-c", "0"];
        let call = stage
            .run_call(&stage.bundle()?.shell(ALLOWED))?
            .under(bound);
        assert_eq!(status(&call.run()?.ok()?, "Cpus_allowed_list"), all);
        let container = stage.start(&sleeps(stage)?)?;
        let call = stage.call(["exec", &container.id, "sh", "-c", ALLOWED]);
        let text = call.under(bound).run()?.ok()?;
        assert_eq!(status(&text, "Cpus_allowed_list"), all);
        container.delete()
    })
}

#[test]
fn who_joins_runs_where_the_configuration_says() -> Result<()> {
    on_stage_of_hostrun(OLD, |stage| {
        if std::thread::available_parallelism()?.get() < 2 {
            return hostrun_integration::host::skip("affinity", "one processor");
        }
        let bundle = sleeps(stage)?.set(
            "/process/execCPUAffinity",
            json!({"initial": "0", "final": "1"}),
        );
        let container = stage.start(&bundle)?;
        let first = fs::read_to_string(format!("/proc/{}/status", container.pid()?))?;
        ensure!(status(&first, "Cpus_allowed_list") != "1", "{first}");
        let text = container.exec(&["sh", "-c", ALLOWED])?.ok()?;
        assert_eq!(status(&text, "Cpus_allowed_list"), "1");
        container.delete()?;
        let bundle = sleeps(stage)?.set("/process/execCPUAffinity", json!({"initial": "1"}));
        let container = stage.start(&bundle)?;
        let text = container.exec(&["sh", "-c", ALLOWED])?.ok()?;
        assert_eq!(status(&text, "Cpus_allowed_list"), "1");
        container.delete()?;
        for list in ["0-", "1-0", "x", "1024"] {
            let affinity = json!({"initial": list});
            let line = refuse(
                stage,
                list,
                &loud(stage)?.set("/process/execCPUAffinity", affinity),
            )?;
            ensure!(line.contains("process.execCPUAffinity.initial"), "{line}");
        }
        Ok(())
    })
}

#[test]
fn labels_without_their_security_module_are_refused() -> Result<()> {
    on_stage(|stage| {
        for (path, label, module, text) in [
            (
                "/process/apparmorProfile",
                "hostrun-test",
                "/sys/kernel/security/apparmor",
                "apparmor: config provided but apparmor not supported",
            ),
            (
                "/process/selinuxLabel",
                "system_u:system_r:container_t:s0:c4,c5",
                "/sys/fs/selinux/enforce",
                "selinux label is specified in config, but selinux is disabled or not supported",
            ),
        ] {
            if fs::exists(module)? {
                hostrun_integration::host::skip(path, "the module is in force")?;
                continue;
            }
            let line = refuse(stage, path, &loud(stage)?.set(path, json!(label)))?;
            // 1.1 finds out when the kernel refuses the write, and has no words of its own
            ensure!(stage.runtime().is_runc() || line.contains(text), "{line}");
            refuse_nothing(stage, path)?;
        }
        Ok(())
    })
}

/// An empty label asks for nothing.
fn refuse_nothing(stage: &Stage, path: &str) -> Result<()> {
    let bundle = stage.bundle()?.set(path, Value::from("")).shell("true");
    stage.run(&bundle)?.ok().map(drop)
}

#[test]
fn a_label_of_mounts_without_selinux_is_passed_over_and_said() -> Result<()> {
    on_stage_of_hostrun("runc has the kernel refuse the mounts", |stage| {
        if fs::exists("/sys/fs/selinux/enforce")? {
            return hostrun_integration::host::skip("mountLabel", "SELinux is in force");
        }
        let label = json!("system_u:object_r:container_file_t:s0:c4,c5");
        let out = stage.run(&loud(stage)?.set("/linux/mountLabel", label))?;
        assert_eq!(out.stdout(), "it ran\n");
        ensure!(
            out.stderr().contains("linux.mountLabel"),
            "{}",
            out.stderr()
        );
        let out = stage.run(&loud(stage)?.set("/linux/mountLabel", json!("")))?;
        assert_eq!(out.stderr(), "");
        Ok(())
    })
}
