//! What containerd's shims cost: `make bench-shim`.
//!
//! Every round runs every shim once, in random order: `ctr run --rm` of `true`, and the call that deletes
//! a container which has ended. What a shim holds in memory is read for pods of several sizes.

mod goals;
mod memory;

use crate::measure::{Row, Table};
use crate::random::Random;
use crate::{report, say, subject};
use anyhow::{Context as _, Result, bail, ensure};
use hostrun_integration::client::containerd::{self, Release};
use hostrun_integration::client::engine::IMAGE;
use hostrun_integration::client::journal::Journal;
use hostrun_integration::client::task::{self, Deleted, Tasks, Waited};
use hostrun_integration::client::{Containerd, World};
use hostrun_integration::image::Image;
use hostrun_integration::runtime::Runtime;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// What the driver can be told.
pub(crate) const USAGE: &str = "\
benches shims [--rounds N] [--peers DIR] [--out DIR]
  --rounds N   how often each shim has its turn in each case (40)
  --peers DIR  looks for a newer crun here, as `make peers` fetches it
  --out DIR    writes shims.json and shims.svg here
";

/// Runs `benches shims`.
pub(crate) fn main(words: &[String]) -> Result<()> {
    let options = Options::parse(words)?;
    hostrun_integration::host::require_private_mounts()?;
    let mut found = Found::default();
    for (name, release) in [("1.6", Release::Machine), ("2.x", Release::Sid)] {
        match Bench::new(name, release, &options) {
            Ok(bench) => bench.measure(options.rounds, &mut found)?,
            Err(reason) => say(&format!("left out: containerd {name}: {reason:#}\n"))?,
        }
    }
    say(&format!("\n{}", goals::text(&found.tables, &found.memory)))?;
    let Some(out) = &options.out else {
        return Ok(());
    };
    std::fs::create_dir_all(out)?;
    let json = json!({"tables": report::json::tables(&found.tables), "memory": found.memory});
    std::fs::write(out.join("shims.json"), serde_json::to_vec_pretty(&json)?)?;
    let caption = format!(
        "{} rounds; crun and runc are below containerd's own shim",
        options.rounds
    );
    let picture = report::svg::shims(&found.tables, &caption);
    std::fs::write(out.join("shims.svg"), picture)?;
    let out = out.display();
    say(&format!("\nwritten: {out}/shims.json {out}/shims.svg\n"))
}

#[derive(Debug)]
struct Options {
    rounds: usize,
    peers: Option<PathBuf>,
    out: Option<PathBuf>,
}

impl Options {
    fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self {
            rounds: 40,
            peers: None,
            out: None,
        };
        for pair in words.chunks(2) {
            match pair {
                [word, value] if word == "--rounds" => {
                    options.rounds = value.parse().context("the number of rounds")?;
                }
                [word, value] if word == "--peers" => options.peers = Some(value.into()),
                [word, value] if word == "--out" => options.out = Some(value.into()),
                _ => bail!("{USAGE}"),
            }
        }
        Ok(options)
    }
}

/// What was measured so far.
#[derive(Debug, Default)]
struct Found {
    tables: Vec<Table>,
    memory: Vec<Value>,
}

/// A containerd, and who is below it.
struct Bench {
    name: &'static str,
    world: World,
    below: Vec<Journal>,
    random: Random,
    _daemon: hostrun_integration::runtime::Running,
}

impl Bench {
    fn new(name: &'static str, release: Release, options: &Options) -> Result<Self> {
        let world = World::with_programs(release.usr()?.as_deref())?;
        let daemon = containerd::start(&world)?;
        let mut below = vec![Journal::ours()?, Journal::none(&Runtime::oracle()?)];
        if let Some(crun) = subject::find("crun", options.peers.as_deref()) {
            below.push(Journal::none(&Runtime::at(crun)?));
        }
        let archive = world.dir().join("image.tar");
        let archive = archive.to_string_lossy();
        Image::new(world.dir())?.convert(&format!("oci-archive:{archive}:{IMAGE}"))?;
        let import = ["images", "import", &archive];
        for journal in below.iter().take(1) {
            Containerd::new(&world, journal).ok(&import)?;
        }
        Ok(Self {
            name,
            random: Random::new(u64::from(std::process::id())),
            _daemon: daemon,
            world,
            below,
        })
    }

    fn measure(mut self, rounds: usize, found: &mut Found) -> Result<()> {
        let version = self.name;
        let all = self.below.iter();
        let all: Vec<_> = all.map(|one| Containerd::new(&self.world, one)).collect();
        // who cannot run here is said so once, and left out
        let (works, not): (Vec<_>, Vec<_>) = all
            .into_iter()
            .map(|one| (one.shell(&[], "true"), one))
            .partition(|(ran, _)| ran.is_ok());
        for (ran, containerd) in not {
            let reason = format!("{:#}", ran.err().context("it ran")?).replace('\n', " ");
            say(&format!("left out: {}: {reason}\n", label(&containerd)))?;
        }
        let works: Vec<_> = works
            .into_iter()
            .map(|(_, containerd)| containerd)
            .collect();
        for (case, title, act) in [
            ("run", "ctr run --rm true", run as Act),
            ("delete", "Delete of what has ended", delete),
        ] {
            let title = format!("containerd {version}: {title}, ms");
            let labels = works.iter().map(label);
            let mut table = Table::new(&format!("{case}-{version}"), &title, labels);
            for _ in 0..rounds {
                for index in self.random.order(works.len()) {
                    let containerd = works.get(index).context("nobody")?;
                    let row: Option<&mut Row> = table.row_mut(label(containerd));
                    row.context("no row")?.add_time(act(containerd)?);
                }
            }
            say(&format!("\n{}", report::table::text(&table)))?;
            found.tables.push(table);
        }
        let (table, facts) = memory::measure(version, &works)?;
        found.tables.push(table);
        found.memory.extend(facts);
        drop(works);
        self.world.end()
    }
}

/// How tables call it: runc and crun are below containerd's own shim.
fn label(containerd: &Containerd<'_>) -> &'static str {
    match containerd.journal().name() {
        "shim" => "hostrun",
        "runc" => "runc",
        _ => "crun",
    }
}

type Act = fn(&Containerd<'_>) -> Result<std::time::Duration>;

/// All that a user waits for: from the start of ctr to its end.
fn run(containerd: &Containerd<'_>) -> Result<std::time::Duration> {
    let call = containerd.run(&["--rm"], &containerd.name(), &["true"]);
    let begun = Instant::now();
    let out = call.run()?;
    let took = begun.elapsed();
    ensure!(out.code() == 0, "{}", out.stderr());
    Ok(took)
}

/// One call of the shim: its answer, and not what containerd does beside.
fn delete(containerd: &Containerd<'_>) -> Result<std::time::Duration> {
    let name = containerd.background(&[], "sleep 60")?;
    let mut tasks = Tasks::of(containerd.world(), &name)?;
    containerd.ok(&["task", "kill", "-s", "SIGKILL", &name])?;
    let process = task::container(&name);
    let _: Waited = tasks.call("Wait", &process)?;
    let begun = Instant::now();
    let _: Deleted = tasks.call("Delete", &process)?;
    let took = begun.elapsed();
    remove(containerd, &name)?;
    Ok(took)
}

/// Takes a container away, whatever it does.
fn remove(containerd: &Containerd<'_>, name: &str) -> Result<()> {
    containerd.call(&["task", "rm", "--force", name]).run()?;
    containerd.ok(&["container", "rm", name]).map(drop)
}
