//! Everything that was measured, sample by sample, for other programs.

use super::goals::Standing;
use super::{BASES, ratio};
use crate::case::Counted;
use crate::environment::Environment;
use crate::measure::{Row, Table};
use crate::statistics::{median, quantile};
use serde_json::{Map, Value, json};

/// The whole report.
pub(crate) fn report(
    environment: &Environment,
    tables: &[Table],
    counted: &[Counted],
    standings: &[Standing],
) -> Value {
    json!({
        "environment": environment.json(),
        "tables": tables.iter().map(table).collect::<Vec<_>>(),
        "counts": counted.iter().map(counts).collect::<Vec<_>>(),
        "goals": standings.iter().map(Standing::json).collect::<Vec<_>>(),
    })
}

/// Tables alone.
pub(crate) fn tables(tables: &[Table]) -> Vec<Value> {
    tables.iter().map(table).collect()
}

fn table(table: &Table) -> Value {
    let rows: Vec<Value> = table.rows.iter().map(|one| row(table, one)).collect();
    json!({"name": table.name, "title": table.title, "rows": rows})
}

fn row(table: &Table, row: &Row) -> Value {
    let times: Vec<f64> = row.times().into_iter().flatten().collect();
    let cpu: Vec<f64> = row.cpu().into_iter().flatten().collect();
    let ratios = BASES.iter().filter_map(|base| {
        let ratio = ratio(table, row, base)?;
        let value = json!({"median": ratio.median, "low": ratio.low, "high": ratio.high});
        Some(((*base).to_owned(), value))
    });
    json!({
        "subject": row.subject,
        "p10_ms": quantile(&times, 0.1),
        "p50_ms": median(&times),
        "cpu_p50_ms": median(&cpu),
        "peak_p50_kib": median(&row.peaks()),
        "hangs": row.hangs,
        "failures": row.failures,
        "said": row.said,
        "ratios": ratios.collect::<Map<_, _>>(),
        "samples_ms": row.times(),
    })
}

fn counts(counted: &Counted) -> Value {
    match &counted.counts {
        Ok(counts) => json!({
            "subject": counted.subject,
            "calls": counts.calls,
            "tasks": counts.tasks,
            "programs": counts.programs,
            "faults": counts.faults,
            "written": counts.written,
            "umounts": counts.waits.umounts,
            "dissolved": counts.waits.dissolved,
            "moved": counts.waits.moved,
        }),
        Err(error) => json!({"subject": counted.subject, "error": error}),
    }
}
