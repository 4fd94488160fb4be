//! What it takes from a registry to a running program, beside containerd: `make bench-pulls`.
//!
//! Debian's docker-registry serves an image of this machine's files on the loopback interface. Every turn has
//! a new ext4 in memory. What hostrun needs after the last byte is told apart: all before it is the network.

use crate::measure::{Row, Sample, Table};
use crate::{images, report, say};
use anyhow::{Context as _, Result, bail, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::registry::Debian;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What the driver can be told.
pub(crate) const USAGE: &str = "\
benches pulls [ROUNDS]
  ROUNDS             how often each subject has its turn (5)
";

const WHOLE: &str = "hostrun run";
const REST: &str = "hostrun run, after the last byte";
const PULL: &str = "ctr pull";
const BOTH: &str = "ctr pull, ctr run";

/// What is in the image beside busybox, a layer each.
const SOURCES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/include",
    "/usr/share/perl",
];

/// Runs `benches pulls`.
pub(crate) fn main(words: &[String]) -> Result<()> {
    let rounds = match words {
        [] => 5,
        [rounds] => rounds.parse().context(USAGE)?,
        _ => bail!("{USAGE}"),
    };
    hostrun_integration::host::require_private_mounts()?;
    let place = tempfile::Builder::new()
        .prefix("hostrun-pulls-")
        .tempdir()?;
    mount("tmpfs", place.path(), "tmpfs", MountFlags::empty(), None).context("tmpfs")?;
    let done = run(rounds, place.path());
    unmount(place.path(), UnmountFlags::DETACH).context("unmount")?;
    done
}

fn run(rounds: usize, place: &Path) -> Result<()> {
    let hostrun = std::env::var_os("HOSTRUN_BINARY").map(PathBuf::from);
    let bench = Bench {
        hostrun: hostrun.context("HOSTRUN_BINARY is not set")?,
        place: place.to_owned(),
        registry: Debian::open(place)?,
    };
    let image = Image::new(place)?;
    for source in SOURCES
        .map(Path::new)
        .into_iter()
        .filter(|dir| dir.is_dir())
    {
        image.insert(source, "/opt")?;
    }
    bench.registry.put(&image, "medium:1")?;
    let bytes: u64 = fs::read_dir(Path::new(&image.layout()).join("blobs/sha256"))?
        .filter_map(|blob| Some(blob.ok()?.metadata().ok()?.len()))
        .sum();
    let title = format!(
        "{} MB from a registry to a running program, ms",
        bytes / 1_000_000
    );
    let mut table = Table::new("pulls", &title, [WHOLE, REST, PULL, BOTH]);
    for round in 0..rounds {
        let turns: [fn(&Bench, &Path) -> Result<Turn>; 2] = [Bench::hostrun, Bench::containerd];
        // each is first as often as the other
        for turn in 0..turns.len() {
            let act = turns.get((turn + round) % turns.len()).context("no turn")?;
            for (name, time) in bench.with_disk(act)? {
                let row: Option<&mut Row> = table.row_mut(name);
                row.context("no row")?.samples.push(Some(Sample::of(time)));
            }
        }
    }
    say(&format!("\n{}", report::table::text(&table)))
}

/// What of a turn took how long.
type Turn = [(&'static str, Duration); 2];

struct Bench {
    hostrun: PathBuf,
    place: PathBuf,
    registry: Debian,
}

impl Bench {
    fn with_disk(&self, act: impl Fn(&Self, &Path) -> Result<Turn>) -> Result<Turn> {
        let (disk, at) = (self.place.join("disk"), self.place.join("mnt"));
        images::new_disk(&disk, &at)?;
        let turn = act(self, &at);
        unmount(&at, UnmountFlags::DETACH).context("unmount")?;
        fs::remove_file(&disk)?;
        turn
    }

    fn hostrun(&self, at: &Path) -> Result<Turn> {
        let config = self.place.join("registries.conf");
        let host = self.registry.host();
        fs::write(
            &config,
            format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n"),
        )?;
        let begun = Instant::now();
        let mut child = Command::new(&self.hostrun)
            .env("CONTAINERS_REGISTRIES_CONF", &config)
            .args([
                Path::new("--store"),
                at,
                Path::new("--root"),
                &at.join("state"),
            ])
            .args([
                "run",
                "--rm",
                &self.registry.name("medium:1"),
                "echo",
                "running",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let told = child.stderr.take().context("no standard error")?;
        // a blob that has come is told by a line with its rate
        let last = std::thread::spawn(move || {
            let mut last = begun;
            for line in BufReader::new(told).lines().map_while(std::io::Result::ok) {
                if line.ends_with("/s)") {
                    last = Instant::now();
                }
            }
            last
        });
        let running = first_line(&mut child)?;
        let last = last.join().ok().context("nobody listened")?;
        Ok([(WHOLE, running - begun), (REST, running - last)])
    }

    /// The program is run by hostrun here, too: what is compared is the way to it.
    fn containerd(&self, at: &Path) -> Result<Turn> {
        let text = |name: &str| at.join(name).to_string_lossy().into_owned();
        let (root, state, socket) = (text("root"), text("state"), text("socket"));
        let config = at.join("config.toml");
        fs::write(
            &config,
            format!(
                "version = 2\nroot = {root:?}\nstate = {state:?}\n\
                 disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = {socket:?}\n\
                 [plugins.\"io.containerd.internal.v1.opt\"]\n  path = {:?}\n",
                text("opt")
            ),
        )?;
        let mut daemon = Command::new("containerd")
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let turn = self.by_ctr(&socket);
        daemon.kill()?;
        daemon.wait()?;
        // its shim makes one for its namespace, and leaves it
        drop(fs::remove_dir("/sys/fs/cgroup/default"));
        turn
    }

    fn by_ctr(&self, socket: &str) -> Result<Turn> {
        let ctr = |words: &[&str]| {
            let mut command = Command::new("ctr");
            command.args(["-a", socket]).args(words);
            command
        };
        let end = Instant::now() + Duration::from_secs(30);
        while !ctr(&["version"]).output()?.status.success() {
            ensure!(Instant::now() < end, "containerd does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        let name = self.registry.name("medium:1");
        let begun = Instant::now();
        let pulled = ctr(&["images", "pull", "--plain-http", &name]).output()?;
        ensure!(
            pulled.status.success(),
            "{}",
            String::from_utf8_lossy(&pulled.stderr)
        );
        let pull = begun.elapsed();
        let hostrun = self.hostrun.to_string_lossy();
        let words = [
            "run",
            "--rm",
            // no share of a controller this machine may not have
            "--cpu-shares=0",
            "--runc-binary",
            &hostrun,
            &name,
            "bench",
            "echo",
            "running",
        ];
        let mut child = ctr(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let running = first_line(&mut child)?;
        Ok([(PULL, pull), (BOTH, running - begun)])
    }
}

/// When a program said that it runs; its end is waited for.
fn first_line(child: &mut Child) -> Result<Instant> {
    let mut line = String::new();
    let out = child.stdout.take().context("no standard output")?;
    BufReader::new(out).read_line(&mut line)?;
    let running = Instant::now();
    child.wait()?;
    ensure!(line == "running\n", "it did not run: {line:?}");
    Ok(running)
}
