//! Where the time of a run went, for `--timings`.

use crate::output;
use hostrun_runtime::Timings;
use std::time::{Duration, Instant};

/// Steps and their durations, in order.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    last: Instant,
    steps: Vec<(&'static str, Duration)>,
}

impl Stopwatch {
    /// Begins with the first step.
    pub(crate) fn begin() -> Self {
        Self {
            last: Instant::now(),
            steps: Vec::new(),
        }
    }

    /// The step that just ended.
    pub(crate) fn mark(&mut self, step: &'static str) {
        let now = Instant::now();
        self.steps.push((step, now.duration_since(self.last)));
        self.last = now;
    }

    /// Takes in the runtime's own steps, which together took the time since the last mark.
    pub(crate) fn start(&mut self, timings: &Timings) {
        self.steps.extend(timings.iter());
        self.last = Instant::now();
    }

    /// Prints the table if it was asked for.
    pub(crate) fn print_if(&self, asked: bool) {
        if asked {
            self.print();
        }
    }

    /// Prints the table on standard error: it is talk, not the container's output.
    pub(crate) fn print(&self) {
        output::say_bytes(self.table().as_bytes());
    }

    fn table(&self) -> String {
        let width = self
            .steps
            .iter()
            .map(|(step, _)| step.chars().count())
            .max()
            .unwrap_or(0)
            .max(5);
        let total: Duration = self.steps.iter().map(|(_, time)| *time).sum();
        let rows = self.steps.iter().copied().chain([("total", total)]);
        let line = |(step, time): (&str, Duration)| {
            format!("{step:<width$}  {:>9} us\n", time.as_micros())
        };
        rows.map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lines_up_and_adds_up() {
        let steps = vec![
            ("image", Duration::from_micros(120)),
            ("the root", Duration::from_micros(30)),
        ];
        let watch = Stopwatch {
            last: Instant::now(),
            steps,
        };
        assert_eq!(
            watch.table(),
            "image           120 us\nthe root         30 us\ntotal           150 us\n"
        );
    }
}
