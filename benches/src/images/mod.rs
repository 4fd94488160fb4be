//! What a load costs, beside other tools and the floor below all of them: `make bench-images`.
//!
//! Every round gives every subject a new ext4 file system in memory: on one where many files were
//! just deleted, creating files costs several times as much, for everybody. What is compared is
//! processor time, of a daemon too where there is one; other tools do not wait for the disk, and
//! what we wait is in our figure.

mod made;
mod subject;

use crate::measure::{Sample, Table, ms};
use crate::random::Random;
use crate::report;
use crate::say;
use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use subject::Subject;

/// What the driver can be told.
pub(crate) const USAGE: &str = "\
benches images [--rounds N] [--layout NAME=DIR]... [--floor PROGRAM] [--peers DIR] [--out DIR]
  --rounds N         how often each subject has its turn with each image (5)
  --layout NAME=DIR  an OCI layout with one image, tagged `latest`; without any, images are made of this machine's files
  --floor PROGRAM    the example `floor` of hostrun-image-store
  --peers DIR        looks for a newer containerd here, as `make peers` fetches it
  --out DIR          writes images.json and images.svg here
";

/// What a command took.
#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    peak_kib: u64,
}

/// Runs `benches images`.
pub(crate) fn main(words: &[String]) -> Result<()> {
    if let Some(("--measure", command)) = words.split_first().map(|(w, r)| (w.as_str(), r)) {
        return measure_one(command);
    }
    let options = Options::parse(words)?;
    hostrun_integration::host::require_private_mounts()?;
    let place = tempfile::Builder::new()
        .prefix("hostrun-images-")
        .tempdir()?;
    mount("tmpfs", place.path(), "tmpfs", MountFlags::empty(), None).context("tmpfs")?;
    let done = run(&options, place.path());
    unmount(place.path(), UnmountFlags::DETACH).context("unmount")?;
    done
}

#[derive(Debug, Default)]
struct Options {
    rounds: usize,
    layouts: Vec<(String, PathBuf)>,
    floor: Option<PathBuf>,
    peers: Option<PathBuf>,
    out: Option<PathBuf>,
}

impl Options {
    fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self {
            rounds: 5,
            ..Self::default()
        };
        for pair in words.chunks(2) {
            let [word, value] = pair else {
                bail!("{USAGE}");
            };
            match word.as_str() {
                "--rounds" => options.rounds = value.parse().context("the number of rounds")?,
                "--layout" => {
                    let (name, dir) = value.split_once('=').context("NAME=DIR")?;
                    options.layouts.push((name.to_owned(), dir.into()));
                }
                "--floor" => options.floor = Some(value.into()),
                "--peers" => options.peers = Some(value.into()),
                "--out" => options.out = Some(value.into()),
                _ => bail!("{word}: no such option\n{USAGE}"),
            }
        }
        Ok(options)
    }
}

fn run(options: &Options, place: &Path) -> Result<()> {
    let layouts = match options.layouts.as_slice() {
        [] => made::images(&place.join("made"))?,
        given => given.to_vec(),
    };
    let hostrun = std::env::var_os("HOSTRUN_BINARY").map(PathBuf::from);
    let hostrun = hostrun.context("HOSTRUN_BINARY is not set")?;
    let mut random = Random::new(u64::from(std::process::id()));
    let mut tables = Vec::new();
    for (name, layout) in &layouts {
        let (subjects, absent) =
            subject::all(&hostrun, options.floor.as_deref(), options.peers.as_deref());
        for reason in absent {
            say(&format!("left out: {reason}\n"))?;
        }
        let [cpu, wall] = rounds(name, layout, &subjects, options.rounds, place, &mut random)?;
        for table in [cpu, wall] {
            say(&format!("\n{}", report::table::text(&table)))?;
            tables.push(table);
        }
    }
    let Some(out) = &options.out else {
        return Ok(());
    };
    fs::create_dir_all(out)?;
    let json = report::json::tables(&tables);
    fs::write(
        out.join("images.json"),
        serde_json::to_vec_pretty(&json!({"tables": json}))?,
    )?;
    let caption = format!("{} rounds, a new ext4 each", options.rounds);
    fs::write(
        out.join("images.svg"),
        report::svg::images(&tables, &caption),
    )?;
    let out = out.display();
    say(&format!("\nwritten: {out}/images.json {out}/images.svg\n"))
}

