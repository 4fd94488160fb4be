//! The programs in `examples` folders, which `make examples` builds.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

/// An example, found beside the running test: whatever build the binary under test is of, they are of ours.
///
/// # Errors
/// When it was not built.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = env::current_exe()?;
    // <target>/<triple>/debug/deps/<test>
    let folder = test.ancestors().nth(2).context("no target folder")?;
    let program = folder.join("examples").join(name);
    ensure!(
        program.is_file(),
        "{name} is not built: run `make examples`"
    );
    Ok(program)
}
