//! Runs a command in a container that runs: `exec STATE_ROOT ID COMMAND [ARGUMENT]...`.

use hostrun_runtime::{ContainerId, Error, ExecRequest, Runtime, oci_spec::runtime::Process, seal};
use std::path::Path;
use std::process::ExitCode;

/// The process is the container's own, but for its arguments: same user, environment, capabilities.
fn run(root: &str, id: &str, command: &[String]) -> Result<u8, Error> {
    // A joined process can be seen from inside before it is the command: this program's file must
    // be out of reach there. Executes it anew, once.
    seal::ensure()?;
    let container = Runtime::open(Path::new(root))?.container(&ContainerId::new(id)?)?;
    let mut process: Process = container.spec()?.process().clone().unwrap_or_default();
    process.set_args(Some(command.to_vec()));
    process.set_terminal(Some(false));
    let running = container.exec(ExecRequest::new(process))?;
    Ok(running.wait()?.status())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, id, command @ ..] = arguments.as_slice() else {
        return ExitCode::from(125);
    };
    match run(root, id, command) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "a command line speaks through it")]
            {
                eprintln!("exec: {error}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}
