//! Where the time of a start went.

use std::time::{Duration, Instant};

/// Durations of the steps of one start, in order.
#[derive(Clone, Debug)]
pub struct Timings {
    last: Instant,
    steps: Vec<(&'static str, Duration)>,
}

impl Timings {
    pub(crate) fn start() -> Timings {
        Timings {
            last: Instant::now(),
            steps: Vec::with_capacity(8),
        }
    }

    /// The time since the last mark belongs to this step.
    pub(crate) fn mark(&mut self, step: &'static str) {
        let now = Instant::now();
        self.steps.push((step, now - self.last));
        self.last = now;
    }

    /// Each step with its duration.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Duration)> + '_ {
        self.steps.iter().copied()
    }
}
