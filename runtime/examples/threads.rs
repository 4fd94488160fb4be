//! Starts containers from many threads of a program that allocates all the time:
//! `threads STATE_ROOT BUNDLE COUNT THREADS`.
//!
//! Says what the library has left of them, and what it has changed of this process: nothing.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line speaks through them"
)]

use hostrun_runtime::{Bundle, ContainerId, Error, Request, Runtime};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// What of a process everybody in it shares.
fn shared() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kept = [
        "Umask",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "NoNewPrivs",
        "Seccomp:",
        "Groups",
    ];
    let lines = status
        .lines()
        .filter(|line| kept.iter().any(|name| line.starts_with(name)));
    let mut kept: Vec<String> = lines.map(str::to_owned).collect();
    kept.push(
        std::env::current_dir()
            .unwrap_or_default()
            .display()
            .to_string(),
    );
    kept.join("\n")
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Children of any thread, dead ones included.
fn children() -> usize {
    let tasks = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")));
    lists
        .map(|list| list.unwrap_or_default().split_whitespace().count())
        .sum()
}

/// Holds the allocator's locks as often as it can.
fn allocate(stop: &AtomicBool) {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut size = 1_usize;
    while !stop.load(Ordering::Relaxed) {
        size = size.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        kept.push(vec![1; (size >> 48) + 1]);
        if kept.len() > 64 {
            kept.clear();
        }
    }
}

fn one(runtime: &Runtime, bundle: &Bundle, number: u32) -> Result<(), Error> {
    let mut spec = bundle.spec().clone();
    let name = format!("threads-{}-{number}", std::process::id());
    if let Some(linux) = spec.linux_mut() {
        let path = linux.cgroups_path().clone().unwrap_or_default();
        linux.set_cgroups_path(Some(path.with_file_name(&name)));
    }
    let id = ContainerId::new(&name)?;
    // Half of them are made first and started later.
    let running = if number.is_multiple_of(2) {
        runtime.run(&id, Request::new(spec, bundle.dir()))?
    } else {
        runtime
            .create(&id, Request::new(spec, bundle.dir()))?
            .start()?
    };
    running.into_stopped()?.delete().map(drop)
}

fn run(root: &str, bundle: &str, count: u32, threads: u32) -> Result<u32, Error> {
    let runtime = Runtime::open(Path::new(root))?;
    let bundle = Bundle::load(Path::new(bundle))?;
    // What is opened once for good is opened here.
    one(&runtime, &bundle, count)?;
    let before = (shared(), descriptors());
    let (next, failed, stop) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let work = || {
            let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
            for number in numbers.take_while(|number| *number < count) {
                if let Err(error) = one(&runtime, &bundle, number) {
                    eprintln!("{number}: {error}");
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        scope.spawn(|| allocate(&stop));
        for worker in workers {
            worker.join().unwrap_or_default();
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("{count} containers from {threads} threads");
    println!("{} failed", failed.load(Ordering::Relaxed));
    println!("{} children left", children());
    println!(
        "{} descriptors more",
        descriptors().saturating_sub(before.1)
    );
    println!(
        "{}",
        if shared() == before.0 {
            "unchanged"
        } else {
            "changed"
        }
    );
    Ok(failed.load(Ordering::Relaxed))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, bundle, count, threads] = arguments.as_slice() else {
        return ExitCode::from(125);
    };
    let (Ok(count), Ok(threads)) = (count.parse(), threads.parse()) else {
        return ExitCode::from(125);
    };
    match run(root, bundle, count, threads) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("threads: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
