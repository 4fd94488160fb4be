//! What a run costs in numbers that do not depend on load, of every subject.

use super::{Bench, EXIT};
use crate::subject::{Container, Verb};
use hostrun_integration::trace::{Counts, Trace};

/// The counts of one subject, or why there are none.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub(crate) subject: String,
    pub(crate) counts: Result<Counts, String>,
}

pub(super) fn measure(bench: &Bench) -> Vec<Counted> {
    let container = Container {
        kind: EXIT,
        number: 0,
    };
    let count = |subject: &crate::subject::Subject| {
        let words = subject.words(&bench.place, Verb::Run, container);
        let counts = words.and_then(|words| Trace::of(words).count());
        let counts = counts.map_err(|error| {
            // a subject that fails under a tracer is one line in a table
            subject.tidy(&bench.place, container).unwrap_or_default();
            format!("not counted: {}", error.root_cause())
        });
        Counted {
            subject: subject.name.clone(),
            counts,
        }
    };
    bench.subjects.iter().map(count).collect()
}
