//! What a start costs on a machine that has much already: host mounts, containers.

use super::{Bench, EXIT, embedded};
use crate::measure::{Figure, Table};
use crate::place::{Kind, Payload};
use crate::server::{Server, Start};
use crate::spawner::Ending;
use crate::subject::{Container, Verb};
use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use std::fs;
use std::path::PathBuf;

const MOUNTS: usize = 1000;

/// Containers that a subject makes at a time.
const MAKERS: usize = 2;

/// What `spawn` takes in one request.
const MOST_JOBS: usize = 250;

/// Some mounts, all below one, gone with this value.
struct Mounts(PathBuf);

impl Mounts {
    fn make(bench: &Bench) -> Result<Mounts> {
        let top = bench.place.dir().join("mounts");
        fs::create_dir_all(&top)?;
        mount("tmpfs", &top, "tmpfs", MountFlags::empty(), None).context("tmpfs")?;
        let mounts = Mounts(top);
        let source = mounts.0.join("source");
        fs::create_dir(&source)?;
        for number in 1..MOUNTS {
            let target = mounts.0.join(number.to_string());
            fs::create_dir(&target)?;
            mount_bind(&source, &target).context("bind")?;
        }
        Ok(mounts)
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap_or_default();
    }
}

/// Runs with and without a thousand mounts on the host, by turns, by commands and from processes that
/// stay.
pub(super) fn mounts(bench: &mut Bench) -> Result<Vec<Table>> {
    let mut servers = embedded::servers(bench, false)?;
    let in_process = servers.iter().enumerate().flat_map(|(index, server)| {
        let starts = if server.is_floor {
            &[Start::Cold][..]
        } else {
            &[Start::Cold, Start::Template]
        };
        starts.iter().map(move |start| (index, *start))
    });
    let turns: Vec<(usize, Start)> = in_process.collect();
    let rows = turns
        .iter()
        .filter_map(|(index, start)| Some(in_process_name(servers.get(*index)?, *start)));
    let names: Vec<String> = bench.names().into_iter().chain(rows).collect();
    let table = |name, title| Table::new(name, title, names.iter().map(String::as_str));
    let mut few = table("mounts-few", "run, on a host with few mounts");
    let mut many = table("mounts-1000", "run, on a host with 1,000 mounts more");
    for server in &mut servers {
        server.ask(Start::Cold)?;
    }
    for _ in 0..bench.extent.rounds {
        round(bench, &mut servers, &turns, &mut few)?;
        let _mounts = Mounts::make(bench)?;
        round(bench, &mut servers, &turns, &mut many)?;
    }
    let title = "what 1,000 mounts of the host add to a run";
    let added = Table::difference("mounts-added", title, &many, &few);
    Ok(vec![few, many, added])
}

fn in_process_name(server: &Server, start: Start) -> String {
    let how = match start {
        Start::Template => "library, template",
        _ => "library",
    };
    format!("{} ({how})", server.name)
}

fn round(
    bench: &mut Bench,
    servers: &mut [Server],
    turns: &[(usize, Start)],
    table: &mut Table,
) -> Result<()> {
    let commands = bench.subjects.len();
    for index in bench.random.order(commands + turns.len()) {
        if let Some(subject) = bench.subjects.get(index) {
            run(bench, &subject.name.clone(), table)?;
        } else if let Some((server, start)) = turns.get(index - commands)
            && let Some(server) = servers.get_mut(*server)
        {
            let took = server.ask(*start)?;
            if let Some(row) = table.row_mut(&in_process_name(server, *start)) {
                row.add_time(took.total);
            }
        }
    }
    Ok(())
}

fn run(bench: &mut Bench, name: &str, table: &mut Table) -> Result<()> {
    let subject = bench.subjects.iter().find(|subject| subject.name == name);
    let (Some(subject), Some(row)) = (subject, table.row_mut(name)) else {
        return Ok(());
    };
    let container = Container {
        kind: EXIT,
        number: 0,
    };
    let ending = subject.act(&bench.place, &mut bench.spawner, Verb::Run, container)?;
    row.add(ending, Figure::Wall, || bench.spawner.said());
    Ok(())
}

/// Runs beside no containers, then beside many of each subject's own.
pub(super) fn containers(bench: &mut Bench) -> Result<Vec<Table>> {
    let count = bench.extent.containers;
    let name = format!("containers-{count}");
    let title = format!("run, beside {count} containers of each");
    let mut none = bench.table("containers-0", "run, beside no containers");
    let mut many = bench.table(&name, &title);
    for _ in 0..bench.extent.rounds {
        turn(bench, &mut none)?;
    }
    for index in 0..bench.subjects.len() {
        populate(bench, index, count)?;
    }
    for _ in 0..bench.extent.rounds {
        turn(bench, &mut many)?;
    }
    // killed by their cgroup: to delete them one by one would take longer than the measurement
    bench.place.clear()?;
    for subject in &bench.subjects {
        subject.forget()?;
    }
    bench.place.renew()?;
    Ok(vec![none, many])
}

fn turn(bench: &mut Bench, table: &mut Table) -> Result<()> {
    for index in bench.random.order(bench.subjects.len()) {
        let name = bench
            .subjects
            .get(index)
            .map(|subject| subject.name.clone());
        run(bench, &name.unwrap_or_default(), table)?;
    }
    Ok(())
}

fn populate(bench: &mut Bench, index: usize, count: usize) -> Result<()> {
    let Some(subject) = bench.subjects.get(index) else {
        return Ok(());
    };
    let kind = Kind {
        payload: Payload::Pause,
        filtered: false,
    };
    let container = |number| Container { kind, number };
    let words = |number| subject.words(&bench.place, Verb::Create, container(number));
    let jobs = (1..=count).map(words).collect::<Result<Vec<_>>>()?;
    for jobs in jobs.chunks(MOST_JOBS) {
        let (_, endings) = bench.spawner.run_all(jobs, MAKERS)?;
        let done = |ending: &Ending| matches!(ending, Ending::Done(_));
        ensure!(
            endings.iter().all(done),
            "{} cannot make {count} containers: {}",
            subject.name,
            bench.spawner.said()
        );
    }
    Ok(())
}
