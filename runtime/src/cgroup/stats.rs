//! What a cgroup uses, read file by file. A file that is absent, because its controller is not enabled or
//! pressure accounting is off, is `None` and not an error: libcgroups gives everything or nothing, which on
//! most hosts is nothing (docs/decisions/0003-cgroups.md).

mod parse;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use serde::Serialize;

use super::dir;
use super::error::Result;
use super::group::Cgroup;
use parse::{flat, limit, nested, number, pressure};

/// Statistics of one cgroup and all below it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Processor time; there without the controller, too.
    pub cpu: Option<CpuStats>,
    /// Memory controller.
    pub memory: Option<MemoryStats>,
    /// Pids controller.
    pub pids: Option<PidsStats>,
    /// Io controller, per device.
    pub io: Option<Vec<DeviceIo>>,
    /// Huge pages by size, `2MB`.
    pub hugetlb: BTreeMap<String, HugePages>,
    /// Stalls for want of a processor.
    pub cpu_pressure: Option<Pressure>,
    /// Stalls for want of memory.
    pub memory_pressure: Option<Pressure>,
    /// Stalls for want of input and output.
    pub io_pressure: Option<Pressure>,
}

/// `cpu.stat`, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CpuStats {
    /// In total.
    pub usage_usec: u64,
    /// In user mode.
    pub user_usec: u64,
    /// In the kernel.
    pub system_usec: u64,
    /// Periods of `cpu.max` so far; needs the cpu controller like the next two.
    pub periods: Option<u64>,
    /// Periods in which the quota was used up.
    pub throttled_periods: Option<u64>,
    /// Time spent waiting for the next period.
    pub throttled_usec: Option<u64>,
    /// Periods in which more than the quota was used, thanks to `cpu.max.burst`; since Linux 5.15.
    pub burst_periods: Option<u64>,
    /// Time used beyond the quota in them.
    pub burst_usec: Option<u64>,
}

/// `memory.*`, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryStats {
    /// In use now.
    pub current: u64,
    /// The limit; `None` is unlimited.
    pub max: Option<u64>,
    /// Highest use so far, since Linux 5.19.
    pub peak: Option<u64>,
    /// How often the limit was reached: `max` of the events.
    pub fail_count: u64,
    /// Highest use of swap so far, since Linux 6.5.
    pub swap_peak: Option<u64>,
    /// Swap in use.
    pub swap_current: Option<u64>,
    /// Swap limit; `None` is unlimited or no swap accounting.
    pub swap_max: Option<u64>,
    /// `memory.events`: low, high, max, oom, oom_kill, oom_group_kill. `oom_kill` counts killed processes.
    pub events: BTreeMap<String, u64>,
    /// `memory.stat`: anon, file, kernel and so on.
    pub detail: BTreeMap<String, u64>,
}

/// `pids.*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PidsStats {
    /// Tasks now.
    pub current: u64,
    /// The limit; `None` is unlimited.
    pub max: Option<u64>,
}

/// A line of `io.stat`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceIo {
    /// Device number.
    pub major: u32,
    /// Device number.
    pub minor: u32,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes discarded.
    pub discard_bytes: u64,
    /// Discards.
    pub discards: u64,
}

/// `hugetlb.SIZE.*`, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HugePages {
    /// In use now.
    pub current: u64,
    /// Reserved now, where the kernel tells; since Linux 5.7.
    pub reserved: Option<u64>,
    /// The limit; `None` is unlimited.
    pub max: Option<u64>,
    /// How often the limit was hit.
    pub max_events: u64,
}

/// A pressure file (`Documentation/accounting/psi.rst`).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// Some tasks were stalled.
    pub some: Stall,
    /// All tasks were stalled.
    pub full: Option<Stall>,
}

/// Percent of the time over three windows, and the total.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stall {
    /// Over 10 seconds.
    pub avg10: f64,
    /// Over 60 seconds.
    pub avg60: f64,
    /// Over 300 seconds.
    pub avg300: f64,
    /// In microseconds since the cgroup was made.
    pub total_usec: u64,
}

impl Cgroup {
    /// Reads the statistics.
    ///
    /// # Errors
    /// `NotFound` once the cgroup is removed; the errno of any other failed read.
    pub(crate) fn stats(&self) -> Result<Stats> {
        let read = || {
            let stats = Files(self.fd.as_fd()).stats()?;
            // Every cgroup has cpu.stat; without it, is the cgroup gone or the kernel odd?
            if stats.cpu.is_none() && !self.is_alive()? {
                return Err(Errno::NODEV);
            }
            Ok(stats)
        };
        read().map_err(|errno| self.failed("read statistics of", errno))
    }
}

