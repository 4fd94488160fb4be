//! What a class has and what its processes used.

use super::Group;
use crate::cgroup::dir;
use serde::Serialize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Of a container with a class of service. What the machine does not have is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RdtStats {
    /// `info/L3` of the machine: mask of all, bits that one must have at least, classes there can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<CacheInfo>,
    /// The machine's line of the L3 cache.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema_root: String,
    /// The class's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    /// `info/MB` of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<BandwidthInfo>,
    /// The machine's line of the memory's bandwidth.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema_root: String,
    /// The class's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    /// Memory traffic, per domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbm_stats: Option<Vec<MonitorStats>>,
    /// Cache occupancy, per domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmt_stats: Option<Vec<CacheMonitor>>,
}

/// The L3 cache of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CacheInfo {
    /// Hexadecimal.
    pub cbm_mask: String,
    /// Bits a mask must have at least.
    pub min_cbm_bits: u64,
    /// Classes there can be.
    pub num_closids: u64,
}

/// The memory's bandwidth on the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BandwidthInfo {
    /// Steps, in percent.
    pub bandwidth_gran: u64,
    /// 1 where a step means the same everywhere.
    pub delay_linear: u64,
    /// In percent.
    pub min_bandwidth: u64,
    /// Classes there can be.
    pub num_closids: u64,
}

/// Memory traffic of one domain, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MonitorStats {
    /// To and from all memory.
    pub mbm_total_bytes: u64,
    /// To and from the memory of its own node.
    pub mbm_local_bytes: u64,
}

/// Cache of one domain, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CacheMonitor {
    /// In use.
    pub llc_occupancy: u64,
}

/// What is to be measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) cache: bool,
    pub(crate) bandwidth: bool,
}

impl Group {
    /// Reads it all.
    pub(crate) fn stats(&self, measured: Measured) -> RdtStats {
        let root = self.root().as_fd();
        let (all, own) = (
            text(root, "schemata"),
            text(self.class().as_fd(), "schemata"),
        );
        let domains = domains(self.monitored());
        RdtStats {
            l3_cache_info: cache_info(root),
            l3_cache_schema_root: line(&all, "L3:"),
            l3_cache_schema: line(&own, "L3:"),
            mem_bw_info: bandwidth_info(root),
            mem_bw_schema_root: line(&all, "MB:"),
            mem_bw_schema: line(&own, "MB:"),
            mbm_stats: measured.bandwidth.then(|| {
                let stats = domains.iter().map(|domain| MonitorStats {
                    mbm_total_bytes: number(domain.as_fd(), "mbm_total_bytes"),
                    mbm_local_bytes: number(domain.as_fd(), "mbm_local_bytes"),
                });
                stats.collect()
            }),
            cmt_stats: measured.cache.then(|| {
                let stats = domains.iter().map(|domain| CacheMonitor {
                    llc_occupancy: number(domain.as_fd(), "llc_occupancy"),
                });
                stats.collect()
            }),
        }
    }
}

fn cache_info(root: BorrowedFd<'_>) -> Option<CacheInfo> {
    let dir = dir::open(root, "info/L3").ok()?;
    Some(CacheInfo {
        cbm_mask: text(dir.as_fd(), "cbm_mask").trim().to_owned(),
        min_cbm_bits: number(dir.as_fd(), "min_cbm_bits"),
        num_closids: number(dir.as_fd(), "num_closids"),
    })
}

fn bandwidth_info(root: BorrowedFd<'_>) -> Option<BandwidthInfo> {
    let dir = dir::open(root, "info/MB").ok()?;
    Some(BandwidthInfo {
        bandwidth_gran: number(dir.as_fd(), "bandwidth_gran"),
        delay_linear: number(dir.as_fd(), "delay_linear"),
        min_bandwidth: number(dir.as_fd(), "min_bandwidth"),
        num_closids: number(dir.as_fd(), "num_closids"),
    })
}

/// Directories below `mon_data`, in order of their names.
fn domains(group: &OwnedFd) -> Vec<OwnedFd> {
    let Ok(data) = dir::open(group.as_fd(), "mon_data") else {
        return Vec::new();
    };
    let mut names = dir::children(data.as_fd()).unwrap_or_default();
    names.sort_unstable();
    let open = |name: &std::ffi::CString| dir::open(data.as_fd(), name.to_str().ok()?).ok();
    names.iter().filter_map(open).collect()
}

fn text(dir: BorrowedFd<'_>, file: &str) -> String {
    dir::read(dir, file).unwrap_or_default()
}

/// 0 for what the machine cannot tell: "Unavailable", says the kernel.
fn number(dir: BorrowedFd<'_>, file: &str) -> u64 {
    text(dir, file).trim().parse().unwrap_or(0)
}

fn line(text: &str, resource: &str) -> String {
    let mut lines = text.lines().map(str::trim);
    let found = lines.find(|line| line.starts_with(resource));
    found.unwrap_or_default().to_owned()
}
