//! Which images this host lets in: signatures by `policy.json` as containers' tools read it, and
//! digests that names are pinned to.
//!
//! The question is asked when the documents of an image are read and verified, before any layer is:
//! a refused image leaves nothing, and what is asked about is the digest of bytes this process has
//! hashed itself. `docs/signatures.md` is the description for people.

mod attachment;
mod file;
mod identity;
mod json;
mod key;
mod payload;
mod pins;
mod places;
mod policy;
mod scope;

use std::path::{Path, PathBuf};

pub(crate) use attachment::{is_attachment, signatures};
pub(crate) use scope::{Origin, Transport};

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::reference::Reference;
use key::Key;
use payload::Payload;
use pins::Pins;
use policy::{Policy, Requirement, Sigstore};

/// What a host demands of the images it lets in.
///
/// Read anew for each load: a long-lived process goes by the files as they are.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Below which `etc/hostrun` and the others are; none for no demands at all.
    root: Option<PathBuf>,
    policy: Option<PathBuf>,
}

impl Trust {
    /// No demands: every image whose digests fit is let in. What [`Store::open`](crate::Store::open)
    /// starts with.
    pub fn none() -> Self {
        Self::default()
    }

    /// The demands of the host whose files are below this directory, `/` for our own: `policy.json` with
    /// `policy.d/*.json`, and `pins.json` with `pins.d/*.json`, in `etc/hostrun` and `usr/lib/hostrun`
    /// (`docs/configuration.md`).
    pub fn of_host(root: &Path) -> Self {
        Self {
            root: Some(root.to_owned()),
            policy: None,
        }
    }

    /// Goes by this policy instead of the host's. It must be there.
    #[must_use]
    pub fn with_policy(mut self, file: &Path) -> Self {
        self.policy = Some(file.to_owned());
        self
    }

    /// The files as they are now.
    pub(crate) fn read(&self) -> Result<Demands> {
        let (policy, told_as) = match &self.policy {
            Some(path) => (Some(policy::read(path)?), Some(crate::error::quoted(path))),
            None => match &self.root {
                Some(root) => policy::of_host(root)?.unzip(),
                None => (None, None),
            },
        };
        Ok(Demands {
            policy,
            told_as: told_as.unwrap_or_default(),
            pins: match &self.root {
                Some(root) => Pins::read(root)?,
                None => Pins::default(),
            },
        })
    }
}

/// What is to be let in: all of it verified by us.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) origin: &'a Origin,
    /// The name within its layout.
    pub(crate) label: Option<&'a str>,
    /// The names it would have.
    pub(crate) names: &'a [Reference],
    /// The documents that led to the manifest, which is the last; none for docker archives.
    pub(crate) lineage: &'a [Digest],
    pub(crate) config: &'a Digest,
}

/// A signature as cosign keeps it: the signed bytes, and what they are signed with in base64.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: String,
}

/// The signatures of an image, and what is wrong with those that are none.
pub(crate) type Signatures = Vec<Result<Signature>>;

/// The files of a [`Trust`], read.
#[derive(Debug)]
pub(crate) struct Demands {
    policy: Option<Policy>,
    /// The policy's files, for messages.
    told_as: String,
    pins: Pins,
}

impl Demands {
    /// Refuses what may not be let in. Signatures are fetched if they can change the answer.
    pub(crate) fn check(
        &self,
        subject: &Subject<'_>,
        fetch: &mut dyn FnMut() -> Result<Signatures>,
    ) -> Result<()> {
        for name in subject.names {
            let digests = subject.lineage.iter().chain([subject.config]);
            self.pins.check(name, digests)?;
        }
        let mut found = None;
        if subject.names.is_empty() {
            // What has no name comes from somewhere all the same.
            return self.check_policy(subject, None, &mut found, fetch);
        }
        subject
            .names
            .iter()
            .try_for_each(|name| self.check_policy(subject, Some(name), &mut found, fetch))
    }

