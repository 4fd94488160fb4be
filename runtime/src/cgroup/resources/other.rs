//! `pids`, `hugepageLimits`, `network`, `rdma` and `unified`.
//!
//! A `unified` key is the name of an interface file: letters, digits, `.`, `_` and `-`, with a controller
//! before the first dot, so it cannot name a file outside the cgroup. Of the `cgroup.*` files only
//! `cgroup.max.depth`, `cgroup.max.descendants` and `cgroup.pressure` are settings; the others move, kill
//! or stop processes, the runtime's own among them, and are refused. A value of several lines is written
//! line by line, as the kernel wants it.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxPids, LinuxResources};

use super::Reader;

const CGROUP_SETTINGS: [&str; 3] = [
    "cgroup.max.depth",
    "cgroup.max.descendants",
    "cgroup.pressure",
];

/// The kernel takes less than a page in one write.
const MAX_LINE: usize = 4095;

impl Reader {
    pub(super) fn rest(&mut self, spec: &LinuxResources) {
        if let Some(limit) = spec
            .pids()
            .map(|pids| pids.limit())
            .filter(|limit| *limit > 0)
        {
            let mut pids = LinuxPids::default();
            pids.set_limit(limit);
            self.out.lib.set_pids(Some(pids));
            self.lib("pids", "pids.limit", "pids.max", limit);
        }
        self.huge_pages(spec.hugepage_limits().as_deref().unwrap_or_default());
        if let Some(network) = spec.network() {
            self.network(network);
        }
        if spec.rdma().as_ref().is_some_and(|rdma| !rdma.is_empty()) {
            self.refuse("rdma", "not supported yet");
        }
        if let Some(unified) = spec.unified() {
            self.unified(unified);
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

fn fault(key: &str, value: &str) -> Option<&'static str> {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let (controller, rest) = key.split_once('.').unwrap_or((key, ""));
    if controller.is_empty() || rest.is_empty() || key.len() > 255 || !key.chars().all(named) {
        return Some("is not the name of a cgroup file such as memory.high");
    }
    if controller == "cgroup" && !CGROUP_SETTINGS.contains(&key) {
        return Some("is not a setting but acts on processes");
    }
    if value.contains('\0') || value.lines().any(|line| line.len() > MAX_LINE) {
        return Some("has a value that cannot be written");
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
