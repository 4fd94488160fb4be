//! Lives of containers, verb by verb: created, started, asked for their state, joined, killed,
//! deleted.

use super::Bench;
use crate::measure::{Figure, Table};
use crate::place::{Kind, Payload};
use crate::spawner::Ending;
use crate::subject::{Container, Verb};
use anyhow::{Result, ensure};
use hostrun_integration::cgroup;
use std::time::{Duration, Instant};

const VERBS: [Verb; 6] = [
    Verb::Create,
    Verb::Start,
    Verb::State,
    Verb::Exec,
    Verb::Kill,
    Verb::Delete,
];

pub(super) fn measure(bench: &mut Bench) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    for filtered in [false, true] {
        for verb in VERBS {
            // the others neither compile nor install a filter
            let differs = matches!(verb, Verb::Create | Verb::Exec);
            if filtered && !differs {
                continue;
            }
            let (name, title) = (name(verb, filtered), title(verb, filtered));
            tables.push(bench.table(&name, &title));
        }
    }
    for _ in 0..bench.extent.rounds {
        for filtered in [false, true] {
            for index in bench.random.order(bench.subjects.len()) {
                live(bench, filtered, &mut tables, index)?;
            }
        }
    }
    Ok(tables)
}

fn name(verb: Verb, filtered: bool) -> String {
    let suffix = if filtered { "-seccomp" } else { "" };
    format!("{}{suffix}", verb.name())
}

fn title(verb: Verb, filtered: bool) -> String {
    let suffix = if filtered {
        " behind docker's filter"
    } else {
        ""
    };
    format!("{}{suffix}", verb.name())
}

fn live(bench: &mut Bench, filtered: bool, tables: &mut [Table], index: usize) -> Result<()> {
    let Some(subject) = bench.subjects.get(index) else {
        return Ok(());
    };
    let kind = Kind {
        payload: Payload::Pause,
        filtered,
    };
    let container = Container { kind, number: 0 };
    for verb in VERBS {
        let ending = subject.act(&bench.place, &mut bench.spawner, verb, container)?;
        let name = name(verb, filtered);
        let table = tables.iter_mut().find(|table| table.name == name);
        if let Some(row) = table.and_then(|table| table.row_mut(&subject.name)) {
            row.add(ending, Figure::Wall, || bench.spawner.said());
        }
        if !matches!(ending, Ending::Done(_)) {
            return Ok(());
        }
        if verb == Verb::Kill {
            wait_for_end(&bench.place.cgroup_of(&subject.name, 0))?;
        }
    }
    Ok(())
}

/// Deleting is not to wait for the payload's death: that is the kernel's time, and killing's.
fn wait_for_end(cgroup: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while cgroup::value(cgroup, "cgroup.events", "populated").unwrap_or(0) > 0 {
        ensure!(Instant::now() < end, "{cgroup} does not die");
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}