    fn check_policy(
        &self,
        subject: &Subject<'_>,
        name: Option<&Reference>,
        found: &mut Option<Signatures>,
        fetch: &mut dyn FnMut() -> Result<Signatures>,
    ) -> Result<()> {
        for requirement in self.requirements(subject, name) {
            match requirement {
                Requirement::Accept => {}
                Requirement::Reject => return Err(self.refused(name, "the policy rejects it")),
                Requirement::Unsupported(what) => {
                    let what = what.name();
                    let cause = format!("the policy asks for {what}, which hostrun cannot check");
                    return Err(self.refused(name, &cause));
                }
                Requirement::Sigstore(demand) => {
                    if found.is_none() && !subject.lineage.is_empty() {
                        *found = Some(fetch()?);
                    }
                    let found = found.as_deref().unwrap_or_default();
                    self.check_signed(subject, name, demand, found)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a name may be given to what has these digests.
    pub(crate) fn check_name<'a>(
        &self,
        name: &Reference,
        digests: impl Iterator<Item = &'a Digest>,
    ) -> Result<()> {
        self.pins.check(name, digests)
    }

    fn requirements(&self, subject: &Subject<'_>, name: Option<&Reference>) -> &[Requirement] {
        let Some(policy) = &self.policy else {
            return &[];
        };
        let transport = subject.origin.transport.name();
        policy.requirements(transport, &subject.origin.scopes(subject.label, name))
    }

    /// One good signature is enough.
    fn check_signed(
        &self,
        subject: &Subject<'_>,
        name: Option<&Reference>,
        demand: &Sigstore,
        signatures: &[Result<Signature>],
    ) -> Result<()> {
        let keys = demand.keys()?;
        let mut flaw = None;
        for signature in signatures {
            let verdict = match signature {
                Ok(signature) => verdict(subject, name, demand, &keys, signature),
                Err(error) => Err(error.to_string()),
            };
            match verdict {
                Ok(()) => return Ok(()),
                Err(cause) => flaw = flaw.or(Some(cause)),
            }
        }
        let more = match signatures.len() {
            0 | 1 => String::new(),
            count => format!(" ({count} signatures, none of them good)"),
        };
        let cause = match flaw {
            Some(flaw) => format!("{flaw}{more}"),
            None if subject.lineage.is_empty() => {
                format!("{} carries no signatures", subject.origin.transport.told())
            }
            None => "it is not signed".to_owned(),
        };
        Err(self.refused(name, &cause))
    }

    fn refused(&self, name: Option<&Reference>, cause: &str) -> Error {
        let subject = match name {
            Some(name) => format!("image {name}"),
            None => "image".to_owned(),
        };
        let cause = format!("{cause} (policy {})", self.told_as);
        Error::new(ErrorKind::Refused, "let in", subject, cause)
    }
}

/// Whether a signature is one of the keys', says this image, and may say it of this name.
fn verdict(
    subject: &Subject<'_>,
    name: Option<&Reference>,
    demand: &Sigstore,
    keys: &[Key],
    signature: &Signature,
) -> std::result::Result<(), String> {
    // Nothing of the payload is read before it is known who wrote it.
    if !keys.iter().any(|key| key.verify(signature)) {
        return Err("a signature is not by a key of the policy".to_owned());
    }
    let payload = Payload::parse(&signature.payload).map_err(|error| error.to_string())?;
    if !subject.lineage.contains(&payload.digest) {
        return Err(format!(
            "the signature is of another image, {}",
            payload.digest
        ));
    }
    demand.identity.check(name, &payload.reference)
}

/// For the fuzzers: a file that is understood as both a policy and pins would be a mistake of ours.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz_policy(json: &[u8]) {
    assert!(policy::parse(json).is_err() || pins::parse(json).is_err());
}

/// For the fuzzers: the digest of a payload.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz_signature(bytes: &[u8]) -> Option<String> {
    drop(attachment::layers(bytes));
    drop(Key::parse(bytes));
    let payload = Payload::parse(bytes).ok()?;
    Some(payload.digest.to_string())
}
