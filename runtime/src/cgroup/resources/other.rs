//! `pids`, `hugepageLimits`, `network`, `rdma` and `unified`.
//!
//! A `unified` key is the name of an interface file: letters, digits, `.`, `_` and `-`, with a controller
//! before the first dot, so it cannot name a file outside the cgroup. Of the `cgroup.*` files only
//! `cgroup.max.depth`, `cgroup.max.descendants` and `cgroup.pressure` are settings; the others move, kill
//! or stop processes, the runtime's own among them, and are refused. A value of several lines is written
//! line by line, as the kernel wants it.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxPids, LinuxRdma, LinuxResources};
use rustix::io::Errno;

use super::Reader;

const PIDS: &str = "pids.limit";

const CGROUP_SETTINGS: [&str; 3] = [
    "cgroup.max.depth",
    "cgroup.max.descendants",
    "cgroup.pressure",
];

/// The kernel takes less than a page in one write.
const MAX_LINE: usize = 4095;

impl Reader {
    pub(super) fn rest(&mut self, spec: &LinuxResources) {
        if let Some(pids) = spec.pids() {
            self.pids(pids.limit());
        }
        self.huge_pages(spec.hugepage_limits().as_deref().unwrap_or_default());
        if let Some(network) = spec.network() {
            self.network(network);
        }
        if let Some(rdma) = spec.rdma() {
            self.rdma(rdma);
        }
        if let Some(unified) = spec.unified() {
            self.unified(unified);
        }
    }

    /// The kernel takes 0, systemd does not, and one task is the least there is. Hosts without the
    /// controller get the 0 of clients that fill every field, and mean nothing by it.
    fn pids(&mut self, limit: i64) {
        if limit == 0 {
            let write = super::written("pids.max", 1, PIDS).forgive(Errno::NOENT);
            self.out.writes.push(write);
        } else if limit > 0 || self.live {
            let mut pids = LinuxPids::default();
            pids.set_limit(limit);
            self.out.lib.set_pids(Some(pids));
            let value = u64::try_from(limit).map_or_else(|_| "max".to_owned(), |n| n.to_string());
            self.lib("pids", PIDS, "pids.max", value);
        }
    }

    fn rdma(&mut self, devices: &HashMap<String, LinuxRdma>) {
        let mut devices: Vec<_> = devices.iter().collect();
        devices.sort_unstable_by_key(|(name, _limits)| *name);
        for (name, limits) in devices {
            let path = format!("rdma[{name:?}]");
            let plain = |c: char| c.is_ascii_graphic();
            if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
                self.refuse(&path, "is not the name of a device");
                continue;
            }
            let handles = limits.hca_handles().map(|n| format!(" hca_handle={n}"));
            let objects = limits.hca_objects().map(|n| format!(" hca_object={n}"));
            if handles.is_some() || objects.is_some() {
                let [handles, objects] = [handles, objects].map(Option::unwrap_or_default);
                let line = format!("{name}{handles}{objects}");
                self.own("rdma", &path, "rdma.max", line);
            }
        }
    }

    fn huge_pages(&mut self, limits: &[LinuxHugepageLimit]) {
        let mut kept = Vec::new();
        for (index, huge) in limits.iter().enumerate() {
            let path = format!("hugepageLimits[{index}]");
            let (size, limit) = (huge.page_size(), huge.limit());
            if !is_page_size(size) {
                self.refuse(
                    &format!("{path}.pageSize"),
                    format!("{size:?} is not a page size such as 2MB"),
                );
            } else if limit < 0 {
                self.refuse(&format!("{path}.limit"), format!("{limit} is not a size"));
            } else {
                let file = format!("hugetlb.{size}.max");
                self.lib("hugetlb", &format!("{path}.limit"), &file, limit);
                kept.push(huge.clone());
            }
        }
        if !kept.is_empty() {
            self.out.lib.set_hugepage_limits(Some(kept));
        }
    }

    fn network(&mut self, network: &LinuxNetwork) {
        self.only_v1("network.classID", network.class_id().unwrap_or(0) == 0);
        let no_priorities = network.priorities().as_ref().is_none_or(Vec::is_empty);
        self.only_v1("network.priorities", no_priorities);
    }

    fn unified(&mut self, unified: &HashMap<String, String>) {
        let mut entries: Vec<(&String, &String)> = unified.iter().collect();
        // The order of a map is arbitrary, the order of writes must not be.
        entries.sort_unstable();
        for (key, value) in entries {
            let path = format!("unified[{key:?}]");
            if let Some(why) = fault(key, value) {
                self.refuse(&path, why);
                continue;
            }
            let controller = key.split('.').next().unwrap_or_default();
            for line in value.lines().filter(|line| !line.trim().is_empty()) {
                if controller == "cgroup" {
                    self.out.writes.push(super::written(key, line, &path));
                } else {
                    self.own(controller, &path, key, line);
                }
            }
        }
    }
}

fn fault(key: &str, value: &str) -> Option<String> {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let (controller, rest) = key.split_once('.').unwrap_or((key, ""));
    if controller.is_empty() || rest.is_empty() || key.len() > 255 || !key.chars().all(named) {
        let why = format!("the specified key has not the form CONTROLLER.VALUE `{key}`");
        return Some(why);
    }
    if controller == "cgroup" && !CGROUP_SETTINGS.contains(&key) {
        return Some("is not a setting but acts on processes".to_owned());
    }
    if value.contains('\0') || value.lines().any(|line| line.len() > MAX_LINE) {
        return Some("has a value that cannot be written".to_owned());
    }
    None
}

/// `64KB`, `2MB`, `1GB`: a power of two and a unit, as the kernel names its files.
fn is_page_size(size: &str) -> bool {
    let number = ["KB", "MB", "GB"]
        .iter()
        .find_map(|unit| size.strip_suffix(unit));
    number.is_some_and(|number| {
        number.bytes().all(|byte| byte.is_ascii_digit())
            && !number.starts_with('0')
            && number.parse::<u64>().is_ok_and(u64::is_power_of_two)
    })
}
