//! `hostrun-remote`: talks to image registries, in a process without rights.

#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

/// Gives memory back in large pieces, and needs no locks of its own.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    match hostrun_remote::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever started us and is gone does not read this; a person does.
            let said = b"hostrun-remote is started by hostrun, and of no use without it\n";
            if error.raw_os_error() == Some(libc::ENOTSOCK) {
                std::io::stderr().write_all(said).unwrap_or_default();
            }
            ExitCode::FAILURE
        }
    }
}
