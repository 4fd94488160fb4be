//! Tables to read in a terminal.

use super::{BASES, ratio};
use crate::case::Counted;
use crate::measure::{Row, Table};
use crate::statistics::{Estimate, median, quantile};
use std::fmt::Write as _;

/// One line a subject: times, processor time, memory, and how many times it took what the bases took.
/// Ratios can be compared between machines; times cannot.
pub(crate) fn text(table: &Table) -> String {
    let columns = ["p10 ms", "p50 ms", "cpu ms", "peak KiB"].map(|head| format!("{head:>9}"));
    let mut text = format!("{}\n{:<22}{}", table.title, "", columns.concat());
    for base in present(table) {
        write!(text, "{:>22}", format!("/ {base}")).unwrap_or_default();
    }
    text.push('\n');
    for row in &table.rows {
        text.push_str(&line(table, row));
    }
    text
}

/// The bases that are in this table.
fn present(table: &Table) -> impl Iterator<Item = &'static str> {
    let there = |base: &&str| table.ratios && table.row(base).is_some();
    BASES.into_iter().filter(there)
}

fn line(table: &Table, row: &Row) -> String {
    let times: Vec<f64> = row.times().into_iter().flatten().collect();
    let cpu: Vec<f64> = row.cpu().into_iter().flatten().collect();
    let figure = |value: Option<f64>, digits: usize| match value {
        // A second and more is told without its thousandths of a millisecond.
        Some(value) if value >= 1000.0 => format!("{value:>9.0}"),
        Some(value) => format!("{value:>9.digits$}"),
        None => format!("{:>9}", ""),
    };
    let mut line = format!("{:<22}", row.subject);
    line.push_str(&figure(quantile(&times, 0.1), 3));
    line.push_str(&figure(median(&times), 3));
    line.push_str(&figure(median(&cpu), 2));
    line.push_str(&figure(median(&row.peaks()), 0));
    for base in present(table) {
        let ratio = ratio(table, row, base).map(interval).unwrap_or_default();
        write!(line, "{ratio:>22}").unwrap_or_default();
    }
    for (count, what) in [(row.hangs, "hung"), (row.failures, "failed")] {
        if count > 0 {
            write!(line, "  {count} {what}").unwrap_or_default();
        }
    }
    if let Some(said) = &row.said {
        write!(line, "  {said}").unwrap_or_default();
    }
    format!("{}\n", line.trim_end())
}

/// A median with its interval of 95 of 100.
pub(crate) fn interval(estimate: Estimate) -> String {
    let Estimate { median, low, high } = estimate;
    let digits = if median < 0.1 { 3 } else { 2 };
    format!("{median:.digits$} ({low:.digits$}-{high:.digits$})")
}

/// One line a subject: what a run costs in numbers that do not depend on load.
pub(crate) fn counts(counted: &[Counted]) -> String {
    let heads = [
        "calls",
        "tasks",
        "programs",
        "faults",
        "written",
        "umounts",
        "dissolved",
        "moved",
    ];
    let heads = heads.map(|head| format!("{head:>10}")).concat();
    let mut text = format!("a run, counted under ptrace\n{:<12}{heads}\n", "");
    for Counted { subject, counts } in counted {
        let figures = match counts {
            Ok(counts) => {
                let waits = counts.waits;
                let figures = [
                    counts.calls,
                    counts.tasks,
                    counts.programs,
                    counts.faults,
                    counts.written,
                    waits.umounts,
                    waits.dissolved,
                    waits.moved,
                ];
                figures.map(|figure| format!("{figure:>10}")).concat()
            }
            Err(error) => format!(" {error}"),
        };
        writeln!(text, "{subject:<12}{figures}").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ratios_are_of_rounds_and_hangs_are_told() {
        let mut table = Table::new("t", "a title", ["hostrun", "crun"]);
        for (row, factor) in table.rows.iter_mut().zip([1, 2]) {
            for time in [1, 10, 100] {
                row.add_time(Duration::from_millis(time * factor));
            }
        }
        table.rows[1].hangs = 2;
        let text = text(&table);
        assert!(text.contains("0.50 (0.50-0.50)"), "{text}");
        assert!(text.contains("2 hung"), "{text}");
        assert!(!text.contains("/ runc"), "{text}");
    }
}
