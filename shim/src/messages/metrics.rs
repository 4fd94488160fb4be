//! Statistics as containerd reads them, `io.containerd.cgroups.v2.Metrics`. What the kernel has no file for
//! is zero there.

use hostrun_runtime as library;
use prost::Message;
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metrics {
    #[prost(message, optional, tag = "1")]
    pub(crate) pids: Option<Pids>,
    #[prost(message, optional, tag = "2")]
    pub(crate) cpu: Option<Cpu>,
    #[prost(message, optional, tag = "4")]
    pub(crate) memory: Option<Memory>,
    #[prost(message, optional, tag = "6")]
    pub(crate) io: Option<Io>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) hugetlb: Vec<HugePages>,
    #[prost(message, optional, tag = "8")]
    pub(crate) memory_events: Option<MemoryEvents>,
}

impl Metrics {
    pub(crate) const NAME: &str = "io.containerd.cgroups.v2.Metrics";
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Pids {
    #[prost(uint64, tag = "1")]
    pub(crate) current: u64,
    /// 0 where there is none.
    #[prost(uint64, tag = "2")]
    pub(crate) limit: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct PressureLine {
    #[prost(double, tag = "1")]
    pub(crate) avg10: f64,
    #[prost(double, tag = "2")]
    pub(crate) avg60: f64,
    #[prost(double, tag = "3")]
    pub(crate) avg300: f64,
    #[prost(uint64, tag = "4")]
    pub(crate) total: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Pressure {
    #[prost(message, optional, tag = "1")]
    pub(crate) some: Option<PressureLine>,
    #[prost(message, optional, tag = "2")]
    pub(crate) full: Option<PressureLine>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Cpu {
    #[prost(uint64, tag = "1")]
    pub(crate) usage_usec: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) user_usec: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) system_usec: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) nr_periods: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) nr_throttled: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) throttled_usec: u64,
    #[prost(message, optional, tag = "7")]
    pub(crate) pressure: Option<Pressure>,
}

macro_rules! memory {
    ($($field:ident = $tag:literal),* $(,)?) => {
        /// Fields 1 to 31 are lines of `memory.stat` under their names there.
        #[derive(Clone, Copy, PartialEq, Message)]
        pub(crate) struct Memory {
            $(#[prost(uint64, tag = $tag)] pub(crate) $field: u64,)*
            #[prost(uint64, tag = "32")]
            pub(crate) usage: u64,
            #[prost(uint64, tag = "33")]
            pub(crate) usage_limit: u64,
            #[prost(uint64, tag = "34")]
            pub(crate) swap_usage: u64,
            #[prost(uint64, tag = "35")]
            pub(crate) swap_limit: u64,
            #[prost(uint64, tag = "36")]
            pub(crate) max_usage: u64,
            #[prost(uint64, tag = "37")]
            pub(crate) swap_max_usage: u64,
            #[prost(message, optional, tag = "38")]
            pub(crate) pressure: Option<Pressure>,
        }

        impl Memory {
            fn of_stat(lines: &BTreeMap<String, u64>) -> Memory {
                Memory {
                    $($field: lines.get(stringify!($field)).copied().unwrap_or(0),)*
                    ..Memory::default()
                }
            }
        }
    };
}

memory! {
    anon = "1", file = "2", kernel_stack = "3", slab = "4", sock = "5", shmem = "6", file_mapped = "7",
    file_dirty = "8", file_writeback = "9", anon_thp = "10", inactive_anon = "11", active_anon = "12",
    inactive_file = "13", active_file = "14", unevictable = "15", slab_reclaimable = "16",
    slab_unreclaimable = "17", pgfault = "18", pgmajfault = "19", workingset_refault = "20",
    workingset_activate = "21", workingset_nodereclaim = "22", pgrefill = "23", pgscan = "24",
    pgsteal = "25", pgactivate = "26", pgdeactivate = "27", pglazyfree = "28", pglazyfreed = "29",
    thp_fault_alloc = "30", thp_collapse_alloc = "31",
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct MemoryEvents {
    #[prost(uint64, tag = "1")]
    pub(crate) low: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) high: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) max: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) oom: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) oom_kill: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Io {
    #[prost(message, repeated, tag = "1")]
    pub(crate) usage: Vec<IoEntry>,
    #[prost(message, optional, tag = "2")]
    pub(crate) pressure: Option<Pressure>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct IoEntry {
    #[prost(uint64, tag = "1")]
    pub(crate) major: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) minor: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) rbytes: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) wbytes: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) rios: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) wios: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HugePages {
    #[prost(uint64, tag = "1")]
    pub(crate) current: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) max: u64,
    #[prost(string, tag = "3")]
    pub(crate) pagesize: String,
}

