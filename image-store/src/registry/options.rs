//! How a registry is asked.

use std::path::PathBuf;
use std::time::Duration;

use super::wire::{Purpose, Setup};
use crate::load::{Progress, Reporter};

/// How a registry is asked. What is not set here is what the files of podman and docker say.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    pub(super) purpose: Purpose,
    authfile: Option<PathBuf>,
    credentials: Option<(String, String)>,
    cert_dir: Option<PathBuf>,
    tls_verify: Option<bool>,
    patience: Duration,
    attempts: u32,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            purpose: Purpose::Pull,
            authfile: None,
            credentials: None,
            cert_dir: None,
            tls_verify: None,
            patience: Duration::from_mins(1),
            attempts: 6,
        }
    }
}

impl RegistryOptions {
    /// To send an image rather than to get one: other rights are asked for, and mirrors left out.
    #[must_use]
    pub fn for_push(mut self) -> Self {
        self.purpose = Purpose::Push;
        self
    }

    /// Credentials are in this file, in the form of docker's `config.json`.
    #[must_use]
    pub fn with_authfile(mut self, file: PathBuf) -> Self {
        self.authfile = Some(file);
        self
    }

    /// A name and a password for the registry itself; mirrors do not get them.
    #[must_use]
    pub fn with_credentials(mut self, name: String, password: String) -> Self {
        self.credentials = Some((name, password));
        self
    }

    /// A folder with `*.crt`, `*.cert` and `*.key`, as `certs.d` has one for each registry.
    #[must_use]
    pub fn with_cert_dir(mut self, dir: PathBuf) -> Self {
        self.cert_dir = Some(dir);
        self
    }

    /// Whether the registry has to prove who it is. One that need not may also speak plain HTTP.
    #[must_use]
    pub fn with_tls_verify(mut self, verify: bool) -> Self {
        self.tls_verify = Some(verify);
        self
    }

    /// How long a registry may say nothing, or next to nothing, before that attempt is over: a minute
    /// unless told.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How often each thing is asked for: six times unless told.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    pub(super) fn setup(&self, image: &str, purpose: Purpose) -> Setup {
        Setup {
            image: image.to_owned(),
            purpose,
            authfile: self.authfile.clone(),
            credentials: self.credentials.clone(),
            cert_dir: self.cert_dir.clone(),
            tls_verify: self.tls_verify,
            patience: self.patience,
            attempts: self.attempts,
        }
    }
}

/// How an image is pushed.
#[derive(Debug, Clone)]
pub struct PushOptions {
    pub(crate) gzip: bool,
    progress: Reporter,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self {
            gzip: true,
            progress: Reporter::default(),
        }
    }
}

impl PushOptions {
    /// Whether layers are compressed; they are unless told.
    #[must_use]
    pub fn with_gzip(mut self, yes: bool) -> Self {
        self.gzip = yes;
        self
    }

    /// Calls this as the push goes on.
    #[must_use]
    pub fn with_progress(mut self, call: impl Fn(&Progress<'_>) + Send + Sync + 'static) -> Self {
        self.progress = Reporter::new(call);
        self
    }

    pub(crate) fn report(&self, progress: &Progress<'_>) {
        self.progress.report(progress);
    }
}
