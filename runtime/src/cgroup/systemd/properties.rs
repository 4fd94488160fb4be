//! `linux.resources` as properties of a unit, so that what systemd writes on its own, at a daemon-reload
//! for instance, is what we wrote (`systemd.resource-control(5)`). What has no property is written to the
//! cgroup only, which systemd leaves alone.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::super::devices::AllowList;
use super::Property;
use super::wire::Value;

/// `CGROUP_LIMIT_MAX` and `USEC_INFINITY`.
const UNLIMITED: u64 = u64::MAX;

/// CPUWeight=idle is understood from here on.
const IDLE_SINCE: u32 = 252;

/// Microseconds, of a unit that does not say.
const DEFAULT_PERIOD: u64 = 100_000;

/// The properties of all limits that are given; `unified` wins over the others, as it does in the cgroup.
pub(crate) fn limits(resources: &LinuxResources, version: u32) -> Vec<Property> {
    let mut all = Properties {
        version,
        list: Vec::new(),
    };
    if let Some(memory) = resources.memory() {
        all.memory(memory);
    }
    if let Some(cpu) = resources.cpu() {
        all.cpu(cpu);
    }
    if let Some(pids) = resources.pids() {
        // 0 is one task, in the cgroup as well.
        let limit = u64::try_from(pids.limit()).map_or(UNLIMITED, |limit| limit.max(1));
        all.set("TasksMax", Value::U64(limit));
    }
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort_unstable();
    for (file, value) in unified {
        all.unified(file, value.trim());
    }
    all.list
}

/// The device rules: everything is forbidden that is not listed, at least as much as our own filter
/// allows. An empty list first, because systemd adds to the one it has.
pub(super) fn devices(allowed: Option<&AllowList>) -> Vec<Property> {
    let list = |rules: &[(String, String)]| {
        let rule = |(path, access): &(String, String)| {
            Value::Struct(vec![Value::text(path), Value::text(access)])
        };
        Value::Array("(ss)".to_owned(), rules.iter().map(rule).collect())
    };
    let property = |name: &str, value| (name.to_owned(), value);
    let mut all = vec![property("DeviceAllow", list(&[]))];
    match allowed {
        None => all.push(property("DevicePolicy", Value::text("auto"))),
        Some(allowed) => {
            all.push(property("DevicePolicy", Value::text("strict")));
            all.push(property("DeviceAllow", list(&allowed.0)));
        }
    }
    all
}

struct Properties {
    version: u32,
    list: Vec<Property>,
}

impl Properties {
    /// The last one of a name stays.
    fn set(&mut self, name: &str, value: Value) {
        self.list.retain(|(known, _value)| known != name);
        self.list.push((name.to_owned(), value));
    }

    fn memory(&mut self, memory: &LinuxMemory) {
        let limit = memory.limit().filter(|limit| *limit != 0);
        let bytes = |value: i64| u64::try_from(value).unwrap_or(UNLIMITED);
        if let Some(limit) = limit {
            self.set("MemoryMax", Value::U64(bytes(limit)));
        }
        if let Some(low) = memory.reservation().filter(|low| *low > 0) {
            self.set("MemoryLow", Value::U64(bytes(low)));
        }
        let swap = match (limit, memory.swap().filter(|swap| *swap != 0)) {
            (Some(-1), None) | (_, Some(-1)) => Some(UNLIMITED),
            (Some(limit), Some(both)) => u64::try_from(both - limit).ok(),
            _ => None,
        };
        if let Some(swap) = swap {
            self.set("MemorySwapMax", Value::U64(swap));
        }
    }

    fn cpu(&mut self, cpu: &LinuxCpu) {
        if let Some(shares) = cpu.shares().filter(|shares| *shares > 0) {
            self.set("CPUWeight", Value::U64(weight_of_shares(shares)));
        }
        if cpu.idle() == Some(1) {
            self.idle();
        }
        let quota = cpu.quota().filter(|quota| *quota != 0);
        self.quota(quota, cpu.period().filter(|period| *period > 0));
        for (name, list) in [
            ("AllowedCPUs", cpu.cpus()),
            ("AllowedMemoryNodes", cpu.mems()),
        ] {
            self.set_of_numbers(name, list.as_deref().unwrap_or_default());
        }
    }

    fn idle(&mut self) {
        if self.version >= IDLE_SINCE {
            self.set("CPUWeight", Value::U64(0));
        }
    }

    fn quota(&mut self, quota: Option<i64>, period: Option<u64>) {
        if let Some(period) = period {
            self.set("CPUQuotaPeriodUSec", Value::U64(period));
        }
        if quota.is_none() && period.is_none() {
            return;
        }
        let quota = quota.and_then(|quota| u64::try_from(quota).ok());
        let per_second = quota.map_or(UNLIMITED, |quota| {
            per_second(quota, period.unwrap_or(DEFAULT_PERIOD))
        });
        self.set("CPUQuotaPerSecUSec", Value::U64(per_second));
    }

    fn set_of_numbers(&mut self, name: &str, list: &str) {
        if let Some(bits) = bits(list) {
            let bytes = bits.into_iter().map(Value::Byte).collect();
            self.set(name, Value::Array("y".to_owned(), bytes));
        }
    }

