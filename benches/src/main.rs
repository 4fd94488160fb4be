//! What a start costs, beside the runtimes of this machine and the kernel's floor.
//!
//! Every round runs every subject once, in random order, so that noise meets all alike; what is
//! compared are ratios within a round. `make bench` starts it, in a mount namespace of its own.

mod case;
mod environment;
mod images;
mod measure;
mod options;
mod place;
mod pulls;
mod random;
mod report;
mod server;
mod shims;
mod spawner;
mod statistics;
mod subject;

use anyhow::{Context as _, Result, bail};
use case::{Bench, Counted};
use environment::Environment;
use measure::Table;
use options::{Options, USAGE};
use place::Place;
use random::Random;
use spawner::Spawner;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use subject::{Manner, Subject};

/// The runtimes that are looked for.
const NAMES: [&str; 4] = ["hostrun", "crun", "youki", "runc"];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help") {
        let others = [images::USAGE, pulls::USAGE, shims::USAGE].join("\n");
        return say(&format!("{USAGE}\n{others}"));
    }
    match words
        .split_first()
        .map(|(word, rest)| (word.as_str(), rest))
    {
        Some(("images", rest)) => return images::main(rest),
        Some(("pulls", rest)) => return pulls::main(rest),
        Some(("shims", rest)) => return shims::main(rest),
        _ => {}
    }
    let options = Options::parse(words.into_iter())?;
    hostrun_integration::host::require_private_mounts()?;
    let place = Place::new()?;
    // folders of everybody below are in memory, too
    tempfile::env::override_temp_dir(place.dir()).unwrap_or_default();
    let mut bench = prepare(&options, place)?;
    for reason in bench.try_everybody() {
        say(&format!("left out: {reason}\n"))?;
    }
    let environment = Environment::of(&bench);
    say(&environment.text())?;
    let counted = bench.counts();
    say(&format!("\n{}", report::table::counts(&counted)))?;
    let mut tables = Vec::new();
    for case in &options.cases {
        let measured = (case.measure)(&mut bench).with_context(|| format!("case {}", case.name))?;
        for table in &measured {
            say(&format!("\n{}", report::table::text(table)))?;
        }
        tables.extend(measured);
        // after each case: who loses patience keeps what there is
        if let Some(out) = &options.out {
            write(out, &environment, &tables, &counted)?;
        }
    }
    let standings = report::goals::standings(&tables);
    say(&format!("\n{}", report::goals::text(&standings)))?;
    let Some(out) = &options.out else {
        return Ok(());
    };
    let out = out.display();
    say(&format!("\nwritten: {out}/start.json {out}/start.svg\n"))
}

fn write(
    out: &Path,
    environment: &Environment,
    tables: &[Table],
    counted: &[Counted],
) -> Result<()> {
    let standings = report::goals::standings(tables);
    let json = report::json::report(environment, tables, counted, &standings);
    let picture = report::svg::picture(tables, &environment.caption());
    fs::create_dir_all(out)?;
    fs::write(out.join("start.json"), serde_json::to_vec_pretty(&json)?)?;
    Ok(fs::write(out.join("start.svg"), picture)?)
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Compiles what is native and finds who is to be measured; says who is not there.
fn prepare(options: &Options, place: Place) -> Result<Bench> {
    let floor = place.native(&["floor", "inside"])?;
    let errors = place.dir().join("errors");
    let spawner = Spawner::start(&place.native(&["spawn"])?, &errors)?;
    let mut subjects = Vec::new();
    for name in NAMES {
        match program(options, name) {
            Some(program) => {
                subjects.push(subject(name, &program, &place)?);
                if name == "hostrun" {
                    // it executes itself anew where its file could be written to; here it need not
                    let copy = place.read_only(&program)?;
                    subjects.push(subject("hostrun-ro", &copy, &place)?);
                }
            }
            None => say(&format!("left out: {name} is not here\n"))?,
        }
    }
    for (name, program) in &options.runtimes {
        if !NAMES.contains(&name.as_str()) {
            subjects.push(subject(name, program, &place)?);
        }
    }
    subjects.push(Subject::new("floor", &floor, Manner::Floor, &place));
    if options.library.is_none() {
        say("left out: starts from a process that stays, for want of --library\n")?;
    }
    Ok(Bench {
        place,
        spawner,
        subjects,
        random: Random::new(u64::from(std::process::id())),
        extent: options.extent,
        library: options.library.clone(),
    })
}

/// The program of that name: as told, ours as built, in the folder of peers, or on PATH.
fn program(options: &Options, name: &str) -> Option<PathBuf> {
    let told = options.runtimes.iter().find(|(told, _)| told == name);
    let built = std::env::var_os("HOSTRUN_BINARY").filter(|_| name == "hostrun");
    told.map(|(_, program)| program.clone())
        .or(built.map(PathBuf::from))
        .or_else(|| subject::find(name, options.peers.as_deref()))
}

fn subject(name: &str, program: &Path, place: &Place) -> Result<Subject> {
    if !program.is_file() {
        bail!("{name}: no program at {}", program.display());
    }
    Ok(Subject::new(name, program, Manner::Oci, place))
}
