//! What comes out of a case: one table or more, each with a row per subject and a sample per round.

use crate::spawner::{Cost, Ending};
use std::time::Duration;

/// What a table's headline figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// From the start of a command to its end.
    Wall,
    /// From the start of a command to the payload's first instruction.
    First,
}

/// One measurement that worked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    pub(crate) milliseconds: f64,
    pub(crate) cpu_ms: Option<f64>,
    pub(crate) peak_kib: Option<u64>,
}

/// One subject in one case, round by round; nothing where it failed or hung.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) subject: String,
    pub(crate) samples: Vec<Option<Sample>>,
    pub(crate) hangs: usize,
    pub(crate) failures: usize,
    /// Why a failure failed, the last time.
    pub(crate) said: Option<String>,
}

/// One case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    /// One word, for other programs.
    pub(crate) name: String,
    /// A line, for people.
    pub(crate) title: String,
    /// Whether figures of two subjects can be divided: differences cannot.
    pub(crate) ratios: bool,
    pub(crate) rows: Vec<Row>,
}

/// Milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Sample {
    /// A time and nothing else.
    pub(crate) fn of(time: Duration) -> Sample {
        Sample {
            milliseconds: ms(time),
            ..Sample::default()
        }
    }

    fn of_cost(cost: Cost, figure: Figure) -> Option<Sample> {
        let time = match figure {
            Figure::Wall => cost.wall,
            Figure::First => cost.first?,
        };
        Some(Sample {
            milliseconds: ms(time),
            cpu_ms: Some(ms(cost.cpu)),
            peak_kib: Some(cost.peak_kib),
        })
    }
}

impl Row {
    /// Of a subject that has not been measured yet.
    pub(crate) fn new(subject: &str) -> Row {
        Row {
            subject: subject.to_owned(),
            ..Row::default()
        }
    }

    /// Takes in how a command ended.
    pub(crate) fn add(&mut self, ending: Ending, figure: Figure, said: impl FnOnce() -> String) {
        let sample = match ending {
            Ending::Done(cost) => Sample::of_cost(cost, figure),
            Ending::Hung => {
                self.hangs += 1;
                None
            }
            Ending::Failed(code) => {
                self.failures += 1;
                self.said = Some(format!("{code}: {}", said()));
                None
            }
        };
        self.samples.push(sample);
    }

    /// Takes in a time that was taken elsewhere.
    pub(crate) fn add_time(&mut self, time: Duration) {
        self.samples.push(Some(Sample::of(time)));
    }

    /// The headline figures, round by round.
    pub(crate) fn times(&self) -> Vec<Option<f64>> {
        let time = |sample: &Option<Sample>| sample.map(|sample| sample.milliseconds);
        self.samples.iter().map(time).collect()
    }

    /// Processor time, round by round.
    pub(crate) fn cpu(&self) -> Vec<Option<f64>> {
        let cpu = |sample: &Option<Sample>| sample.and_then(|sample| sample.cpu_ms);
        self.samples.iter().map(cpu).collect()
    }

    /// The peaks of memory.
    pub(crate) fn peaks(&self) -> Vec<f64> {
        // the kernel counts pages by the dozen: of a process of a few it knows nothing
        let peak = |sample: &Sample| sample.peak_kib.filter(|peak| *peak > 0);
        let peaks = self.samples.iter().flatten().filter_map(peak);
        #[allow(clippy::cast_precision_loss, reason = "KiB of a process")]
        peaks.map(|peak| peak as f64).collect()
    }
}

impl Table {
    /// With a row for each subject.
    pub(crate) fn new<'a>(
        name: &str,
        title: &str,
        subjects: impl IntoIterator<Item = &'a str>,
    ) -> Table {
        Table {
            name: name.to_owned(),
            title: title.to_owned(),
            ratios: true,
            rows: subjects.into_iter().map(Row::new).collect(),
        }
    }

    /// The row of a subject.
    pub(crate) fn row(&self, subject: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.subject == subject)
    }

    /// The row of a subject, to add to.
    pub(crate) fn row_mut(&mut self, subject: &str) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.subject == subject)
    }

    /// What one table has more than another, round by round.
    pub(crate) fn difference(name: &str, title: &str, more: &Table, less: &Table) -> Table {
        let rows = more.rows.iter().filter_map(|row| {
            let base = less.row(&row.subject)?;
            let pairs = row.samples.iter().zip(&base.samples);
            let sample = |(more, less): (&Option<Sample>, &Option<Sample>)| {
                let (more, less) = ((*more)?, (*less)?);
                Some(Sample {
                    milliseconds: more.milliseconds - less.milliseconds,
                    cpu_ms: more.cpu_ms.zip(less.cpu_ms).map(|(more, less)| more - less),
                    peak_kib: None,
                })
            };
            Some(Row {
                samples: pairs.map(sample).collect(),
                ..Row::new(&row.subject)
            })
        });
        Table {
            name: name.to_owned(),
            title: title.to_owned(),
            ratios: false,
            rows: rows.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hang_and_a_failure_are_counted_and_leave_a_gap_in_their_round() {
        let mut row = Row::new("a");
        row.add(Ending::Hung, Figure::Wall, String::new);
        row.add(Ending::Failed(3), Figure::Wall, || "why".to_owned());
        row.add_time(Duration::from_millis(2));
        assert_eq!((row.hangs, row.failures), (1, 1));
        assert_eq!(row.times(), [None, None, Some(2.0)]);
        assert_eq!(row.said.as_deref(), Some("3: why"));
    }

    #[test]
    fn a_difference_is_taken_round_by_round() {
        let table = |times: &[u64]| {
            let mut table = Table::new("t", "t", ["a"]);
            for time in times {
                table.rows[0].add_time(Duration::from_millis(*time));
            }
            table
        };
        let more = Table::difference("d", "d", &table(&[5, 9]), &table(&[4, 2]));
        assert_eq!(more.rows[0].times(), [Some(1.0), Some(7.0)]);
    }
}
