//! Starts containers from one process that stays, as a shim or a server does, and says what each
//! start took: `serve STATE_ROOT BUNDLE ID`.
//!
//! One start for each byte read from standard input: `r` from nothing, `p` of a container that was
//! created before. The payload is to write the time (`CLOCK_MONOTONIC`, eight bytes, nanoseconds) to
//! its standard output first of all. Each answer is a line, `FIRST TOTAL`: nanoseconds until that
//! time, and until nothing is left of the container.

use hostrun_runtime::{Bundle, ContainerId, Error, Request, Running, Runtime, Stdio, Stream};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::time::{ClockId, clock_gettime};
use std::error::Error as StdError;
use std::fs::File;
use std::io::{Read, Write, stdin, stdout};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// Starts it. Time is counted from the call, or from the trigger where the container was parked.
fn start(
    runtime: &Runtime,
    bundle: &Path,
    id: &ContainerId,
    parked: bool,
    output: OwnedFd,
) -> Result<(Running, u64), Error> {
    let begin = now();
    let request = Request::from_bundle(Bundle::load(bundle)?).with_stdio(Stdio {
        stdin: Stream::Null,
        stdout: Stream::Fd(output),
        stderr: Stream::Inherit,
    });
    if !parked {
        return Ok((runtime.run(id, request)?, begin));
    }
    let created = runtime.create(id, request.with_line())?;
    let begin = now();
    Ok((created.start()?, begin))
}

fn one(
    runtime: &Runtime,
    bundle: &Path,
    id: &ContainerId,
    parked: bool,
) -> Result<(u64, u64), Box<dyn StdError>> {
    let (output, end) = pipe_with(PipeFlags::CLOEXEC)?;
    let (running, begin) = start(runtime, bundle, id, parked, end)?;
    let mut first = [0; 8];
    File::from(output).read_exact(&mut first)?;
    running.wait()?;
    let deleted = runtime.container(id)?.delete(false)?;
    if let Some(warning) = deleted.warnings().first() {
        return Err(warning.to_string().into());
    }
    let first = u64::from_ne_bytes(first).saturating_sub(begin);
    Ok((first, now().saturating_sub(begin)))
}

fn serve(root: &str, bundle: &str, id: &str) -> Result<(), Box<dyn StdError>> {
    let runtime = Runtime::open(Path::new(root))?;
    let id = ContainerId::new(id)?;
    for asked in stdin().lock().bytes() {
        let (first, total) = one(&runtime, Path::new(bundle), &id, asked? == b'p')?;
        let mut out = stdout().lock();
        writeln!(out, "{first} {total}")?;
        out.flush()?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, bundle, id] = arguments.as_slice() else {
        return ExitCode::from(125);
    };
    match serve(root, bundle, id) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "a command line speaks through it")]
            {
                eprintln!("serve: {error}");
            }
            ExitCode::FAILURE
        }
    }
}
