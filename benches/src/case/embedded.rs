//! Starts from one process that stays: the library, beside the floor in one process.

use super::Bench;
use crate::measure::{Row, Table};
use crate::place::{Kind, Payload};
use crate::server::{Server, Start};
use anyhow::Result;

/// What is asked of the servers, and the table its answers go to.
struct Flavour {
    name: &'static str,
    title: &'static str,
    start: Start,
    filtered: bool,
}

const FLAVOURS: [Flavour; 4] = [
    Flavour {
        name: "embedded",
        title: "library: a start from nothing, until the payload's first instruction",
        start: Start::Cold,
        filtered: false,
    },
    Flavour {
        name: "embedded-seccomp",
        title: "library: the same behind docker's filter",
        start: Start::Cold,
        filtered: true,
    },
    Flavour {
        name: "parked",
        title: "library: a container that was created, from start to the payload's first instruction",
        start: Start::Parked,
        filtered: false,
    },
    Flavour {
        name: "parked-seccomp",
        title: "library: the same behind docker's filter",
        start: Start::Parked,
        filtered: true,
    },
];

/// The processes that stay, one for each kind of container.
pub(super) fn servers(bench: &Bench, filtered: bool) -> Result<Vec<Server>> {
    let kind = Kind {
        payload: Payload::Clock,
        filtered,
    };
    let mut servers = Vec::new();
    if let Some(program) = &bench.library {
        servers.push(Server::library(program, &bench.place, kind, "hostrun")?);
    }
    for subject in bench.subjects.iter().filter(|subject| subject.is_floor()) {
        servers.push(Server::floor(
            &subject.program,
            &bench.place,
            kind,
            "floor",
        )?);
    }
    Ok(servers)
}

pub(super) fn measure(bench: &mut Bench) -> Result<Vec<Table>> {
    let mut plain = servers(bench, false)?;
    let mut filtered = servers(bench, true)?;
    let names: Vec<String> = plain.iter().map(|server| server.name.clone()).collect();
    let table = |flavour: &Flavour| {
        let names = names.iter().map(String::as_str);
        Table::new(flavour.name, flavour.title, names)
    };
    let mut tables: Vec<Table> = FLAVOURS.iter().map(table).collect();
    for round in 0..=bench.extent.rounds {
        for (flavour, table) in FLAVOURS.iter().zip(&mut tables) {
            let servers = if flavour.filtered {
                &mut filtered
            } else {
                &mut plain
            };
            for index in bench.random.order(servers.len()) {
                let rows: &mut [Row] = &mut table.rows;
                let (Some(server), Some(row)) = (servers.get_mut(index), rows.get_mut(index))
                else {
                    continue;
                };
                let took = server.ask(flavour.start)?;
                // the first start of a process fills its caches
                if round > 0 {
                    row.add_time(took.first);
                }
            }
        }
    }
    Ok(tables)
}
