//! The cases: what is measured, in rounds that meet every subject once, in random order.

mod counts;
mod embedded;
mod lives;
mod people;
mod runs;
mod scale;
mod throughput;

pub(crate) use counts::Counted;

use crate::measure::Table;
use crate::place::{Kind, Payload, Place};
use crate::random::Random;
use crate::spawner::Spawner;
use crate::subject::{Container, Subject, Verb};
use anyhow::Result;
use std::path::PathBuf;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) rounds: usize,
    /// Of cases whose rounds are long: many runs, many containers, engines.
    pub(crate) long_rounds: usize,
    /// Containers there are beside.
    pub(crate) containers: usize,
}

/// Everything a case needs.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) place: Place,
    pub(crate) spawner: Spawner,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) random: Random,
    pub(crate) extent: Extent,
    /// `runtime/examples/serve.rs`, where it was built.
    pub(crate) library: Option<PathBuf>,
}

/// A group of cases that a person can ask for by name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) measure: fn(&mut Bench) -> Result<Vec<Table>>,
}

/// All of them, in the order they are measured.
pub(crate) const ALL: [Case; 7] = [
    Case {
        name: "runs",
        measure: runs::measure,
    },
    Case {
        name: "lives",
        measure: lives::measure,
    },
    Case {
        name: "embedded",
        measure: embedded::measure,
    },
    Case {
        name: "throughput",
        measure: throughput::measure,
    },
    Case {
        name: "mounts",
        measure: scale::mounts,
    },
    Case {
        name: "containers",
        measure: scale::containers,
    },
    Case {
        name: "people",
        measure: people::measure,
    },
];

/// What is run in most cases.
const EXIT: Kind = Kind {
    payload: Payload::Exit,
    filtered: false,
};

impl Bench {
    /// Tells who cannot run here at all, and goes on without.
    pub(crate) fn try_everybody(&mut self) -> Vec<String> {
        let container = Container {
            kind: EXIT,
            number: 0,
        };
        let mut left_out = Vec::new();
        let (place, spawner) = (&self.place, &mut self.spawner);
        self.subjects.retain(
            |subject| match subject.must(place, spawner, Verb::Run, container) {
                Ok(()) => true,
                Err(error) => {
                    left_out.push(format!("{error:#}"));
                    false
                }
            },
        );
        left_out
    }

    /// What every subject costs in numbers that do not depend on load.
    pub(crate) fn counts(&self) -> Vec<Counted> {
        counts::measure(self)
    }

    fn names(&self) -> Vec<String> {
        self.subjects
            .iter()
            .map(|subject| subject.name.clone())
            .collect()
    }

    /// A table with a row for every subject.
    fn table(&self, name: &str, title: &str) -> Table {
        let names = self.names();
        Table::new(name, title, names.iter().map(String::as_str))
    }
}
