//! `linux.resources.cpu`: the cpu and cpuset controllers.

use oci_spec::runtime::LinuxCpu;

use rustix::io::Errno;

use super::Reader;

const SHARES: &str = "cpu.shares";
const QUOTA: &str = "cpu.quota";
const PERIOD: &str = "cpu.period";
const BURST: &str = "cpu.burst";
const IDLE: &str = "cpu.idle";

/// Microseconds, of a cgroup that nobody touched.
const DEFAULT_PERIOD: u64 = 100_000;

/// The kernel takes at most a page in one write.
const MAX_LIST: usize = 4096;

impl Reader {
    pub(super) fn cpu(&mut self, cpu: &LinuxCpu) {
        let mut lib = LinuxCpu::default();
        if let Some(shares) = cpu.shares().filter(|shares| *shares > 0) {
            lib.set_shares(Some(shares));
            self.lib("cpu", SHARES, "cpu.weight", shares);
        }
        self.bandwidth(cpu, &mut lib);
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

    /// libcgroups keeps the period where only a quota is given, and the quota where only a period is.
    fn bandwidth(&mut self, cpu: &LinuxCpu, lib: &mut LinuxCpu) {
        let quota = cpu.quota().filter(|quota| *quota != 0);
        let period = cpu.period().filter(|period| *period > 0);
        let limits = quota.is_some_and(|quota| quota > 0);
        // Nothing changes where there never was a quota and the period is the kernel's own.
        let changes = period.is_some_and(|period| period != DEFAULT_PERIOD);
        if !(limits || changes || self.live && (quota.is_some() || period.is_some())) {
            return;
        }
        lib.set_quota(quota).set_period(period);
        let quota = match quota {
            Some(quota) if quota > 0 => quota.to_string(),
            _ => "max".to_owned(),
        };
        let value = period.map_or_else(|| quota.clone(), |period| format!("{quota} {period}"));
        let path = if lib.quota().is_some() { QUOTA } else { PERIOD };
        self.lib("cpu", path, "cpu.max", value);
    }

    /// The kernel wants a burst to be at most the quota, the old one or the new one: in a cgroup that
    /// lives it is tried before `cpu.max`, too. It refuses a weight for an idle cgroup.
    fn burst_and_idle(&mut self, cpu: &LinuxCpu) {
        if let Some(burst) = cpu.burst().filter(|burst| *burst > 0 || self.live) {
            if self.live {
                self.first("cpu", BURST, "cpu.max.burst", burst, Errno::INVAL);
            }
            self.own("cpu", BURST, "cpu.max.burst", burst);
        }
        match cpu.idle() {
            Some(0) if self.live => self.first("cpu", IDLE, "cpu.idle", 0, Errno::NOENT),
            None | Some(0) => {}
            Some(1) => self.own("cpu", IDLE, "cpu.idle", 1),
            Some(idle) => self.refuse(IDLE, format!("{idle} is neither 0 nor 1")),
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
