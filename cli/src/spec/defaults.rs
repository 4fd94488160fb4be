//! What every container gets unless a flag says otherwise.

use oci_spec::runtime::Mount;
use std::path::PathBuf;

/// Paths that show something of the host, covered.
pub(super) const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths that change something of the host, made read-only.
pub(super) const READONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The search path of an image that names none.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The size of /dev/shm in bytes.
pub(super) const SHM_BYTES: i64 = 64 << 20;

/// A mount entry.
pub(super) fn mount(destination: &str, kind: &str, source: PathBuf, options: Vec<String>) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(destination.into())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source))
        .set_options((!options.is_empty()).then_some(options));
    mount
}

/// The kernel's file systems, in the order they are mounted.
pub(crate) fn mounts(shm_bytes: i64, privileged: bool) -> Vec<Mount> {
    let access = if privileged { "rw" } else { "ro" };
    let entry = |destination: &str, kind: &str, options: &[&str]| {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        mount(destination, kind, kind.into(), options)
    };
    let shm = format!("size={shm_bytes}");
    vec![
        entry("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        entry(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        entry(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        entry("/sys", "sysfs", &["nosuid", "noexec", "nodev", access]),
        entry(
            "/sys/fs/cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", access],
        ),
        entry("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        entry(
            "/dev/shm",
            "tmpfs",
            &["nosuid", "noexec", "nodev", "mode=1777", &shm],
        ),
    ]
}