struct Files<'a>(BorrowedFd<'a>);

impl Files<'_> {
    fn stats(&self) -> Result<Stats, Errno> {
        Ok(Stats {
            cpu: self.text("cpu.stat")?.map(|text| cpu(&text)),
            memory: self.memory()?,
            pids: self.pids()?,
            io: self.text("io.stat")?.map(|text| nested(&text)),
            hugetlb: self.huge_pages()?,
            cpu_pressure: self.pressure("cpu.pressure")?,
            memory_pressure: self.pressure("memory.pressure")?,
            io_pressure: self.pressure("io.pressure")?,
        })
    }

    /// `None` for a file that is absent or switched off.
    fn text(&self, file: &str) -> Result<Option<String>, Errno> {
        match dir::read(self.0, file) {
            Ok(text) => Ok(Some(text)),
            Err(Errno::NOENT | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn number(&self, file: &str) -> Result<Option<u64>, Errno> {
        Ok(self.text(file)?.as_deref().and_then(number))
    }

    fn limit(&self, file: &str) -> Result<Option<u64>, Errno> {
        Ok(self.text(file)?.as_deref().and_then(limit))
    }

    fn table(&self, file: &str) -> Result<BTreeMap<String, u64>, Errno> {
        Ok(self.text(file)?.map(|text| flat(&text)).unwrap_or_default())
    }

    fn pressure(&self, file: &str) -> Result<Option<Pressure>, Errno> {
        Ok(self.text(file)?.as_deref().and_then(pressure))
    }

    fn memory(&self) -> Result<Option<MemoryStats>, Errno> {
        let Some(current) = self.number("memory.current")? else {
            return Ok(None);
        };
        let events = self.table("memory.events")?;
        Ok(Some(MemoryStats {
            fail_count: events.get("max").copied().unwrap_or(0),
            swap_peak: self.number("memory.swap.peak")?,
            current,
            max: self.limit("memory.max")?,
            peak: self.number("memory.peak")?,
            swap_current: self.number("memory.swap.current")?,
            swap_max: self.limit("memory.swap.max")?,
            events,
            detail: self.table("memory.stat")?,
        }))
    }

    fn pids(&self) -> Result<Option<PidsStats>, Errno> {
        let Some(current) = self.number("pids.current")? else {
            return Ok(None);
        };
        let max = self.limit("pids.max")?;
        Ok(Some(PidsStats { current, max }))
    }

    /// The sizes are those that the cgroup has files for.
    fn huge_pages(&self) -> Result<BTreeMap<String, HugePages>, Errno> {
        let mut sizes = BTreeMap::new();
        for entry in rustix::fs::Dir::read_from(self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            let Some(size) = huge_page_size(&name) else {
                continue;
            };
            let Some(current) = self.number(&name)? else {
                continue;
            };
            let events = self.table(&format!("hugetlb.{size}.events"))?;
            let pages = HugePages {
                current,
                reserved: self.number(&format!("hugetlb.{size}.rsvd.current"))?,
                max: self.limit(&format!("hugetlb.{size}.max"))?,
                max_events: events.get("max").copied().unwrap_or(0),
            };
            sizes.insert(size.to_owned(), pages);
        }
        Ok(sizes)
    }
}

/// `2MB` of `hugetlb.2MB.current`, but nothing of `hugetlb.2MB.rsvd.current`.
fn huge_page_size(file: &str) -> Option<&str> {
    let size = file.strip_prefix("hugetlb.")?.strip_suffix(".current")?;
    (!size.contains('.')).then_some(size)
}

fn cpu(text: &str) -> CpuStats {
    let table = flat(text);
    let value = |key: &str| table.get(key).copied();
    CpuStats {
        usage_usec: value("usage_usec").unwrap_or(0),
        user_usec: value("user_usec").unwrap_or(0),
        system_usec: value("system_usec").unwrap_or(0),
        periods: value("nr_periods"),
        throttled_periods: value("nr_throttled"),
        throttled_usec: value("throttled_usec"),
        burst_periods: value("nr_bursts"),
        burst_usec: value("burst_usec"),
    }
}
