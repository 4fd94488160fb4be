//! Changing the limits of a container that exists.

use crate::cgroup::systemd::{self, Manager};
use crate::cgroup::{Overlaid, Resources, overlay};
use crate::container::Container;
use crate::error::{Error, ErrorKind, Result};
use crate::state::Unit;
use oci_spec::runtime::LinuxResources;

impl Container {
    /// Changes limits while it is created, running or paused: those that are given, and no others.
    /// All of them change, or none.
    ///
    /// -1 lifts a limit; 0 is "not given" where the spec has no meaning for it. `devices` takes the
    /// place of all device rules; an empty list leaves them alone. [`Container::spec`] has the new
    /// values afterwards.
    ///
    /// # Errors
    /// `WrongState` where it does not run, `InvalidSpec` for values that contradict each other, those
    /// it has or its use, `Unsupported` where this host lacks a controller; each names the JSON path.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        const OPERATION: &str = "update container";
        // Two at once would each keep only their own half.
        let _turn = self.dir().lock()?;
        let (record, _pidfd) = self.alive(OPERATION)?;
        let mut spec = self.spec()?;
        let mut linux = spec.linux().clone().unwrap_or_default();
        let old = linux.resources().clone().unwrap_or_default();
        let Overlaid { merged, change } = overlay(&old, resources);
        let change = Resources::for_update(&change).map_err(|problems| {
            let found = problems.into_iter();
            let found: Vec<String> = found.map(|p| format!("{}: {}", p.path, p.reason)).collect();
            Error::new(ErrorKind::InvalidSpec, OPERATION, self.id().as_str())
                .because(found.join("; "))
        })?;
        let cgroup = self
            .cgroup(Some(&record))?
            .ok_or_else(|| self.wrong_state(OPERATION, "its cgroup is gone"))?;
        if let Some(unit) = &record.unit {
            cgroup.check_usage(&change)?;
            change_unit(unit, &merged, resources)?;
        }
        cgroup.update(&change)?;
        linux.set_resources(Some(merged));
        spec.set_linux(Some(linux));
        self.dir().replace_config(&crate::bundle::to_bytes(&spec)?)
    }
}

/// systemd knows the limits as well: it writes them anew at a daemon-reload.
fn change_unit(unit: &Unit, merged: &LinuxResources, given: &LinuxResources) -> Result<()> {
    let mut manager = Manager::connect(unit.whose())?;
    // A quota and its period are one property, so all that is known is told; what was once given as a
    // file may be older than what is given now.
    let mut all = merged.clone();
    all.set_unified(given.unified().clone());
    let mut properties = manager.limits(&all);
    let rules = given.devices().as_deref().unwrap_or_default();
    if !rules.is_empty() {
        properties.extend(systemd::devices(rules));
    }
    Ok(manager.set(&unit.name, properties)?)
}
