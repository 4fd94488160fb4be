//! The kernel: its version and what it answers to system calls.

use super::Check;
use hostrun_runtime::Kernel;
use std::fs;

pub(super) fn checks() -> Vec<Check> {
    let kernel = Kernel::probe();
    let needed = |id, there: bool, call: &str| {
        if there {
            Check::ok(id, format!("{call} works"))
        } else {
            Check::failure(
                id,
                format!("{call} does not work"),
                "run Linux 5.10 or newer, and let no filter deny it",
            )
        }
    };
    let mut checks = vec![
        version(),
        known_bad(),
        needed("kernel.openat2", kernel.openat2, "openat2(2)"),
        needed("kernel.open_tree", kernel.open_tree, "open_tree(2)"),
        needed("kernel.pidfd", kernel.pidfd, "pidfd_open(2)"),
    ];
    checks.push(if kernel.mount_setattr {
        Check::ok(
            "kernel.mount_setattr",
            "mount_setattr(2) works: idmapped mounts, rro",
        )
    } else {
        Check::warning(
            "kernel.mount_setattr",
            "mount_setattr(2) does not work: no idmapped mounts, no rro",
            "run Linux 5.12 or newer",
        )
    });
    checks.push(if kernel.landlock > 0 {
        Check::ok("kernel.landlock", format!("version {}", kernel.landlock))
    } else {
        Check::warning(
            "kernel.landlock",
            "not there",
            "boot with landlock in lsm=, Linux 5.13 or newer",
        )
    });
    checks.push(filesystem("kernel.overlay", "overlay"));
    checks.push(security());
    checks.push(grace_periods());
    checks
}

/// Major and minor number of a release such as `6.1.0-13-amd64`.
fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|digit: char| !digit.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn version() -> Check {
    const ID: &str = "kernel.version";
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    match numbers(&release) {
        Some(numbers) if numbers < (5, 10) => {
            Check::failure(ID, release, "run Linux 5.10 or newer")
        }
        Some(numbers) if numbers < (5, 14) => Check::warning(
            ID,
            format!("{release}: without cgroup.kill, containers are killed process by process"),
            "run Linux 5.14 or newer",
        ),
        _ => Check::ok(ID, release),
    }
}

/// Kernels with a fault that containers meet.
fn known_bad() -> Check {
    const ID: &str = "kernel.known_bad";
    let uname = rustix::system::uname();
    match numbers(&uname.release().to_string_lossy()) {
        Some(numbers) if ((6, 17)..=(7, 1)).contains(&numbers) => Check::ok(
            ID,
            "BPF_PROG_QUERY may write too far here: other runtimes may crash, hostrun leaves room",
        ),
        _ => Check::ok(ID, "none of those that are known"),
    }
}

fn filesystem(id: &'static str, name: &str) -> Check {
    let list = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if list
        .lines()
        .any(|line| line.split_whitespace().last() == Some(name))
    {
        return Check::ok(id, format!("{name} is there"));
    }
    Check::warning(
        id,
        "images need it; bundles do not",
        "load the overlay module",
    )
}

fn security() -> Check {
    const ID: &str = "kernel.lsm";
    let list = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let found: Vec<&str> = list
        .trim()
        .split(',')
        .filter(|name| ["apparmor", "selinux"].contains(name))
        .collect();
    if found.is_empty() {
        return Check::warning(
            ID,
            "neither AppArmor nor SELinux: their labels are refused",
            "boot with apparmor or selinux in lsm=, if you want their labels",
        );
    }
    Check::ok(ID, found.join(", "))
}

/// Mounts that go and namespaces that are left wait for a grace period of RCU.
fn grace_periods() -> Check {
    const ID: &str = "kernel.rcu";
    match fs::read_to_string("/sys/kernel/rcu_expedited") {
        Ok(value) if value.trim() == "1" => Check::ok(ID, "grace periods are expedited"),
        _ => Check::ok(
            ID,
            "grace periods are ordinary; rcupdate.rcu_expedited=1 makes ends of containers quicker",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_have_two_numbers() {
        assert_eq!(numbers("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(numbers("5.10"), Some((5, 10)));
        assert_eq!(numbers("next"), None);
    }
}
