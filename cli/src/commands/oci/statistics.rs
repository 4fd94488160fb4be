//! Statistics of a container in the shape of runc's events.

use super::psi;
use hostrun_runtime::{RdtStats, Stats};
use serde_json::{Map, Value, json};

/// What runc leaves out where it is 0.
const OPTIONAL: [&str; 11] = [
    "current",
    "limit",
    "total",
    "periods",
    "throttledPeriods",
    "throttledTime",
    "cache",
    "usage",
    "max",
    "psi",
    "raw",
];
/// In the kernel's unit of time there are this many of runc's.
const NANOSECONDS: u64 = 1000;

/// One line of `events`.
pub(super) fn event(id: &str, stats: &Stats, rdt: Option<&RdtStats>) -> Event {
    Event {
        kind: "stats",
        id: id.to_owned(),
        data: Some(data(stats, rdt)),
    }
}

/// That a process was killed for want of memory.
pub(super) fn out_of_memory(id: &str) -> Event {
    Event {
        kind: "oom",
        id: id.to_owned(),
        data: None,
    }
}

/// Readers compare the beginning of the line, so the order of the keys counts.
#[derive(Debug, serde::Serialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

fn data(stats: &Stats, rdt: Option<&RdtStats>) -> Value {
    json!({
        "cpu": cpu(stats),
        "cpuset": {
            "cpu_exclusive": 0, "mem_hardwall": 0, "mem_exclusive": 0, "memory_migrate": 0,
            "memory_spread_page": 0, "memory_spread_slab": 0, "memory_pressure": 0,
            "sched_load_balance": 0, "sched_relax_domain_level": 0,
        },
        "memory": memory(stats),
        "pids": without_zeros(json!({
            "current": stats.pids.as_ref().map_or(0, |pids| pids.current),
            "limit": stats.pids.as_ref().and_then(|pids| pids.max).unwrap_or(0),
        })),
        "blkio": block(stats),
        "hugetlb": huge_pages(stats),
        "intel_rdt": rdt.map_or_else(|| json!({}), |rdt| json!(rdt)),
        "network_interfaces": Value::Null,
    })
}

fn cpu(stats: &Stats) -> Value {
    let cpu = stats.cpu.clone().unwrap_or_default();
    without_zeros(json!({
        "usage": without_zeros(json!({
            "total": cpu.usage_usec.saturating_mul(NANOSECONDS),
            "kernel": cpu.system_usec.saturating_mul(NANOSECONDS),
            "user": cpu.user_usec.saturating_mul(NANOSECONDS),
        })),
        "throttling": without_zeros(json!({
            "periods": cpu.periods.unwrap_or(0),
            "throttledPeriods": cpu.throttled_periods.unwrap_or(0),
            "throttledTime": cpu.throttled_usec.unwrap_or(0).saturating_mul(NANOSECONDS),
        })),
        "psi": psi::of(stats.cpu_pressure.as_ref()),
    }))
}

fn memory(stats: &Stats) -> Value {
    let memory = stats.memory.clone().unwrap_or_default();
    let unlimited = u64::MAX;
    let current = memory.current;
    let swap = memory.swap_current.unwrap_or(0);
    let entry = |limit: u64, usage: u64, max: u64, failures: u64| {
        without_zeros_but(
            json!({ "limit": limit, "usage": usage, "max": max, "failcnt": failures }),
            "limit",
        )
    };
    let known = stats.memory.is_some();
    let limit = |max: Option<u64>| if known { max.unwrap_or(unlimited) } else { 0 };
    let event = |name: &str| memory.events.get(name).copied().unwrap_or(0);
    let total = |max: Option<u64>| match (memory.max, max) {
        _ if !known => 0,
        (Some(memory), Some(swap)) => memory.saturating_add(swap),
        _ => unlimited,
    };
    without_zeros(json!({
        "cache": memory.detail.get("file").copied().unwrap_or(0),
        "usage": entry(limit(memory.max), current, memory.peak.unwrap_or(0), event("max")),
        "swap": entry(total(memory.swap_max), current.saturating_add(swap), 0, 0),
        "kernel": entry(0, 0, 0, 0),
        "kernelTCP": entry(0, 0, 0, 0),
        "raw": if memory.detail.is_empty() { Value::Null } else { json!(memory.detail) },
        "psi": psi::of(stats.memory_pressure.as_ref()),
        "event_count": {
            "low": event("low"), "high": event("high"), "max": event("max"),
            "oom": event("oom"), "oom_kill": event("oom_kill"),
        },
    }))
}

fn block(stats: &Stats) -> Value {
    let mut bytes = Vec::new();
    let mut operations = Vec::new();
    for device in stats.io.iter().flatten() {
        let entry = |op: &str, value: u64| json!({ "major": device.major, "minor": device.minor, "op": op, "value": value });
        bytes.extend([
            entry("Read", device.read_bytes),
            entry("Write", device.write_bytes),
        ]);
        operations.extend([entry("Read", device.reads), entry("Write", device.writes)]);
    }
    let mut block = Map::new();
    if !bytes.is_empty() {
        block.insert("ioServiceBytesRecursive".to_owned(), bytes.into());
        block.insert("ioServicedRecursive".to_owned(), operations.into());
    }
    match psi::of(stats.io_pressure.as_ref()) {
        Value::Null => {}
        psi => drop(block.insert("psi".to_owned(), psi)),
    }
    block.into()
}

fn huge_pages(stats: &Stats) -> Value {
    let sizes = stats.hugetlb.iter().map(|(size, pages)| {
        let mut entry = Map::new();
        if pages.current > 0 {
            entry.insert("usage".to_owned(), pages.current.into());
        }
        entry.insert("failcnt".to_owned(), pages.max_events.into());
        (size.clone(), Value::from(entry))
    });
    Value::from(sizes.collect::<Map<String, Value>>())
}

/// Leaves out what runc leaves out.
fn without_zeros(value: Value) -> Value {
    without_zeros_but(value, "")
}

fn without_zeros_but(mut value: Value, kept: &str) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.retain(|key, value| {
            let nothing = value.is_null() || *value == json!(0);
            !nothing || key == kept || !OPTIONAL.contains(&key.as_str())
        });
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_as_readers_expect_and_nothing_is_missing() {
        let line = serde_json::to_string(&event("x", &Stats::default(), None)).unwrap();
        assert!(
            line.starts_with(r#"{"type":"stats","id":"x","data":{"#),
            "{line}"
        );
        let value: Value = serde_json::from_str(&line).unwrap();
        for key in [
            "cpu",
            "cpuset",
            "memory",
            "pids",
            "blkio",
            "hugetlb",
            "intel_rdt",
            "network_interfaces",
        ] {
            assert!(value["data"].get(key).is_some(), "{key}");
        }
        assert_eq!(value["data"]["pids"], json!({}));
        assert_eq!(
            value["data"]["memory"]["usage"],
            json!({"limit": 0, "failcnt": 0})
        );
    }

    #[test]
    fn want_of_memory_has_no_data() {
        let line = serde_json::to_string(&out_of_memory("x")).unwrap();
        assert_eq!(line, r#"{"type":"oom","id":"x"}"#);
    }
}