impl From<&library::Stats> for Metrics {
    fn from(stats: &library::Stats) -> Metrics {
        let events = stats.memory.as_ref().map(|memory| &memory.events);
        let event = |name: &str| {
            let events = events.and_then(|events| events.get(name));
            events.copied().unwrap_or(0)
        };
        let huge = stats.hugetlb.iter().map(|(size, pages)| HugePages {
            current: pages.current,
            max: pages.max.unwrap_or(u64::MAX),
            pagesize: size.clone(),
        });
        Metrics {
            pids: Some(stats.pids.as_ref().map(pids).unwrap_or_default()),
            cpu: Some(cpu(stats)),
            memory: Some(memory(stats)),
            io: Some(Io {
                usage: stats.io.iter().flatten().map(device).collect(),
                pressure: stats.io_pressure.as_ref().map(pressure),
            }),
            hugetlb: huge.collect(),
            memory_events: Some(MemoryEvents {
                low: event("low"),
                high: event("high"),
                max: event("max"),
                oom: event("oom"),
                oom_kill: event("oom_kill"),
            }),
        }
    }
}

fn pids(pids: &library::PidsStats) -> Pids {
    Pids {
        current: pids.current,
        limit: pids.max.unwrap_or(0),
    }
}

fn cpu(stats: &library::Stats) -> Cpu {
    let cpu = stats.cpu.clone().unwrap_or_default();
    Cpu {
        usage_usec: cpu.usage_usec,
        user_usec: cpu.user_usec,
        system_usec: cpu.system_usec,
        nr_periods: cpu.periods.unwrap_or(0),
        nr_throttled: cpu.throttled_periods.unwrap_or(0),
        throttled_usec: cpu.throttled_usec.unwrap_or(0),
        pressure: stats.cpu_pressure.as_ref().map(pressure),
    }
}

/// Without a limit the kernel says `max`, which containerd writes as the largest number.
fn memory(stats: &library::Stats) -> Memory {
    let Some(memory) = &stats.memory else {
        return Memory::default();
    };
    Memory {
        usage: memory.current,
        usage_limit: memory.max.unwrap_or(u64::MAX),
        swap_usage: memory.swap_current.unwrap_or(0),
        swap_limit: memory.swap_max.unwrap_or(u64::MAX),
        max_usage: memory.peak.unwrap_or(0),
        swap_max_usage: memory.swap_peak.unwrap_or(0),
        pressure: stats.memory_pressure.as_ref().map(pressure),
        ..Memory::of_stat(&memory.detail)
    }
}

fn device(device: &library::DeviceIo) -> IoEntry {
    IoEntry {
        major: u64::from(device.major),
        minor: u64::from(device.minor),
        rbytes: device.read_bytes,
        wbytes: device.write_bytes,
        rios: device.reads,
        wios: device.writes,
    }
}

fn pressure(pressure: &library::Pressure) -> Pressure {
    let line = |stall: &library::Stall| PressureLine {
        avg10: stall.avg10,
        avg60: stall.avg60,
        avg300: stall.avg300,
        total: stall.total_usec,
    };
    Pressure {
        some: Some(line(&pressure.some)),
        full: pressure.full.as_ref().map(line),
    }
}
