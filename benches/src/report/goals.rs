//! What was aimed at, and where it stands.

use super::table::interval;
use crate::measure::{Row, Table};
use crate::statistics::{Estimate, estimate, paired};
use Quantity::{CpuRatio, Milliseconds, Peak, Rate, Ratio};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What a goal is about.
#[derive(Clone, Copy, Debug)]
enum Quantity {
    /// Times of two subjects of a table, round by round.
    Ratio(&'static str, &'static str, &'static str),
    /// Processor times of the same.
    CpuRatio(&'static str, &'static str, &'static str),
    /// How many times as many a second.
    Rate(&'static str, &'static str, &'static str),
    /// A time itself, in milliseconds.
    Milliseconds(&'static str, &'static str),
    /// Peak memory, in MiB.
    Peak(&'static str, &'static str),
}

/// What one stands at: at most, or of a rate at least. Without limits it is told, and no goal.
#[derive(Clone, Copy, Debug)]
struct Goal(&'static str, Quantity, Option<(f64, f64)>);

const OURS: &str = "hostrun";

const GOALS: [Goal; 33] = [
    Goal("run / crun", Ratio("run", OURS, "crun"), Some((0.50, 0.40))),
    Goal("run / floor", Ratio("run", OURS, "floor"), Some((1.4, 1.2))),
    Goal("run / runc", Ratio("run", OURS, "runc"), None),
    Goal(
        "filtered run / crun",
        Ratio("run-seccomp", OURS, "crun"),
        Some((0.45, 0.38)),
    ),
    Goal(
        "filtered run / runc",
        Ratio("run-seccomp", OURS, "runc"),
        Some((0.08, 0.07)),
    ),
    Goal(
        "the same, cold / runc",
        Ratio("run-seccomp-cold", OURS, "runc"),
        Some((0.12, 0.07)),
    ),
    Goal(
        "create / crun",
        Ratio("create", OURS, "crun"),
        Some((0.50, 0.40)),
    ),
    Goal("create / floor", Ratio("create", OURS, "floor"), None),
    Goal(
        "start / crun",
        Ratio("start", OURS, "crun"),
        Some((0.20, 0.15)),
    ),
    Goal(
        "state / crun",
        Ratio("state", OURS, "crun"),
        Some((0.20, 0.15)),
    ),
    Goal(
        "kill / crun",
        Ratio("kill", OURS, "crun"),
        Some((0.20, 0.15)),
    ),
    Goal(
        "delete / crun",
        Ratio("delete", OURS, "crun"),
        Some((0.20, 0.15)),
    ),
    Goal(
        "exec / crun",
        Ratio("exec", OURS, "crun"),
        Some((0.25, 0.18)),
    ),
    Goal("exec / floor", Ratio("exec", OURS, "floor"), None),
    Goal(
        "filtered exec / crun",
        Ratio("exec-seccomp", OURS, "crun"),
        Some((0.25, 0.18)),
    ),
    Goal(
        "cpu of a run / crun",
        CpuRatio("run", OURS, "crun"),
        Some((0.50, 0.42)),
    ),
    Goal(
        "rate at 8 in parallel / crun",
        Rate("parallel-8", OURS, "crun"),
        Some((2.0, 2.3)),
    ),
    Goal(
        "1,000 mounts add, ms",
        Milliseconds("mounts-added", OURS),
        Some((1.6, 0.2)),
    ),
    Goal(
        "the same, library, ms",
        Milliseconds("mounts-added", "hostrun (library, template)"),
        Some((0.2, 0.2)),
    ),
    Goal(
        "run IMAGE / podman",
        Ratio("typed", "hostrun run", "podman run"),
        Some((0.03, 0.02)),
    ),
    Goal(
        "run IMAGE / docker",
        Ratio("typed", "hostrun run", "docker run"),
        Some((0.03, 0.02)),
    ),
    Goal(
        "run IMAGE / ctr",
        Ratio("typed", "hostrun run", "ctr run"),
        Some((0.06, 0.04)),
    ),
    Goal(
        "run IMAGE / run of a bundle",
        Ratio("typed", "hostrun run", "hostrun run --bundle"),
        Some((1.4, 1.2)),
    ),
    Goal(
        "parked start, ms",
        Milliseconds("parked", OURS),
        Some((0.20, 0.12)),
    ),
    Goal(
        "filtered parked start, ms",
        Milliseconds("parked-seccomp", OURS),
        Some((0.20, 0.12)),
    ),
    Goal("sandbox of a pool, ms", Milliseconds("sandbox", OURS), None),
    Goal(
        "filtered sandbox of a pool, ms",
        Milliseconds("sandbox-seccomp", OURS),
        None,
    ),
    Goal(
        "library start / floor",
        Ratio("embedded", OURS, "floor"),
        None,
    ),
    Goal(
        "filtered library start / floor",
        Ratio("embedded-seccomp", OURS, "floor"),
        Some((1.4, 1.4)),
    ),
    Goal(
        "the same, network made before",
        Ratio("embedded-network-seccomp", OURS, "floor"),
        Some((1.4, 0.7)),
    ),
    Goal(
        "first instruction / floor",
        Ratio("first", OURS, "floor"),
        None,
    ),
    Goal(
        "first instruction / crun",
        Ratio("first", OURS, "crun"),
        None,
    ),
    Goal("peak of a run, MiB", Peak("run", OURS), Some((1.9, 1.2))),
];

/// Where a goal stands.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    goal: Goal,
    measured: Estimate,
}

/// The goals whose tables were measured.
pub(crate) fn standings(tables: &[Table]) -> Vec<Standing> {
    let standing = |goal: &Goal| {
        let measured = measured(tables, goal.1)?;
        Some(Standing {
            goal: *goal,
            measured,
        })
    };
    GOALS.iter().filter_map(standing).collect()
}

fn measured(tables: &[Table], quantity: Quantity) -> Option<Estimate> {
    let row = |table: &str, subject: &str| {
        let table = tables.iter().find(|one| one.name == table)?;
        table.row(subject)
    };
    let pairs = |table, ours, theirs, values: fn(&Row) -> Vec<Option<f64>>| {
        let (ours, theirs) = (row(table, ours)?, row(table, theirs)?);
        Some(paired(&values(ours), &values(theirs)))
    };
    let values = match quantity {
        Ratio(table, ours, theirs) => pairs(table, ours, theirs, Row::times)?,
        CpuRatio(table, ours, theirs) => pairs(table, ours, theirs, Row::cpu)?,
        Rate(table, ours, theirs) => pairs(table, theirs, ours, Row::times)?,
        Milliseconds(table, ours) => row(table, ours)?.times().into_iter().flatten().collect(),
        Peak(table, ours) => {
            let peaks = row(table, ours)?.peaks();
            peaks.iter().map(|peak| peak / 1024.0).collect()
        }
    };
    estimate(&values)
}

impl Standing {
    fn verdict(&self) -> &'static str {
        let Goal(_, quantity, limits) = self.goal;
        let Some((goal, stretch)) = limits else {
            return "";
        };
        let within = |limit: f64| match quantity {
            Rate(..) => self.measured.median >= limit,
            _ => self.measured.median <= limit,
        };
        match (within(stretch), within(goal)) {
            (true, _) => "beyond",
            (false, true) => "reached",
            (false, false) => "missed",
        }
    }

    /// For other programs.
    pub(crate) fn json(&self) -> Value {
        let Goal(what, _, limits) = self.goal;
        let Estimate { median, low, high } = self.measured;
        json!({
            "what": what,
            "goal": limits.map(|(goal, _)| goal),
            "stretch": limits.map(|(_, stretch)| stretch),
            "measured": {"median": median, "low": low, "high": high},
            "verdict": self.verdict(),
        })
    }
}

/// One line a goal.
pub(crate) fn text(standings: &[Standing]) -> String {
    let mut text = format!(
        "{:<32}{:>22}{:>8}{:>9}\n",
        "goals", "measured", "goal", "stretch"
    );
    for standing in standings {
        let Goal(what, _, limits) = standing.goal;
        let limits = limits.map_or_else(
            || format!("{:17}", ""),
            |(goal, stretch)| format!("{goal:>8.2}{stretch:>9.2}"),
        );
        let measured = interval(standing.measured);
        let line = format!("{what:<32}{measured:>22}{limits}  {}", standing.verdict());
        writeln!(text, "{}", line.trim_end()).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn measured(ours: u64) -> Vec<Standing> {
        let mut table = Table::new("state", "", [OURS, "crun"]);
        for (row, time) in table.rows.iter_mut().zip([ours, 100]) {
            row.add_time(Duration::from_millis(time));
        }
        let mut rate = Table::new("parallel-8", "", [OURS, "crun"]);
        rate.rows.clone_from(&table.rows);
        standings(&[table, rate])
    }

    #[test]
    fn a_goal_is_missed_reached_or_gone_beyond() {
        for (ours, state, rate) in [
            (60, "missed", "missed"),
            (44, "missed", "reached"),
            (18, "reached", "beyond"),
            (10, "beyond", "beyond"),
        ] {
            let standings = measured(ours);
            assert_eq!(standings[0].verdict(), state, "{ours}");
            assert_eq!(standings[1].verdict(), rate, "{ours}");
        }
    }

    #[test]
    fn what_was_not_measured_has_no_standing() {
        assert!(standings(&[]).is_empty());
    }
}
