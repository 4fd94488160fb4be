//! Registries, as far as the store knows them: a process without rights that talks to one, and answers of
//! which nothing is believed.
//!
//! The network, its protocols and its formats are the business of `hostrun-remote`, a program of its own
//! (`docs/decisions/0010`). What comes from there is bounded and verified here, byte for byte, as what
//! comes from a file.

mod answer;
mod claim;
mod options;
pub mod wire;

pub(crate) use answer::Answer;
#[cfg(feature = "fuzzing")]
pub(crate) use answer::fuzz as fuzz_answer;
pub(crate) use claim::{Arrival, Claim};
pub use options::{PushOptions, RegistryOptions};

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::candidate::Blob;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{At, Error, ErrorKind, Result, quoted};
use crate::manifest::Descriptor;
use crate::reference::Reference;
use wire::{Ask, Document, Fault, Hint, Kind, Manifest, Purpose, Ready, Setup, Stored, Trouble};

/// How much longer than the program itself we wait for it, for it bounds every wait and says when one
/// begins.
const GRACE: Duration = Duration::from_secs(30);

/// A registry that can be asked, and the image it is to be asked for.
#[derive(Debug, Clone)]
pub struct Registry {
    link: Arc<Link>,
    image: Reference,
    warnings: Vec<String>,
}

/// The process and the socket to it.
#[derive(Debug)]
struct Link {
    control: OwnedFd,
    process: Child,
    silence: Duration,
}

impl Drop for Link {
    fn drop(&mut self) {
        // It ends by itself when we are gone; here nobody waits to see whether it is well behaved.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Registry {
    /// Starts `hostrun-remote` for an image.
    ///
    /// The program reads configuration, certificates and credentials with the caller's rights and
    /// environment, drops them, and only then touches the network.
    ///
    /// # Errors
    /// `NotFound` without the program, `Invalid` for a name or a configuration that makes no sense,
    /// `Denied` for a registry that the configuration blocks, `Network`, `Io`.
    pub fn open(program: &Path, image: &str, options: &RegistryOptions) -> Result<Self> {
        let opened = Link::open(program, &options.setup(image, options.purpose));
        let (link, ready) = opened.map_err(|error| error.within(&quoted(image)))?;
        Ok(Self {
            image: Reference::parse(&ready.image)?,
            warnings: ready.warnings,
            link: Arc::new(link),
        })
    }

    /// Proves credentials to a registry, and keeps them where tools for containers look for them.
    ///
    /// # Errors
    /// `Denied` when the registry does not take them, and as [`Registry::open`].
    pub fn login(program: &Path, registry: &str, options: &RegistryOptions) -> Result<()> {
        let login = || {
            let (link, _ready) = Link::open(program, &options.setup(registry, Purpose::Login))?;
            link.ask(&Ask::Login, &[])?.end(&mut |_pause, _cause| {})?;
            drop(link);
            Link::open(program, &options.setup(registry, Purpose::Keep)).map(drop)
        };
        login().map_err(|error| error.within(&quoted(registry)))
    }

    /// Forgets credentials.
    ///
    /// # Errors
    /// `NotFound` when there are none, `Io`.
    pub fn logout(program: &Path, registry: &str, options: &RegistryOptions) -> Result<()> {
        let forgotten = Link::open(program, &options.setup(registry, Purpose::Forget));
        forgotten
            .map(drop)
            .map_err(|error| error.within(&quoted(registry)))
    }

    /// The image's whole name.
    pub fn image(&self) -> &Reference {
        &self.image
    }

    /// What a person should know of the configuration, each one line.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The socket on which questions are asked.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.link.control.as_fd()
    }

