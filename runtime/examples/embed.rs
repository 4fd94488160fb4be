//! Runs a bundle from a program of one's own: `embed STATE_ROOT BUNDLE ID`.

use hostrun_runtime::{Bundle, ContainerId, Request, Runtime};
use std::path::Path;
use std::process::ExitCode;

fn run(root: &str, bundle: &str, id: &str) -> Result<u8, hostrun_runtime::Error> {
    let runtime = Runtime::open(Path::new(root))?;
    let id = ContainerId::new(id)?;
    let created = runtime.create(&id, Request::from_bundle(Bundle::load(Path::new(bundle))?))?;
    // Created > Running > Stopped: each is made of the one before.
    let stopped = created.start()?.into_stopped()?;
    let exit = stopped.exit();
    for warning in stopped.delete()?.warnings() {
        #[allow(clippy::print_stderr, reason = "a command line speaks through it")]
        {
            eprintln!("embed: {warning}");
        }
    }
    Ok(exit.status())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, bundle, id] = arguments.as_slice() else {
        return ExitCode::from(125);
    };
    match run(root, bundle, id) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "a command line speaks through it")]
            {
                eprintln!("embed: {error}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}