/// Every subject's turns with one image: processor time, and time by the clock.
fn rounds(
    name: &str,
    layout: &Path,
    subjects: &[Subject],
    rounds: usize,
    place: &Path,
    random: &mut Random,
) -> Result<[Table; 2]> {
    let archive = place.join(format!("{name}.tar"));
    subject::archive(layout, &archive)?;
    let image = Image { layout, archive };
    let size = made::describe(layout)?;
    let names = || subjects.iter().map(|subject| subject.name);
    let mut cpu = Table::new(
        &format!("{name}-cpu"),
        &format!("{name}: {size}; processor time of a load, ms"),
        names(),
    );
    let mut wall = Table::new(
        &format!("{name}-wall"),
        &format!("{name}: the same by the clock, ms"),
        names(),
    );
    for _ in 0..rounds {
        let order = random.order(subjects.len());
        for subject in order.into_iter().filter_map(|index| subjects.get(index)) {
            one(subject, &image, place, &mut cpu, &mut wall)?;
        }
    }
    Ok([cpu, wall])
}

/// An image in the two forms that tools take.
struct Image<'a> {
    layout: &'a Path,
    archive: PathBuf,
}

/// One subject's turn, on a file system of its own.
fn one(
    subject: &Subject,
    image: &Image<'_>,
    place: &Path,
    cpu: &mut Table,
    wall: &mut Table,
) -> Result<()> {
    let (disk, at) = (place.join("disk"), place.join("mnt"));
    new_disk(&disk, &at)?;
    warm(image)?;
    let cost = (subject.load)(subject, image.layout, &image.archive, &at);
    unmount(&at, UnmountFlags::DETACH).context("unmount")?;
    fs::remove_file(&disk)?;
    for (table, figure) in [(cpu, true), (wall, false)] {
        let Some(row) = table.row_mut(subject.name) else {
            continue;
        };
        match &cost {
            Ok(cost) => row.samples.push(Some(Sample {
                milliseconds: ms(if figure { cost.cpu } else { cost.wall }),
                cpu_ms: Some(ms(cost.cpu)),
                peak_kib: Some(cost.peak_kib),
            })),
            Err(error) => {
                row.failures += 1;
                row.said = Some(format!("{error:#}").chars().take(120).collect());
                row.samples.push(None);
            }
        }
    }
    Ok(())
}

/// A new file system in a file, mounted.
pub(crate) fn new_disk(disk: &Path, at: &Path) -> Result<()> {
    fs::create_dir_all(at)?;
    let file = fs::File::create(disk)?;
    file.set_len(8 << 30)?;
    command(
        ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0"].map(OsStr::new),
        disk,
    )?;
    attach(disk, at)
}

/// What is read lies in memory for everybody.
fn warm(image: &Image<'_>) -> Result<()> {
    let mut sink = std::io::sink();
    for file in fs::read_dir(image.layout.join("blobs/sha256"))? {
        std::io::copy(&mut fs::File::open(file?.path())?, &mut sink)?;
    }
    std::io::copy(&mut fs::File::open(&image.archive)?, &mut sink)?;
    Ok(())
}

fn attach(disk: &Path, at: &Path) -> Result<()> {
    let out = Command::new("mount")
        .args(["-o", "loop"])
        .args([disk, at])
        .output()?;
    if !out.status.success() {
        bail!("mount: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}

fn command<const N: usize>(words: [&OsStr; N], last: &Path) -> Result<()> {
    let (program, rest) = words.split_first().context("no program")?;
    let out = Command::new(program).args(rest).arg(last).output()?;
    if !out.status.success() {
        bail!("{}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}

/// Runs a command under ourselves, so that its cost is that of all our children.
fn measured<S: AsRef<OsStr>>(words: &[S]) -> Result<Cost> {
    let out = Command::new("/proc/self/exe")
        .args(["images", "--measure"])
        .args(words)
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        bail!("{}", said.trim().lines().last().unwrap_or_default());
    }
    let last = text.lines().last().unwrap_or_default();
    let mut numbers = last.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next().and_then(Result::ok).context("no figures");
    let (wall, cpu, peak_kib) = (next()?, next()?, next()?);
    Ok(Cost {
        wall: Duration::from_micros(wall),
        cpu: Duration::from_micros(cpu),
        peak_kib,
    })
}

/// The other end of [`measured`].
fn measure_one(words: &[String]) -> Result<()> {
    let (program, rest) = words.split_first().context("no command")?;
    let begun = Instant::now();
    let status = Command::new(program)
        .args(rest)
        .stdout(Stdio::null())
        .status()?;
    let wall = begun.elapsed();
    if !status.success() {
        bail!("{program}: {:?} {:?}", status.code(), status.signal());
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = |value: nix::sys::time::TimeVal| value.tv_sec() * 1_000_000 + value.tv_usec();
    let cpu = time(usage.user_time()) + time(usage.system_time());
    say(&format!("{} {cpu} {}\n", wall.as_micros(), usage.max_rss()))
}
