//! The machine around the kernel: cgroups, users, disks, other programs.

use super::Check;
use crate::globals::Globals;
use hostrun_runtime::{Runtime, Status};
use rustix::fs::{statfs, statvfs};
use std::fs;
use std::path::{Path, PathBuf};

pub(super) fn checks(globals: &Globals) -> Vec<Check> {
    let mut checks = vec![
        cgroup(),
        controllers(),
        moving(),
        systemd(),
        ids(),
        user_namespaces(),
    ];
    checks.push(firewall());
    checks.push(space("space.root", &globals.root));
    checks.push(space("space.store", &globals.store));
    checks.push(checkpoints());
    checks.push(stale(&globals.root));
    checks
}

const CGROUPS: &str = "/sys/fs/cgroup";

fn cgroup() -> Check {
    const ID: &str = "cgroup.version";
    const CGROUP2_MAGIC: u64 = 0x6367_7270;
    let magic = statfs(CGROUPS)
        .ok()
        .and_then(|fs| u64::try_from(fs.f_type).ok());
    if magic == Some(CGROUP2_MAGIC) {
        return Check::ok(ID, format!("version 2 at {CGROUPS}"));
    }
    Check::failure(
        ID,
        format!("no cgroup version 2 at {CGROUPS}"),
        "boot with systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all",
    )
}

fn controllers() -> Check {
    const ID: &str = "cgroup.controllers";
    let list = fs::read_to_string(format!("{CGROUPS}/cgroup.controllers")).unwrap_or_default();
    let wanted = ["cpu", "cpuset", "io", "memory", "pids"];
    let there: Vec<&str> = list.split_whitespace().collect();
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|name| !there.contains(name))
        .collect();
    if missing.is_empty() {
        return Check::ok(ID, there.join(" "));
    }
    Check::warning(
        ID,
        format!("missing: {}; such limits are refused", missing.join(" ")),
        "a kernel has to have them (cgroup_disable=), version 2 to get them (cgroup_no_v1=all), a unit to hand them down (Delegate=)",
    )
}

/// Processes that are moved between cgroups wait for a grace period but for this option.
fn moving() -> Check {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut lines = table.lines().filter(|line| line.contains(" - cgroup2 "));
    let found = if lines.any(|line| line.contains("favordynmods")) {
        "favordynmods: processes are moved at once"
    } else {
        "not needed: processes are born in their cgroup"
    };
    Check::ok("cgroup.favordynmods", found)
}

fn systemd() -> Check {
    const ID: &str = "systemd";
    if Path::new("/run/systemd/system").is_dir() {
        return Check::ok(ID, "runs this machine");
    }
    Check::warning(
        ID,
        "does not run this machine: --systemd-cgroup does not work",
        "use cgroups without it, which is the default",
    )
}

/// A program in one of the usual folders.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

fn ids() -> Check {
    const ID: &str = "user.ranges";
    let lines = |path| fs::read_to_string(path).map_or(0, |text| text.lines().count());
    let (users, groups) = (lines("/etc/subuid"), lines("/etc/subgid"));
    let tools = program("newuidmap").is_some() && program("newgidmap").is_some();
    if tools && users > 0 && groups > 0 {
        let found = format!("{users} in /etc/subuid, {groups} in /etc/subgid, newuidmap is there");
        return Check::ok(ID, found);
    }
    Check::warning(
        ID,
        "ordinary users have no ranges of ids, or no newuidmap: they run no images, and in a bundle map only themselves",
        "install uidmap, and add lines to /etc/subuid and /etc/subgid",
    )
}

fn user_namespaces() -> Check {
    const ID: &str = "user.namespaces";
    const FIX: &str = "set user.max_user_namespaces, kernel.unprivileged_userns_clone=1, \
                       kernel.apparmor_restrict_unprivileged_userns=0";
    let is = |path: &str, value: &str| {
        fs::read_to_string(Path::new("/proc/sys").join(path)).is_ok_and(|now| now.trim() == value)
    };
    if is("user/max_user_namespaces", "0") {
        return Check::warning(ID, "nobody may make one", FIX);
    }
    let closed = is("kernel/unprivileged_userns_clone", "0")
        || is("kernel/apparmor_restrict_unprivileged_userns", "1");
    if closed {
        return Check::warning(ID, "ordinary users may make none", FIX);
    }
    Check::ok(ID, "everybody may make them")
}

fn firewall() -> Check {
    const ID: &str = "network.nf_tables";
    let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
    let loaded = modules.lines().any(|line| line.starts_with("nf_tables "));
    if loaded || Path::new("/sys/module/nf_tables").is_dir() {
        return Check::ok(ID, "nf_tables is there");
    }
    Check::warning(
        ID,
        "not loaded: plugins that set up networks need it, hostrun does not",
        "load the nf_tables module",
    )
}

/// Room on the disk of a folder, or of the first above it that is there.
fn space(id: &'static str, folder: &Path) -> Check {
    const FEW: u64 = 64 << 20;
    let there = folder.ancestors().find(|path| path.exists());
    let Some(disk) = there.and_then(|path| statvfs(path).ok()) else {
        return Check::failure(
            id,
            format!("{} cannot be looked at", folder.display()),
            "make it",
        );
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    // Some file systems do not count files.
    let full = disk.f_files > 0 && disk.f_favail < 1000;
    let at = folder.display();
    if free < FEW || full {
        return Check::warning(
            id,
            format!(
                "{at}: {} MiB and {} files are free",
                free >> 20,
                disk.f_favail
            ),
            "remove containers and images that are not needed",
        );
    }
    Check::ok(id, format!("{at}: {} MiB are free", free >> 20))
}

fn checkpoints() -> Check {
    const ID: &str = "criu";
    match program("criu") {
        Some(path) => Check::ok(ID, path.display().to_string()),
        None => Check::warning(
            ID,
            "not there: checkpoint and restore do not work",
            "install criu",
        ),
    }
}

/// Containers that are there no more but for their state.
fn stale(root: &Path) -> Check {
    const ID: &str = "state.stale";
    if !root.is_dir() {
        return Check::ok(ID, "none");
    }
    let containers = Runtime::open(root).and_then(|runtime| runtime.containers());
    let Ok(containers) = containers else {
        return Check::warning(
            ID,
            format!("{} cannot be read", root.display()),
            "run doctor as root, or name a --root of your own",
        );
    };
    let states = containers.iter().map(hostrun_runtime::Container::state);
    let stopped = states
        .filter(|state| {
            state
                .as_ref()
                .is_ok_and(|state| state.status == Status::Stopped)
        })
        .count();
    match stopped {
        0 => Check::ok(ID, format!("none of {}", containers.len())),
        _ => Check::warning(
            ID,
            format!(
                "{stopped} of {} are stopped and not deleted",
                containers.len()
            ),
            "hostrun list shows them, hostrun delete removes them",
        ),
    }
}
