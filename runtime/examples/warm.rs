//! Warm starts from a program of one's own: `warm STATE_ROOT BUNDLE WHAT...`, where WHAT is
//!
//! * `take ID [WORD...]`: the bundle, or these words in it, from a pool of one, created and started;
//! * `run ID [WORD...]`: the same in one step;
//! * `cold ID`: the same without a pool;
//! * `line ID`: created and started without a pool, over the line to it;
//! * `threads COUNT THREADS`: so many, from so many threads, beside a refiller;
//! * `hold COUNT`: a full pool; for each line of input, the bundle read again, the container of that name
//!   is taken and started; after `keep` it is left waiting for its start.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line speaks through them"
)]

use hostrun_runtime::warm::{MountTemplate, Networks, Refill, Refiller, Sandboxes};
use hostrun_runtime::{Bundle, ContainerId, Error, Request, Running, Runtime};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

fn request(bundle: &Bundle, words: &[String]) -> Request {
    let mut spec = bundle.spec().clone();
    if let Some(process) = spec.process_mut().as_mut().filter(|_| !words.is_empty()) {
        process.set_args(Some(words.to_vec()));
    }
    Request::new(spec, bundle.dir())
}

/// All that can be made before is.
fn warm(root: &Path) -> Result<(Runtime, Arc<Networks>), Error> {
    let networks = Arc::new(Networks::new(4));
    networks.refill()?;
    let runtime = Runtime::open(root)?
        .with_networks(Arc::clone(&networks))
        .with_mount_template(MountTemplate::new()?);
    Ok((runtime, networks))
}

/// What comes out of a terminal, until its other side is closed.
fn print(console: OwnedFd) {
    let mut console = File::from(console);
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = console.read(&mut bytes) {
        let text = bytes.get(..length).unwrap_or_default();
        print!("{}", String::from_utf8_lossy(text).replace('\r', ""));
    }
}

fn finish(runtime: &Runtime, id: &ContainerId, mut running: Running) -> Result<u8, Error> {
    if let Some(console) = running.take_console() {
        print(console);
    }
    let exit = running.wait()?;
    for warning in runtime.container(id)?.delete(false)?.warnings() {
        eprintln!("warm: {warning}");
    }
    Ok(exit.status())
}

fn one(pool: &Sandboxes, runtime: &Runtime, id: &str, request: Request) -> Result<u8, Error> {
    let id = ContainerId::new(id)?;
    let Some(created) = pool.take(&id, request)? else {
        println!("none ready");
        return Ok(1);
    };
    finish(runtime, &id, created.start()?)
}

fn keep(pool: &Sandboxes, id: &str, request: Request) -> Result<u8, Error> {
    let taken = pool.take(&ContainerId::new(id)?, request)?;
    Ok(u8::from(taken.is_none()))
}

fn take(root: &Path, bundle: &Bundle, id: &str, words: &[String]) -> Result<u8, Error> {
    let (runtime, _networks) = warm(root)?;
    let pool = Sandboxes::new(&runtime, request(bundle, &[]), 1)?;
    pool.refill()?;
    one(&pool, &runtime, id, request(bundle, words))
}

fn run(root: &Path, bundle: &Bundle, id: &str, words: &[String]) -> Result<u8, Error> {
    let (runtime, _networks) = warm(root)?;
    let pool = Sandboxes::new(&runtime, request(bundle, &[]), 1)?;
    pool.refill()?;
    let id = ContainerId::new(id)?;
    match pool.run(&id, request(bundle, words))? {
        Some(running) => finish(&runtime, &id, running),
        None => Ok(1),
    }
}

fn line(root: &Path, bundle: &Bundle, id: &str) -> Result<u8, Error> {
    let runtime = Runtime::open(root)?;
    let id = ContainerId::new(id)?;
    let created = runtime.create(&id, request(bundle, &[]).with_line())?;
    finish(&runtime, &id, created.start()?)
}

fn cold(root: &Path, bundle: &Bundle, id: &str) -> Result<u8, Error> {
    let runtime = Runtime::open(root)?;
    let id = ContainerId::new(id)?;
    let running = runtime.run(&id, request(bundle, &[]))?;
    finish(&runtime, &id, running)
}

