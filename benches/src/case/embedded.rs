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

const fn flavour(name: &'static str, title: &'static str, start: Start, filtered: bool) -> Flavour {
    Flavour {
        name,
        title,
        start,
        filtered,
    }
}

const SAME: &str = "library: the same behind docker's filter";

const FLAVOURS: [Flavour; 8] = [
    flavour(
        "embedded",
        "library: a start from nothing, until the payload's first instruction",
        Start::Cold,
        false,
    ),
    flavour("embedded-seccomp", SAME, Start::Cold, true),
    flavour(
        "embedded-network",
        "library: a start with a template of mounts and a network made before (the floor: from nothing)",
        Start::Network,
        false,
    ),
    flavour("embedded-network-seccomp", SAME, Start::Network, true),
    flavour(
        "parked",
        "library: a container that was created, from start to the payload's first instruction",
        Start::Created,
        false,
    ),
    flavour("parked-seccomp", SAME, Start::Created, true),
    flavour(
        "sandbox",
        "library: a sandbox out of a pool, from the request to the payload's first instruction (the floor: parked)",
        Start::Sandbox,
        false,
    ),
    flavour("sandbox-seccomp", SAME, Start::Sandbox, true),
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
