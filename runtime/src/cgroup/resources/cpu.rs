//! `linux.resources.cpu`: the cpu and cpuset controllers.

use oci_spec::runtime::LinuxCpu;

use super::Reader;

const SHARES: &str = "cpu.shares";
const QUOTA: &str = "cpu.quota";

/// The kernel takes at most a page in one write.
const MAX_LIST: usize = 4096;

impl Reader {
    pub(super) fn cpu(&mut self, cpu: &LinuxCpu) {
        let mut lib = LinuxCpu::default();
        if let Some(shares) = cpu.shares().filter(|shares| *shares > 0) {
            lib.set_shares(Some(shares));
            self.lib("cpu", SHARES, "cpu.weight", shares);
        }
        if let Some(quota) = cpu.quota().filter(|quota| *quota > 0) {
            let period = cpu.period().filter(|period| *period > 0);
            lib.set_quota(Some(quota)).set_period(period);
            let value =
                period.map_or_else(|| quota.to_string(), |period| format!("{quota} {period}"));
            self.lib("cpu", QUOTA, "cpu.max", value);
        }
        if let Some(cpus) = self.list("cpu.cpus", cpu.cpus().as_deref()) {
            self.lib("cpuset", "cpu.cpus", "cpuset.cpus", &cpus);
            lib.set_cpus(Some(cpus));
        }
        if let Some(mems) = self.list("cpu.mems", cpu.mems().as_deref()) {
            self.lib("cpuset", "cpu.mems", "cpuset.mems", &mems);
            lib.set_mems(Some(mems));
        }
        if lib != LinuxCpu::default() {
            self.out.lib.set_cpu(Some(lib));
        }
        self.burst_and_idle(cpu);
        self.only_v1(
            "cpu.realtimeRuntime",
            cpu.realtime_runtime().unwrap_or(0) == 0,
        );
        self.only_v1(
            "cpu.realtimePeriod",
            cpu.realtime_period().unwrap_or(0) == 0,
        );
    }

    /// Written after `cpu.max`: the kernel wants a burst to be at most the quota, and refuses a weight for
    /// an idle cgroup.
    fn burst_and_idle(&mut self, cpu: &LinuxCpu) {
        if let Some(burst) = cpu.burst().filter(|burst| *burst > 0) {
            self.own("cpu", "cpu.burst", "cpu.max.burst", burst);
        }
        match cpu.idle() {
            None | Some(0) => {}
            Some(1) => self.own("cpu", "cpu.idle", "cpu.idle", 1),
            Some(idle) => self.refuse("cpu.idle", format!("{idle} is neither 0 nor 1")),
        }
    }

    /// `0-3,7` or `0-10:1/2`; the kernel judges the numbers.
    fn list(&mut self, path: &str, list: Option<&str>) -> Option<String> {
        let list = list.map(str::trim).filter(|list| !list.is_empty())?;
        let allowed = |c: char| c.is_ascii_digit() || matches!(c, ',' | '-' | ':' | '/');
        if list.len() > MAX_LIST || !list.chars().all(allowed) {
            self.refuse(path, "is not a list such as 0-3,7");
            return None;
        }
        Some(list.to_owned())
    }
}