/// Containers named by lines of input, until there is no more of it.
fn hold(root: &Path, dir: &Path, count: u32) -> Result<u8, Error> {
    let (runtime, _networks) = warm(root)?;
    let first = request(&Bundle::load(dir)?, &[]);
    let pool = Sandboxes::new(&runtime, first, usize::try_from(count).unwrap_or(1))?;
    // What a process that lives long may have in its memory.
    let secret = vec![b's'; 32 << 20];
    pool.refill()?;
    println!("{} ready, {} more", pool.ready(), pool.refill()?);
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let request = request(&Bundle::load(dir)?, &[]);
        let outcome = match line.strip_prefix("keep ") {
            Some(id) => keep(&pool, id, request),
            None => one(&pool, &runtime, &line, request),
        };
        let said = outcome.map_or_else(|error| error.to_string(), |status| status.to_string());
        println!("{line}: {said}, {} ready", pool.ready());
    }
    Ok(u8::from(secret.contains(&b'!')))
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Children of any thread, dead ones included.
fn children() -> usize {
    let tasks = fs::read_dir("/proc/self/task");
    let lists = tasks.into_iter().flatten().flatten();
    let lists = lists.map(|task| fs::read_to_string(task.path().join("children")));
    lists
        .map(|list| list.unwrap_or_default().split_whitespace().count())
        .sum()
}

/// From the pool, or cold where it is empty. Was it warm?
fn either(pool: &Sandboxes, runtime: &Runtime, bundle: &Bundle, id: &str) -> Result<bool, Error> {
    let id = ContainerId::new(id)?;
    let taken = pool.take(&id, request(bundle, &[]))?;
    let warm = taken.is_some();
    let running = if let Some(created) = taken {
        created.start()?
    } else {
        let mut request = request(bundle, &[]);
        if let Some(linux) = request.spec_mut().linux_mut() {
            let path = linux.cgroups_path().clone().unwrap_or_default();
            linux.set_cgroups_path(Some(path.with_file_name(id.as_str())));
        }
        runtime.run(&id, request)?
    };
    match finish(runtime, &id, running)? {
        0 => Ok(warm),
        status => {
            eprintln!("{id}: ended with {status}");
            Ok(false)
        }
    }
}

fn threads(root: &Path, bundle: &Bundle, count: u32, threads: u32) -> Result<u8, Error> {
    let before = {
        let (runtime, _networks) = warm(root)?;
        either(
            &Sandboxes::new(&runtime, request(bundle, &[]), 1)?,
            &runtime,
            bundle,
            "warm-first",
        )?;
        descriptors()
    };
    let [next, failed, warms] = [(); 3].map(|()| AtomicU32::new(0));
    {
        let (runtime, networks) = warm(root)?;
        let pool = Arc::new(Sandboxes::new(&runtime, request(bundle, &[]), 16)?);
        let _refillers = (Refiller::start(&networks)?, Refiller::start(&pool)?);
        std::thread::scope(|scope| {
            let work = || {
                let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
                for number in numbers.take_while(|number| *number < count) {
                    let id = format!("warm-{}-{number}", std::process::id());
                    let outcome = either(&pool, &runtime, bundle, &id);
                    warms.fetch_add(u32::from(matches!(outcome, Ok(true))), Ordering::Relaxed);
                    failed.fetch_add(u32::from(outcome.is_err()), Ordering::Relaxed);
                    outcome
                        .err()
                        .iter()
                        .for_each(|error| eprintln!("{id}: {error}"));
                    assert!(pool.ready() <= 16, "the pool passed its bound");
                }
            };
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
    }
    let (failed, warms) = (failed.into_inner(), warms.into_inner());
    println!("{count} containers from {threads} threads");
    println!("{failed} failed");
    println!("{} children left", children());
    println!("{} descriptors more", descriptors().saturating_sub(before));
    eprintln!("{warms} of them warm");
    Ok(u8::from(failed > 0 || warms == 0))
}

fn call(arguments: &[String]) -> Result<u8, Error> {
    let [root, bundle, what, rest @ ..] = arguments else {
        return Ok(125);
    };
    let (root, dir) = (Path::new(root), Path::new(bundle));
    let bundle = Bundle::load(dir)?;
    let number = |text: &String| text.parse::<u32>().unwrap_or(1);
    match (what.as_str(), rest) {
        ("take", [id, words @ ..]) => take(root, &bundle, id, words),
        ("line", [id]) => line(root, &bundle, id),
        ("run", [id, words @ ..]) => run(root, &bundle, id, words),
        ("cold", [id]) => cold(root, &bundle, id),
        ("hold", [count]) => hold(root, dir, number(count)),
        ("threads", [count, threads_]) => threads(root, &bundle, number(count), number(threads_)),
        _ => Ok(125),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match call(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("warm: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
