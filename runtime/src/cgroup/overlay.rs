//! An update of a container's resources laid over those it has: what they are afterwards, and what has to
//! be written for that.

use std::collections::HashMap;
use std::hash::Hash;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxResources, LinuxThrottleDevice,
    LinuxWeightDevice,
};

/// What an update comes to.
#[derive(Debug)]
pub(crate) struct Overlaid {
    /// The container's resources from now on.
    pub(crate) merged: LinuxResources,
    /// What is to be written: the settings that were given, with those that they are bound to.
    pub(crate) change: LinuxResources,
}

/// Only what is given changes. 0 is "not given" wherever it means "not set" (memory, cpu shares, quota and
/// period, block weights), as in runc. Swap is counted together with memory, so each of the two brings the
/// other with it.
pub(crate) fn overlay(old: &LinuxResources, new: &LinuxResources) -> Overlaid {
    let mut merged = old.clone();
    let mut change = new.clone();
    if let Some(new) = new.memory() {
        let memory = memory(&old.memory().unwrap_or_default(), new);
        if bytes(new.limit()).is_some() || bytes(new.swap()).is_some() {
            let mut both = *new;
            both.set_limit(memory.limit()).set_swap(memory.swap());
            change.set_memory(Some(both));
        }
        merged.set_memory(Some(memory));
    }
    if let Some(new) = new.cpu() {
        merged.set_cpu(Some(cpu(&old.cpu().clone().unwrap_or_default(), new)));
    }
    if let Some(pids) = new.pids() {
        merged.set_pids(Some(*pids));
    }
    if let Some(new) = new.block_io() {
        let io = block_io(&old.block_io().clone().unwrap_or_default(), new);
        merged.set_block_io(Some(io));
    }
    if let Some(new) = new.hugepage_limits() {
        let size = |limit: &LinuxHugepageLimit| limit.page_size().clone();
        merged.set_hugepage_limits(list(old.hugepage_limits().as_ref(), new, size));
    }
    if let Some(new) = new.rdma() {
        merged.set_rdma(Some(map(old.rdma().as_ref(), new)));
    }
    if let Some(new) = new.unified() {
        merged.set_unified(Some(map(old.unified().as_ref(), new)));
    }
    if let Some(rules) = new.devices().as_ref().filter(|rules| !rules.is_empty()) {
        merged.set_devices(Some(rules.clone()));
    }
    Overlaid { merged, change }
}

fn bytes(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value != 0)
}

fn memory(old: &LinuxMemory, new: &LinuxMemory) -> LinuxMemory {
    let mut memory = *old;
    let limit = bytes(new.limit());
    // Without a limit of memory there is none of both together.
    let swap = bytes(new.swap()).or_else(|| limit.filter(|limit| *limit == -1));
    memory
        .set_limit(limit.or(old.limit()))
        .set_swap(swap.or(old.swap()))
        .set_reservation(bytes(new.reservation()).or(old.reservation()));
    memory
}

fn cpu(old: &LinuxCpu, new: &LinuxCpu) -> LinuxCpu {
    let set = |value: Option<u64>| value.filter(|value| *value > 0);
    let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let mut cpu = old.clone();
    cpu.set_shares(set(new.shares()).or(old.shares()))
        .set_quota(bytes(new.quota()).or(old.quota()))
        .set_period(set(new.period()).or(old.period()))
        .set_burst(new.burst().or(old.burst()))
        .set_idle(new.idle().or(old.idle()))
        .set_cpus(text(new.cpus()).or_else(|| old.cpus().clone()))
        .set_mems(text(new.mems()).or_else(|| old.mems().clone()));
    cpu
}

