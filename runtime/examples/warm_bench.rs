//! How long a start takes to the first instruction of its program, cold and warm, one of each a round:
//! `warm_bench STATE_ROOT BUNDLE ROUNDS`.
//!
//! The program of the bundle writes the 16 bytes of its `clock_gettime(CLOCK_MONOTONIC)`, first of all,
//! to its standard output.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line speaks through them"
)]

use hostrun_runtime::warm::{MountTemplate, Networks, Refill, Sandboxes};
use hostrun_runtime::{Bundle, ContainerId, Error, Request, Running, Runtime, Stdio, Stream};
use rustix::pipe::pipe;
use rustix::time::{ClockId, clock_gettime};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Nanoseconds.
fn now() -> i64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// What is measured, with the times of all rounds in microseconds.
struct Series {
    what: &'static str,
    times: Vec<i64>,
}

struct Bench {
    bundle: Bundle,
    plain: Runtime,
    networks: Arc<Networks>,
    with_networks: Runtime,
    with_template: Runtime,
    with_both: Runtime,
    pool: Sandboxes,
    series: Vec<Series>,
    count: u32,
}

impl Bench {
    fn new(root: &Path, bundle: Bundle) -> Result<Bench, Error> {
        let plain = Runtime::open(root)?;
        let networks = Arc::new(Networks::new(2));
        let template = MountTemplate::new()?;
        let with_networks = plain.clone().with_networks(Arc::clone(&networks));
        let with_template = plain.clone().with_mount_template(template.clone());
        let with_both = with_networks.clone().with_mount_template(template);
        let request = Request::new(bundle.spec().clone(), bundle.dir());
        Ok(Bench {
            pool: Sandboxes::new(&with_both, request, 1)?,
            bundle,
            plain,
            networks,
            with_networks,
            with_template,
            with_both,
            series: Vec::new(),
            count: 0,
        })
    }

    fn note(&mut self, what: &'static str, from: i64, to: i64) {
        let time = (to - from) / 1000;
        match self.series.iter_mut().find(|series| series.what == what) {
            Some(series) => series.times.push(time),
            None => self.series.push(Series {
                what,
                times: vec![time],
            }),
        }
    }

    /// A request of a container with a cgroup of its own, and the end of its output.
    fn request(&mut self) -> Result<(ContainerId, Request, OwnedFd), Error> {
        self.count += 1;
        let name = format!("bench-{}-{}", std::process::id(), self.count);
        let mut spec = self.bundle.spec().clone();
        if let Some(linux) = spec.linux_mut() {
            let path = linux.cgroups_path().clone().unwrap_or_default();
            linux.set_cgroups_path(Some(path.with_file_name(&name)));
        }
        let (ours, theirs) = pipe()
            .map_err(std::io::Error::from)
            .unwrap_or_else(|error| {
                eprintln!("warm_bench: {error}");
                std::process::abort()
            });
        let stdio = Stdio {
            stdin: Stream::Null,
            stdout: Stream::Fd(theirs),
            stderr: Stream::Null,
        };
        let request = Request::new(spec, self.bundle.dir()).with_stdio(stdio);
        Ok((ContainerId::new(&name)?, request, ours))
    }

    /// When the program began; the container is gone then.
    fn first(&self, id: &ContainerId, running: &Running, output: &OwnedFd) -> Result<i64, Error> {
        let mut bytes = [0_u8; 16];
        let read = rustix::io::read(output, &mut bytes).unwrap_or(0);
        running.wait()?;
        self.plain.container(id)?.delete(false).map(drop)?;
        let [seconds, nanoseconds] = [0, 8].map(|at| {
            let part = bytes.get(at..at + 8).unwrap_or_default();
            part.try_into().map_or(0, i64::from_ne_bytes)
        });
        if read != 16 {
            eprintln!("warm_bench: {id}: the program did not say when it began");
        }
        Ok(seconds * 1_000_000_000 + nanoseconds)
    }

    fn cold(&mut self, what: &'static str, runtime: &Runtime) -> Result<(), Error> {
        self.networks.refill()?;
        let (id, request, output) = self.request()?;
        let from = now();
        let running = runtime.run(&id, request)?;
        let first = self.first(&id, &running, &output)?;
        self.note(what, from, first);
        Ok(())
    }

    fn created(&mut self, what: &'static str, keeps_line: bool) -> Result<(), Error> {
        let (id, request, output) = self.request()?;
        let request = if keeps_line {
            request.with_line()
        } else {
            request
        };
        let created = self.plain.create(&id, request)?;
        let from = now();
        let running = created.start()?;
        let first = self.first(&id, &running, &output)?;
        self.note(what, from, first);
        Ok(())
    }

    fn parked(&mut self) -> Result<(), Error> {
        self.networks.refill()?;
        self.pool.refill()?;
        let (id, request, output) = self.request()?;
        let from = now();
        let Some(created) = self.pool.take(&id, request)? else {
            return Ok(());
        };
        let taken = now();
        let running = created.start()?;
        let first = self.first(&id, &running, &output)?;
        self.note("sandbox: take", from, taken);
        self.note("sandbox: start", taken, first);
        self.note("sandbox: both", from, first);
        Ok(())
    }

    fn round(&mut self) -> Result<(), Error> {
        let runtimes = [
            &self.plain,
            &self.with_networks,
            &self.with_template,
            &self.with_both,
        ];
        let [plain, networks, template, both] = runtimes.map(Runtime::clone);
        self.cold("run: cold", &plain)?;
        self.cold("run: networks", &networks)?;
        self.cold("run: template", &template)?;
        self.cold("run: both", &both)?;
        self.created("start of a created one: by its socket", false)?;
        self.created("start of a created one: by its line", true)?;
        self.parked()
    }

    fn print(&mut self) {
        println!("microseconds to the first instruction: least, quarter, median, nine tenths");
        for Series { what, times } in &mut self.series {
            times.sort_unstable();
            let at = |tenths: usize| times.get(times.len() * tenths / 20).copied().unwrap_or(0);
            println!(
                "{what:40} {:6} {:6} {:6} {:6}",
                at(0),
                at(5),
                at(10),
                at(18)
            );
        }
    }
}

fn run(root: &str, bundle: &str, rounds: u32) -> Result<(), Error> {
    let mut bench = Bench::new(Path::new(root), Bundle::load(Path::new(bundle))?)?;
    for _ in 0..rounds {
        bench.round()?;
    }
    bench.print();
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, bundle, rounds] = arguments.as_slice() else {
        return ExitCode::from(125);
    };
    match run(root, bundle, rounds.parse().unwrap_or(100)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("warm_bench: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
