//! What the verbs about registries share: the program that talks to them, and its options.

use crate::args::registries::Registry as Flags;
use crate::companion;
use crate::report;
use anyhow::Result;
use hostrun_image_store::{Registry, RegistryOptions};
use std::path::PathBuf;
use std::time::Duration;

/// The program that talks to registries.
///
/// # Errors
/// When it is not installed.
pub(super) fn program() -> Result<PathBuf> {
    companion::find("hostrun-remote", "talks to registries")
}

/// What was said about how to ask.
///
/// # Errors
/// When the credentials are none.
pub(super) fn options(flags: &Flags) -> Result<RegistryOptions> {
    let mut options = RegistryOptions::default()
        .with_patience(Duration::from_secs(flags.timeout.clamp(1, 3600)))
        .with_attempts(flags.retry.min(200) + 1);
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