    fn unified(&mut self, file: &str, value: &str) {
        let number = || match value {
            "max" => Some(UNLIMITED),
            number => number.parse().ok(),
        };
        let name = match file {
            "memory.max" => "MemoryMax",
            "memory.high" => "MemoryHigh",
            "memory.low" => "MemoryLow",
            "memory.min" => "MemoryMin",
            "memory.swap.max" => "MemorySwapMax",
            "pids.max" => "TasksMax",
            "cpu.weight" => "CPUWeight",
            "cpu.idle" if value == "1" => return self.idle(),
            "memory.oom.group" => {
                let policy = if value == "1" { "kill" } else { "continue" };
                return self.set("OOMPolicy", Value::text(policy));
            }
            "cpuset.cpus" => return self.set_of_numbers("AllowedCPUs", value),
            "cpuset.mems" => return self.set_of_numbers("AllowedMemoryNodes", value),
            "cpu.max" => {
                let mut fields = value.split_whitespace();
                let quota = fields.next().and_then(|quota| quota.parse().ok());
                let period = fields.next().and_then(|period| period.parse().ok());
                return self.quota(quota, Some(period.unwrap_or(DEFAULT_PERIOD)));
            }
            _ => return,
        };
        if let Some(number) = number() {
            self.set(name, Value::U64(number));
        }
    }
}

/// Microseconds of a second, rounded up to whole percents as systemd keeps them: rounded down, the unit
/// would have less than was asked for.
fn per_second(quota: u64, period: u64) -> u64 {
    const PERCENT: u64 = 10_000;
    let exact = u128::from(quota) * 1_000_000 / u128::from(period.max(1));
    u64::try_from(exact)
        .ok()
        .and_then(|exact| exact.checked_next_multiple_of(PERCENT))
        .unwrap_or(UNLIMITED - 1)
}

/// runc's curve through (2, 1), (1024, 100) and (262144, 10000), which libcgroups uses for `cpu.weight` and
/// does not export.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 2 and 2^18, and between 1 and 10000"
)]
fn weight_of_shares(shares: u64) -> u64 {
    let log = (shares.clamp(2, 1 << 18) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10_f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

/// `0-3,7` as bits, the lowest number first; `None` for an empty list and for what systemd has no words
/// for, such as strides.
fn bits(list: &str) -> Option<Vec<u8>> {
    /// More than any kernel has.
    const MAX: usize = 8192;
    let mut bits = Vec::new();
    for range in list
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty())
    {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MAX {
            return None;
        }
        bits.resize(bits.len().max(last / 8 + 1), 0_u8);
        for number in first..=last {
            *bits.get_mut(number / 8)? |= 1 << (number % 8);
        }
    }
    (!bits.is_empty()).then_some(bits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(json: &str) -> Vec<String> {
        let resources = serde_json::from_str(json).unwrap();
        let shown = |(name, value): Property| match value {
            Value::U64(UNLIMITED) => format!("{name}=infinity"),
            Value::U64(number) => format!("{name}={number}"),
            Value::Text(text) => format!("{name}={text}"),
            Value::Array(_, values) => format!("{name}={values:?}"),
            other => format!("{name}={other:?}"),
        };
        limits(&resources, 252).into_iter().map(shown).collect()
    }

    #[test]
    fn limits_are_properties() {
        for (json, wanted) in [
            ("{}", vec![]),
            (
                r#"{"memory":{"limit":10,"swap":30,"reservation":5}}"#,
                vec!["MemoryMax=10", "MemoryLow=5", "MemorySwapMax=20"],
            ),
            (
                r#"{"memory":{"limit":-1}}"#,
                vec!["MemoryMax=infinity", "MemorySwapMax=infinity"],
            ),
            (
                r#"{"cpu":{"shares":100,"quota":500000,"period":900000}}"#,
                vec![
                    "CPUWeight=17",
                    "CPUQuotaPeriodUSec=900000",
                    "CPUQuotaPerSecUSec=560000",
                ],
            ),
            (
                r#"{"cpu":{"quota":-1}}"#,
                vec!["CPUQuotaPerSecUSec=infinity"],
            ),
            (
                r#"{"cpu":{"cpus":"0-1,9"}}"#,
                vec!["AllowedCPUs=[Byte(3), Byte(2)]"],
            ),
            (r#"{"pids":{"limit":0}}"#, vec!["TasksMax=1"]),
            (r#"{"pids":{"limit":-1}}"#, vec!["TasksMax=infinity"]),
            (
                r#"{"pids":{"limit":20},"unified":{"pids.max":"42","cpu.max":"max 100000","cpu.weight":"7","memory.oom.group":"1","io.max":"8:0 rbps=1"}}"#,
                vec![
                    "CPUQuotaPeriodUSec=100000",
                    "CPUQuotaPerSecUSec=infinity",
                    "CPUWeight=7",
                    "OOMPolicy=kill",
                    "TasksMax=42",
                ],
            ),
        ] {
            assert_eq!(of(json), wanted, "{json}");
        }
    }

    #[test]
    fn shares_follow_the_curve() {
        for (shares, weight) in [
            (2, 1),
            (1024, 100),
            (262_144, 10_000),
            (1, 1),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    proptest! {
        #[test]
        fn weights_are_in_range_and_never_fall(shares in 2_u64..300_000) {
            let weight = weight_of_shares(shares);
            prop_assert!((1..=10_000).contains(&weight));
            prop_assert!(weight <= weight_of_shares(shares + 1));
        }

        #[test]
        fn a_quota_is_never_rounded_down(quota: u64, period: u64) {
            let exact = u128::from(quota) * 1_000_000 / u128::from(period.max(1));
            let given = u128::from(per_second(quota, period));
            prop_assert!(given >= exact.min(u128::from(UNLIMITED - 1)));
        }

        #[test]
        fn any_list_is_read_without_panic(list in "[0-9,-]{0,16}|\\PC{0,10}") {
            if let Some(bits) = bits(&list) {
                prop_assert!(bits.iter().any(|byte| *byte != 0));
            }
        }
    }
}
