//! What every container of a state root uses: `stats STATE_ROOT`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line speaks through them"
)]

use hostrun_runtime::{Error, Runtime, Status};
use std::path::Path;
use std::process::ExitCode;

fn run(root: &str) -> Result<(), Error> {
    for container in Runtime::open(Path::new(root))?.containers()? {
        let state = container.state()?;
        if state.status == Status::Stopped {
            println!("{}: stopped", state.id);
            continue;
        }
        let stats = container.stats()?;
        let processes = container.pids()?.len();
        let cpu = stats.cpu.map_or(0, |cpu| cpu.usage_usec / 1000);
        // `None` where this machine has no such controller.
        let memory = match stats.memory {
            Some(memory) => format!("{} KiB", memory.current >> 10),
            None => "unknown".to_owned(),
        };
        println!(
            "{}: {processes} processes, {cpu} ms of processor, memory {memory}",
            state.id
        );
    }
    Ok(())
}

fn main() -> ExitCode {
    let Some(root) = std::env::args().nth(1) else {
        return ExitCode::from(125);
    };
    match run(&root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stats: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
