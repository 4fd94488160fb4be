//! What was to be reached, and whether it was.

use crate::measure::Table;
use crate::report;
use crate::statistics::median;
use serde_json::Value;
use std::fmt::Write as _;

const OURS: &str = "hostrun";

/// A line for each goal that could be measured.
pub(super) fn text(tables: &[Table], memory: &[Value]) -> String {
    let mut text = String::new();
    let mut line = |goal: &str, what: &str, found: f64, most: f64| {
        let verdict = if found <= most { "reached" } else { "missed" };
        writeln!(
            text,
            "{goal:<18}{what:<44}{found:>9.2}  at most {most:>7.2}  {verdict}"
        )
        .unwrap_or_default();
    };
    for table in tables {
        let Some(row) = table.row(OURS) else { continue };
        if table.name.starts_with("run-") {
            for (base, most) in [("runc", 0.60), ("crun", 0.75)] {
                if let Some(ratio) = report::ratio(table, row, base) {
                    let what = format!("ctr run, of containerd's shim with {base}");
                    line(&table.name, &what, ratio.median, most);
                }
            }
        }
        let times: Vec<f64> = row.times().into_iter().flatten().collect();
        if let (true, Some(found)) = (table.name.starts_with("delete-"), median(&times)) {
            line(&table.name, "Delete, ms", found, 5.0);
        }
    }
    for fact in memory.iter().filter(|fact| is(fact, "shim", OURS)) {
        let number = |key: &str| fact.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let version = fact
            .get("containerd")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let name = format!("memory-{version}");
        if number("containers") > 1.0 {
            line(
                &name,
                "a further container, KiB",
                number("further_kib"),
                64.0,
            );
            continue;
        }
        line(&name, "a pod of one, USS in KiB", number("uss_kib"), 1024.0);
        line(&name, "a pod of one, RSS in KiB", number("rss_kib"), 5120.0);
        line(&name, "a pod of one, threads", number("threads"), 3.0);
    }
    text
}

fn is(fact: &Value, key: &str, word: &str) -> bool {
    fact.get(key).and_then(Value::as_str) == Some(word)
}