    /// An index or manifest and what the registry calls it; its digest is checked where it was asked for
    /// by one.
    pub(crate) fn manifest(
        &self,
        which: Manifest,
        limit: u64,
        on_wait: &mut dyn FnMut(Duration, &str),
    ) -> Result<(Blob, Option<String>)> {
        let expected = match &which {
            Manifest::Digest(digest) => Some(digest.clone()),
            Manifest::Named => self.image.digest().cloned(),
            Manifest::Tag(_) => None,
        };
        let mut answer = self.link.ask(&Ask::Manifest(which), &[])?;
        let document: Document = answer.head(on_wait)?;
        let bytes = answer.whole(limit, on_wait)?;
        let algorithm = expected.as_ref().map(Digest::algorithm);
        let mut hasher = Hasher::new(algorithm.unwrap_or(Algorithm::Sha256));
        hasher.update(&bytes);
        let digest = hasher.finish();
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            let cause = format!("digest does not fit, the bytes are {digest}");
            return Err(Error::corrupt(
                "verify",
                format!("manifest {expected}"),
                cause,
            ));
        }
        Ok((Blob { digest, bytes }, document.media_type))
    }

    /// A small blob, whole and unverified.
    pub(crate) fn small(
        &self,
        descriptor: &Descriptor,
        limit: u64,
        on_wait: &mut dyn FnMut(Duration, &str),
    ) -> Result<Vec<u8>> {
        let mut answer = self.blob(&descriptor.digest, descriptor.size, 0)?;
        answer.whole(limit, on_wait)
    }

    /// A blob from a byte on.
    pub(crate) fn blob(&self, digest: &Digest, size: u64, offset: u64) -> Result<Answer> {
        let digest = digest.clone();
        self.link.ask(
            &Ask::Blob {
                digest,
                size,
                offset,
            },
            &[],
        )
    }

    /// Whether the registry has a blob, be it that it took it from another of its repositories.
    pub(crate) fn has(
        &self,
        digest: &Digest,
        mount: Option<&str>,
        on_wait: &mut dyn FnMut(Duration, &str),
    ) -> Result<bool> {
        let question = Ask::Exists {
            digest: digest.clone(),
            mount: mount.map(str::to_owned),
        };
        let mut answer = self.link.ask(&question, &[])?;
        let stored: Stored = answer.head(on_wait)?;
        Ok(stored.was_there)
    }

    /// Asks for something that gets a file of ours.
    pub(crate) fn give(&self, question: &Ask, file: BorrowedFd<'_>) -> Result<Answer> {
        self.link.ask(question, &[file])
    }
}

impl Link {
    fn open(program: &Path, setup: &Setup) -> Result<(Self, Ready)> {
        let (control, theirs) = wire::pair().at("make socket", "")?;
        let spawned = Command::new(program)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = spawned.map_err(|error| {
            let failed = Error::from_io("start", quoted(program), error);
            failed.with_hint("it is installed with hostrun: registries need it")
        })?;
        let silence = setup.patience.saturating_add(GRACE);
        let link = Self {
            control,
            process,
            silence,
        };
        // Credential helpers may ask a person, and take long.
        link.be_patient(link.control.as_fd())?;
        wire::ask(&link.control, setup, &[]).at("ask", program)?;
        let mut answer = Answer::new(link.control.try_clone().at("open", "socket")?, link.silence);
        let ready = answer.head(&mut |_pause, _cause| {})?;
        Ok((link, ready))
    }

    fn be_patient(&self, socket: BorrowedFd<'_>) -> Result<()> {
        set_socket_timeout(socket, Timeout::Recv, Some(self.silence)).at("set up", "socket")
    }

    fn ask(&self, question: &Ask, files: &[BorrowedFd<'_>]) -> Result<Answer> {
        let (ours, theirs) = wire::pair().at("make socket", "")?;
        self.be_patient(ours.as_fd())?;
        let descriptors: Vec<BorrowedFd<'_>> = [theirs.as_fd()]
            .into_iter()
            .chain(files.iter().copied())
            .collect();
        let asked = wire::ask(&self.control, question, &descriptors);
        asked.map_err(|_gone| gone())?;
        Ok(Answer::new(ours, self.silence))
    }
}

/// The process has ended, whatever it was.
fn gone() -> Error {
    let cause = "hostrun-remote has ended before its time";
    Error::new(ErrorKind::Network, "ask", "", cause)
}

/// What the program could not do, as an error of ours.
fn failure(trouble: &Trouble) -> Error {
    let kind = match trouble.fault {
        Fault::Invalid => ErrorKind::Invalid,
        Fault::NotFound => ErrorKind::NotFound,
        Fault::Denied => ErrorKind::Denied,
        Fault::Network => ErrorKind::Network,
        Fault::Unsupported => ErrorKind::Unsupported,
        Fault::TooLarge => ErrorKind::TooLarge,
    };
    let cause: String = trouble.cause.chars().flat_map(shown).take(400).collect();
    let error = Error::new(kind, "ask", "", cause);
    match trouble.hint {
        None => error,
        Some(Hint::Login) => error.with_hint("'hostrun login REGISTRY' keeps a name and password"),
        Some(Hint::Certificate) => error.with_hint(
            "put its authority into /etc/containers/certs.d/HOST/ca.crt; --tls-verify=false goes without",
        ),
        Some(Hint::Plain) => error.with_hint("--tls-verify=false also takes one without TLS"),
        Some(Hint::Qualify) => error.with_hint("write the registry before the name: HOST/NAME"),
        Some(Hint::Configuration) => error.with_hint("docs/registries.md says what is understood"),
    }
}

/// A character as it may be shown on a terminal.
fn shown(c: char) -> impl Iterator<Item = char> {
    let plain = !c.is_control();
    let escaped = (!plain).then(|| c.escape_debug());
    plain
        .then_some(c)
        .into_iter()
        .chain(escaped.into_iter().flatten())
}

/// Whether a message is one that may come before the thing itself.
fn is_aside(kind: Kind) -> bool {
    matches!(kind, Kind::Wait)
}
