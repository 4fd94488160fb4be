//! What the verbs about registries share: the program that talks to them, and its options.

use crate::args::registries::Registry as Flags;
use crate::report;
use anyhow::Result;
use hostrun_image_store::{Registry, RegistryOptions};
use std::path::PathBuf;
use std::time::Duration;

/// The program's file name.
const PROGRAM: &str = "hostrun-remote";

/// Where it is installed, seen from the folder our own binary is in, and where distributions put it. It is never
/// looked for in PATH: it gets credentials.
const FOLDERS: [&str; 4] = [
    "",
    "../libexec/hostrun",
    "/usr/libexec/hostrun",
    "/usr/local/libexec/hostrun",
];

/// The program that talks to registries.
///
/// # Errors
/// When it is not installed.
pub(super) fn program() -> Result<PathBuf> {
    let own = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let folder = own.parent().unwrap_or(&own);
    let mut places = FOLDERS.iter().map(|place| folder.join(place).join(PROGRAM));
    places.find(|path| path.is_file()).ok_or_else(|| {
        let failure = report::Failure::new(format!("{PROGRAM} is not installed"));
        failure
            .hint("it is a part of hostrun, in PREFIX/libexec/hostrun, and talks to registries")
            .into()
    })
}

/// What was said about how to ask.
///
/// # Errors
/// When the credentials are none.
pub(super) fn options(flags: &Flags) -> Result<RegistryOptions> {
    let mut options = RegistryOptions::default()
        .with_patience(Duration::from_secs(flags.timeout.clamp(1, 3600)))
        .with_attempts(flags.retry.saturating_add(1));
    if let Some(file) = &flags.authfile {
        options = options.with_authfile(std::path::absolute(file)?);
    }
    if let Some(dir) = &flags.cert_dir {
        options = options.with_cert_dir(std::path::absolute(dir)?);
    }
    if let Some(verify) = flags.tls_verify {
        options = options.with_tls_verify(verify);
    }
    if let Some(words) = &flags.creds {
        let (name, password) = words
            .split_once(':')
            .ok_or_else(|| report::usage("--creds wants NAME:PASSWORD"))?;
        options = options.with_credentials(name.to_owned(), password.to_owned());
    }
    Ok(options)
}

/// Starts the program for an image, and tells what it has to say about the configuration.
///
/// # Errors
/// As [`Registry::open`].
pub(super) fn open(image: &str, options: &RegistryOptions) -> Result<Registry> {
    let registry = Registry::open(&program()?, image, options)?;
    for warning in registry.warnings() {
        report::warn(warning);
    }
    Ok(registry)
}
