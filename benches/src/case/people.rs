//! What a person types: a program of a loaded image, by hostrun and by engines, each in a machine of
//! its own within the machine.

use super::Bench;
use crate::measure::{Figure, Row, Table};
use crate::spawner::{Ending, Spawner};
use anyhow::{Context as _, Result, bail};
use hostrun_integration::Bundle;
use hostrun_integration::client::engine::{Engine, IMAGE, Kind};
use hostrun_integration::client::journal::Journal;
use hostrun_integration::client::{Containerd, World, containerd};
use hostrun_integration::image::Image;
use hostrun_integration::runtime::{Call, Running, Runtime};
use std::ffi::OsString;
use std::path::PathBuf;

/// The program that is run, of busybox.
const TRUE: &str = "true";

/// A command, once for every round.
#[derive(Debug)]
struct Habit {
    name: &'static str,
    commands: Vec<Vec<OsString>>,
}

/// Who types in one world.
#[derive(Debug)]
struct Typist {
    habits: Vec<Habit>,
    spawner: Spawner,
    // a daemon ends before its world
    _daemon: Option<Running>,
    _world: World,
}

pub(super) fn measure(bench: &mut Bench) -> Result<Vec<Table>> {
    let makers = [own, podman, docker, ctr];
    let (mut typists, mut absent) = (Vec::new(), Vec::new());
    for make in makers {
        match make(bench) {
            Ok(typist) => typists.push(typist),
            Err(error) => absent.push(format!("{error:#}")),
        }
    }
    let turns: Vec<(usize, usize)> = typists
        .iter()
        .enumerate()
        .flat_map(|(who, typist)| (0..typist.habits.len()).map(move |what| (who, what)))
        .collect();
    let names = typists.iter().flat_map(|typist| &typist.habits);
    let title = format!("what a person types: `{TRUE}` in a loaded image (no SCHED_FIFO)");
    let mut table = Table::new("typed", &title, names.map(|habit| habit.name));
    for round in 0..=bench.extent.long_rounds {
        for turn in bench.random.order(turns.len()) {
            if let Some((who, what)) = turns.get(turn)
                && let Some(typist) = typists.get_mut(*who)
            {
                type_once(typist, *what, round, &mut table)?;
            }
        }
    }
    for error in absent {
        table.rows.push(Row {
            said: Some(error),
            ..Row::new("left out")
        });
    }
    Ok(vec![table])
}

fn type_once(typist: &mut Typist, what: usize, round: usize, table: &mut Table) -> Result<()> {
    let Some(habit) = typist.habits.get(what) else {
        return Ok(());
    };
    let command = habit.commands.get(round).context("no such round")?;
    let ending = typist.spawner.run(command)?;
    // the first time fills the caches of an engine
    if round > 0 {
        if let Some(row) = table.row_mut(habit.name) {
            row.add(ending, Figure::Wall, || typist.spawner.said());
        }
    } else if !matches!(ending, Ending::Done(_)) {
        bail!("{}: {ending:?}: {}", habit.name, typist.spawner.said());
    }
    Ok(())
}

/// The words of a call of a world, as somebody in the world would type them.
fn inside(world: &World, call: &Call) -> Vec<OsString> {
    let entering = world.call::<&str>([]).words().len();
    call.words().iter().skip(entering).cloned().collect()
}

fn typist(
    bench: &Bench,
    world: World,
    daemon: Option<Running>,
    habits: Vec<Habit>,
) -> Result<Typist> {
    let under = world.call::<&str>([]);
    let program = bench.place.dir().join("spawn");
    let spawner = Spawner::start_under(under.words(), &program, &world.dir().join("errors"))?;
    Ok(Typist {
        habits,
        spawner,
        _daemon: daemon,
        _world: world,
    })
}

/// The same words in every round.
fn always(bench: &Bench, name: &'static str, words: &[OsString]) -> Habit {
    Habit {
        name,
        commands: vec![words.to_vec(); bench.extent.long_rounds + 1],
    }
}

/// An archive of the image every world has.
fn archive(world: &World, transport: &str, tag: &str) -> Result<PathBuf> {
    let file = world.dir().join("image.tar");
    let image = Image::new(world.dir())?;
    image.convert(&format!("{transport}:{}{tag}", file.display()))?;
    Ok(file)
}

/// hostrun, with its image store, and the same program from a bundle.
fn own(bench: &Bench) -> Result<Typist> {
    let subject = bench
        .subjects
        .iter()
        .find(|subject| subject.name == "hostrun");
    let program = &subject.context("no hostrun")?.program;
    let world = World::new()?;
    let image = Image::new(world.dir())?;
    let words = |more: &[&str]| -> Vec<OsString> {
        let root = ["--root".into(), world.dir().join("state").into_os_string()];
        let store = ["--store".into(), world.dir().join("store").into_os_string()];
        let program = [program.clone().into_os_string()].into_iter();
        let more = more.iter().map(OsString::from);
        program.chain(root).chain(store).chain(more).collect()
    };
    let loaded = world.call(words(&["load", "-q", &image.source()])).run()?;
    let name = loaded.ok()?.trim().to_owned();
    let bundle = Bundle::new(&world.dir().join("bundle"), "/typed")?;
    let dir = bundle.write()?.to_string_lossy().into_owned();
    let habits = vec![
        always(bench, "hostrun run", &words(&["run", "--rm", &name, TRUE])),
        always(
            bench,
            "hostrun run --bundle",
            &words(&["run", "--bundle", &dir, "typed"]),
        ),
    ];
    typist(bench, world, None, habits)
}

/// runc below all engines, as they come.
fn runc() -> Result<Journal> {
    Ok(Journal::none(&Runtime::oracle()?))
}

fn engine(bench: &Bench, kind: Kind, name: &'static str) -> Result<Typist> {
    let world = World::new()?;
    let journal = runc()?;
    let daemon = kind.start(&world, &[]).context(name)?;
    let archive = archive(&world, "docker-archive", &format!(":{IMAGE}"))?;
    let habits = {
        let engine = Engine::new(&world, kind, &journal);
        engine.ok(&["load", "-q", "-i", &archive.to_string_lossy()])?;
        let call = match kind {
            Kind::Podman => engine.call(&["run", "--rm", IMAGE, TRUE]),
            // the daemon's own runc is its default
            Kind::Docker => engine.plain_call(&["run", "--rm", "--network=none", IMAGE, TRUE]),
        };
        vec![always(bench, name, &inside(&world, &call))]
    };
    typist(bench, world, daemon, habits)
}

fn podman(bench: &Bench) -> Result<Typist> {
    engine(bench, Kind::Podman, "podman run").context("podman")
}

fn docker(bench: &Bench) -> Result<Typist> {
    engine(bench, Kind::Docker, "docker run").context("docker")
}

fn ctr(bench: &Bench) -> Result<Typist> {
    let world = World::new()?;
    let journal = runc()?;
    let daemon = containerd::start(&world).context("containerd")?;
    let archive = archive(&world, "oci-archive", &format!(":{IMAGE}"))?;
    let habits = {
        let containerd = Containerd::new(&world, &journal);
        containerd.ok(&["images", "import", &archive.to_string_lossy()])?;
        let commands = (0..=bench.extent.long_rounds).map(|round| {
            let call = containerd.run(&["--rm"], &format!("typed-{round}"), &[TRUE]);
            inside(&world, &call)
        });
        vec![Habit {
            name: "ctr run",
            commands: commands.collect(),
        }]
    };
    typist(bench, world, Some(daemon), habits)
}
