//! Foreground runs: plain, behind a filter, behind one that nobody has compiled yet, and up to the
//! payload's first instruction.

use super::{Bench, EXIT};
use crate::measure::{Figure, Table};
use crate::place::{Kind, Payload};
use crate::subject::{Container, Verb};
use anyhow::Result;

struct Flavour {
    name: &'static str,
    title: &'static str,
    kind: Kind,
    figure: Figure,
    cold: bool,
}

const FILTERED: Kind = Kind {
    filtered: true,
    ..EXIT
};

const CLOCK: Kind = Kind {
    payload: Payload::Clock,
    filtered: false,
};

const FLAVOURS: [Flavour; 5] = [
    Flavour {
        name: "run",
        title: "run: a payload of one system call, in the foreground",
        kind: EXIT,
        figure: Figure::Wall,
        cold: false,
    },
    Flavour {
        name: "run-seccomp",
        title: "the same behind docker's filter, which was used before",
        kind: FILTERED,
        figure: Figure::Wall,
        cold: false,
    },
    Flavour {
        name: "run-seccomp-cold",
        title: "the same behind docker's filter, for the first time",
        kind: FILTERED,
        figure: Figure::Wall,
        cold: true,
    },
    Flavour {
        name: "first",
        title: "run, until the payload's first instruction",
        kind: CLOCK,
        figure: Figure::First,
        cold: false,
    },
    Flavour {
        name: "first-seccomp",
        title: "run behind docker's filter, until the payload's first instruction",
        kind: Kind {
            filtered: true,
            ..CLOCK
        },
        figure: Figure::First,
        cold: false,
    },
];

pub(super) fn measure(bench: &mut Bench) -> Result<Vec<Table>> {
    let mut tables: Vec<Table> = FLAVOURS
        .iter()
        .map(|flavour| bench.table(flavour.name, flavour.title))
        .collect();
    // flavours take turns, too: a busy minute meets all of them
    for _ in 0..bench.extent.rounds {
        for (flavour, table) in FLAVOURS.iter().zip(&mut tables) {
            for index in bench.random.order(bench.subjects.len()) {
                run(bench, flavour, table, index)?;
            }
        }
    }
    Ok(tables)
}

fn run(bench: &mut Bench, flavour: &Flavour, table: &mut Table, index: usize) -> Result<()> {
    let Some(subject) = bench.subjects.get(index) else {
        return Ok(());
    };
    let container = Container {
        kind: flavour.kind,
        number: 0,
    };
    if flavour.cold {
        subject.clear_cache()?;
    }
    let ending = subject.act(&bench.place, &mut bench.spawner, Verb::Run, container)?;
    if let Some(row) = table.row_mut(&subject.name) {
        row.add(ending, flavour.figure, || bench.spawner.said());
    }
    Ok(())
}
