//! What the verbs about registries share: the program that talks to them, and its options.

use crate::args::registries::Registry as Flags;
use crate::report;
use anyhow::Result;
use hostrun_image_store::{Registry, RegistryOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
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
    let folder = own_folder().unwrap_or_default();
    let mut places = FOLDERS.iter().map(|place| folder.join(place).join(PROGRAM));
    let is_there = |path: &PathBuf| path.is_absolute() && path.is_file();
    places.find(is_there).ok_or_else(|| {
        let failure = report::Failure::new(format!("{PROGRAM} is not installed"));
        failure
            .hint("it is a part of hostrun, in PREFIX/libexec/hostrun, and talks to registries")
            .into()
    })
}

/// The folder our own binary is in. One that was executed anew through a mount without a place (`seal`) is found
/// by the word it was called by, if the file there is the one that runs.
fn own_folder() -> Option<PathBuf> {
    let own = std::fs::metadata("/proc/self/exe").ok()?;
    let is_it = |path: &Path| {
        let file = std::fs::metadata(path);
        file.is_ok_and(|file| (file.dev(), file.ino()) == (own.dev(), own.ino()))
    };
    let word = PathBuf::from(std::env::args_os().next()?);
    let search = std::env::var_os("PATH").filter(|_| !word.as_os_str().as_bytes().contains(&b'/'));
    let searched = search.iter().flat_map(std::env::split_paths);
    let named = std::fs::read_link("/proc/self/exe").ok();
    let called = std::path::absolute(&word).ok();
    let mut places = named
        .into_iter()
        .chain(called)
        .chain(searched.map(|folder| folder.join(&word)));
    places
        .find(|path| is_it(path))?
        .parent()
        .map(Path::to_owned)
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