fn block_io(old: &LinuxBlockIo, new: &LinuxBlockIo) -> LinuxBlockIo {
    let device = |throttle: &LinuxThrottleDevice| (throttle.major(), throttle.minor());
    let throttles = |old: &Option<Vec<_>>, new: &Option<Vec<_>>| match new {
        Some(new) => list(old.as_ref(), new, device),
        None => old.clone(),
    };
    let mut io = old.clone();
    if let Some(weight) = new.weight().filter(|weight| *weight > 0) {
        io.set_weight(Some(weight));
    }
    if let Some(new) = new.weight_device() {
        let device = |weight: &LinuxWeightDevice| (weight.major(), weight.minor());
        io.set_weight_device(list(old.weight_device().as_ref(), new, device));
    }
    io.set_throttle_read_bps_device(throttles(
        old.throttle_read_bps_device(),
        new.throttle_read_bps_device(),
    ))
    .set_throttle_write_bps_device(throttles(
        old.throttle_write_bps_device(),
        new.throttle_write_bps_device(),
    ))
    .set_throttle_read_iops_device(throttles(
        old.throttle_read_iops_device(),
        new.throttle_read_iops_device(),
    ))
    .set_throttle_write_iops_device(throttles(
        old.throttle_write_iops_device(),
        new.throttle_write_iops_device(),
    ));
    io
}

/// The entries of `new` after those of `old` that have another key.
fn list<T: Clone, K: PartialEq>(
    old: Option<&Vec<T>>,
    new: &[T],
    key: impl Fn(&T) -> K,
) -> Option<Vec<T>> {
    let replaced = |entry: &&T| !new.iter().any(|new| key(new) == key(entry));
    let kept = old.into_iter().flatten().filter(replaced);
    let all: Vec<T> = kept.chain(new).cloned().collect();
    (!all.is_empty()).then_some(all)
}

fn map<K: Clone + Eq + Hash, V: Clone>(
    old: Option<&HashMap<K, V>>,
    new: &HashMap<K, V>,
) -> HashMap<K, V> {
    let mut map = old.cloned().unwrap_or_default();
    map.extend(new.iter().map(|(key, value)| (key.clone(), value.clone())));
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: &str) -> LinuxResources {
        serde_json::from_str(json).unwrap()
    }

    fn merged(old: &str, new: &str) -> LinuxResources {
        overlay(&resources(old), &resources(new)).merged
    }

    #[test]
    fn what_is_not_given_stays() {
        let old = r#"{"memory":{"limit":10,"swap":20,"reservation":5},
            "cpu":{"shares":7,"quota":8,"period":9,"cpus":"0"},"pids":{"limit":3},
            "blockIO":{"weight":100,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}]},
            "unified":{"memory.high":"9"}}"#;
        for nothing in [
            "{}",
            r#"{"memory":{},"cpu":{},"blockIO":{},"unified":{},"devices":[]}"#,
            r#"{"memory":{"limit":0,"swap":0},"cpu":{"shares":0,"quota":0,"period":0,"cpus":""},
                "blockIO":{"weight":0}}"#,
        ] {
            assert_eq!(merged(old, nothing), resources(old), "{nothing}");
        }
    }

    #[test]
    fn memory_and_swap_come_together() {
        let old = resources(r#"{"memory":{"limit":10,"swap":20}}"#);
        let more = overlay(&old, &resources(r#"{"memory":{"limit":15}}"#));
        let memory = more.change.memory().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(15), Some(20)));
        let swap = overlay(&old, &resources(r#"{"memory":{"swap":30}}"#));
        let memory = swap.change.memory().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(10), Some(30)));
        let none = overlay(&old, &resources(r#"{"memory":{"limit":-1}}"#));
        let memory = none.change.memory().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(-1), Some(-1)));
        let neither = overlay(&old, &resources(r#"{"memory":{"reservation":5}}"#));
        assert_eq!(neither.change.memory().unwrap().limit(), None);
    }

    #[test]
    fn devices_replace_their_own_entry_only() {
        let io = merged(
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1},{"major":8,"minor":1,"rate":2}]}}"#,
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":9}]}}"#,
        );
        let throttles = io.block_io().clone().unwrap();
        let throttles = throttles.throttle_read_bps_device().clone().unwrap();
        let rates: Vec<_> = throttles.iter().map(|t| (t.minor(), t.rate())).collect();
        assert_eq!(rates, [(1, 2), (0, 9)]);
    }
}
