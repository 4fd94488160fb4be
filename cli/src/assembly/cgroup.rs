//! A container within the service that runs it: what the service may use, the container may use at most, and its lines
//! in the journal are the service's.

use anyhow::{Context, Result};
use oci_spec::runtime::Spec;
use std::fs;
use std::path::{Path, PathBuf};

/// Where systemd has cgroup2.
const ROOT: &str = "/sys/fs/cgroup";

/// Our own place: a cgroup that hands out controllers has no processes itself (`cgroups.rst`, no internal processes).
const SUPERVISOR: &str = "supervisor";

/// Moves this process to a cgroup below its own, and gives the container one beside that.
///
/// # Errors
/// When our cgroup is not ours to divide.
pub(super) fn split(id: &str, spec: &mut Spec) -> Result<()> {
    let own = own_cgroup().context("--cgroups split: cannot find the cgroup of this process")?;
    let place = Path::new(ROOT).join(own.strip_prefix("/").unwrap_or(&own));
    let supervisor = place.join(SUPERVISOR);
    let divided = fs::create_dir_all(&supervisor).and_then(|()| {
        let pid = std::process::id().to_string();
        fs::write(supervisor.join("cgroup.procs"), pid)
    });
    divided.with_context(|| {
        format!(
            "--cgroups split: cannot divide the cgroup '{}'; a service needs Delegate=yes",
            own.display()
        )
    })?;
    if let Some(linux) = spec.linux_mut() {
        linux.set_cgroups_path(Some(own.join(format!("container-{id}"))));
    }
    Ok(())
}

/// As cgroup2 has it; where a call before us has divided it, the whole.
fn own_cgroup() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let path = Path::new(path);
    let whole = path.parent().filter(|_| path.ends_with(SUPERVISOR));
    Some(whole.unwrap_or(path).to_owned())
}
