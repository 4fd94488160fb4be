//! `containerd-shim-hostrun-v1`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    hostrun_shim::main()
}
