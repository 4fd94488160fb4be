//! `policy.json`, containers-policy.json(5): strict where its authors are, and stricter where they
//! leave a key unread.

use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use serde::Deserialize;

use super::file;
use super::identity::{Claim, Rule, prefix};
use super::json::Unique;
use super::key::Key;
use super::places;
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::manifest::json_fault;
use crate::reference::Reference;

/// A policy whose every word is understood.
#[derive(Debug)]
pub(super) struct Policy {
    default: Vec<Requirement>,
    transports: Unique<Unique<Vec<Requirement>>>,
}

/// All of a list must be met.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Raw")]
pub(super) enum Requirement {
    Accept,
    Reject,
    /// Understood, but not something we can check: whatever it applies to is refused.
    Unsupported(Beyond),
    Sigstore(Sigstore),
}

/// What policies may ask and we cannot check: keys on this host are all we go by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Beyond {
    Gpg,
    Certificate,
    Log,
    BaseLayer,
}

impl Beyond {
    /// As messages call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gpg => "a GPG signature (signedBy)",
            Self::Certificate => "a certificate (fulcio, pki)",
            Self::Log => "an entry in a log (rekor)",
            Self::BaseLayer => "a signed base layer",
        }
    }
}

/// A signature by one of these keys, for a name by this rule.
#[derive(Debug)]
pub(super) struct Sigstore {
    keys: Vec<KeySource>,
    pub(super) identity: Rule,
}

#[derive(Debug)]
enum KeySource {
    Path(PathBuf),
    Pem(Vec<u8>),
}

impl Sigstore {
    /// The keys, read now: one that is missing or no key refuses whatever it was to vouch for.
    pub(super) fn keys(&self) -> Result<Vec<Key>> {
        let read = |source: &KeySource| match source {
            KeySource::Path(path) => {
                let pem = file::read(path)?;
                Key::parse(&pem).map_err(|error| error.within(&quoted(path)))
            }
            KeySource::Pem(pem) => Key::parse(pem),
        };
        self.keys.iter().map(read).collect()
    }
}

/// A whole policy, which has a default, or a drop-in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    default: Option<Vec<Requirement>>,
    #[serde(default)]
    transports: Unique<Unique<Vec<Requirement>>>,
}

/// Every key any requirement has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    #[serde(rename = "type")]
    kind: String,
    key_type: Option<String>,
    key_path: Option<PathBuf>,
    key_paths: Option<Vec<PathBuf>>,
    key_data: Option<String>,
    key_datas: Option<Vec<String>>,
    signed_identity: Option<RawIdentity>,
    base_layer_identity: Option<RawIdentity>,
    fulcio: Option<Unique<serde::de::IgnoredAny>>,
    pki: Option<Unique<serde::de::IgnoredAny>>,
    rekor_public_key_path: Option<PathBuf>,
    rekor_public_key_paths: Option<Vec<PathBuf>>,
    rekor_public_key_data: Option<String>,
    rekor_public_key_datas: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawIdentity {
    #[serde(rename = "type")]
    kind: String,
    docker_reference: Option<String>,
    docker_repository: Option<String>,
    prefix: Option<String>,
    signed_prefix: Option<String>,
}

impl TryFrom<Raw> for Requirement {
    type Error = Error;

    fn try_from(raw: Raw) -> Result<Self> {
        let keys = raw.keys()?;
        let has_identity = raw.signed_identity.is_some();
        let online = raw.fulcio.is_some() || raw.pki.is_some();
        let rekor = raw.rekor_public_key_path.is_some()
            || raw.rekor_public_key_paths.is_some()
            || raw.rekor_public_key_data.is_some()
            || raw.rekor_public_key_datas.is_some();
        let sigstore_only = online || rekor || raw.key_datas.is_some();
        let none = keys.is_empty()
            && raw.key_type.is_none()
            && !has_identity
            && !sigstore_only
            && raw.base_layer_identity.is_none();
        match raw.kind.as_str() {
            "insecureAcceptAnything" if none => Ok(Self::Accept),
            "reject" if none => Ok(Self::Reject),
            "signedBy" if !sigstore_only && raw.base_layer_identity.is_none() => {
                raw.signed_identity.map(Rule::try_from).transpose()?;
                match raw.key_type.as_deref() {
                    Some("GPGKeys") if !keys.is_empty() => Ok(Self::Unsupported(Beyond::Gpg)),
                    _ => Err(faulty(&raw.kind, "it needs keyType GPGKeys and a key")),
                }
            }
            "signedBaseLayer" if keys.is_empty() && !sigstore_only && !has_identity => {
                raw.base_layer_identity.map(Rule::try_from).transpose()?;
                Ok(Self::Unsupported(Beyond::BaseLayer))
            }
            "sigstoreSigned" if raw.key_type.is_none() && raw.base_layer_identity.is_none() => {
                let identity = raw.signed_identity.map(Rule::try_from).transpose()?;
                match (keys.is_empty(), online, rekor) {
                    (true, false, _) | (false, true, _) => Err(faulty(
                        &raw.kind,
                        "it needs keys, fulcio or pki, one of them",
                    )),
                    (true, true, _) => Ok(Self::Unsupported(Beyond::Certificate)),
                    (false, false, true) => Ok(Self::Unsupported(Beyond::Log)),
                    (false, false, false) => Ok(Self::Sigstore(Sigstore {
                        keys,
                        identity: identity.unwrap_or(Rule::RepositoryDigestOrExact),
                    })),
                }
            }
            "insecureAcceptAnything"
            | "reject"
            | "signedBy"
            | "signedBaseLayer"
            | "sigstoreSigned" => Err(faulty(&raw.kind, "it has keys of another requirement")),
            _ => Err(faulty(&raw.kind, "not a requirement")),
        }
    }
}

impl Raw {
    /// The keys, of which there is one place only.
    fn keys(&self) -> Result<Vec<KeySource>> {
        let path = |path: &PathBuf| {
            // Relative to what, where many programs read one policy?
            if path.is_absolute() {
                return Ok(KeySource::Path(path.clone()));
            }
            let cause = format!("the path of key {} is not absolute", quoted(path));
            Err(faulty(&self.kind, &cause))
        };
        let data = |data: &String| {
            let pem = Base64::decode_vec(data);
            let pem = pem.map_err(|_bad| faulty(&self.kind, "a key is not base64"))?;
            Ok(KeySource::Pem(pem))
        };
        let lists: [Option<Result<Vec<KeySource>>>; 4] = [
            self.key_path
                .iter()
                .map(path)
                .map(|key| key.map(|key| vec![key]))
                .next(),
            self.key_paths
                .as_ref()
                .map(|paths| paths.iter().map(path).collect()),
            self.key_data
                .iter()
                .map(data)
                .map(|key| key.map(|key| vec![key]))
                .next(),
            self.key_datas
                .as_ref()
                .map(|datas| datas.iter().map(data).collect()),
        ];
        let mut given = lists.into_iter().flatten();
        let keys = given.next().unwrap_or_else(|| Ok(Vec::new()))?;
        if given.next().is_some() {
            return Err(faulty(&self.kind, "it names keys in more than one way"));
        }
        let is_named = self.key_paths.is_some() || self.key_datas.is_some();
        if is_named && keys.is_empty() {
            return Err(faulty(&self.kind, "an empty list of keys"));
        }
        Ok(keys)
    }
}

impl TryFrom<RawIdentity> for Rule {
    type Error = Error;

    fn try_from(raw: RawIdentity) -> Result<Self> {
        let given = (
            raw.docker_reference,
            raw.docker_repository,
            raw.prefix,
            raw.signed_prefix,
        );
        match (raw.kind.as_str(), given) {
            ("matchExact", (None, None, None, None)) => Ok(Self::Exact),
            ("matchRepoDigestOrExact", (None, None, None, None)) => {
                Ok(Self::RepositoryDigestOrExact)
            }
            ("matchRepository", (None, None, None, None)) => Ok(Self::Repository),
            ("exactReference", (Some(name), None, None, None)) => {
                let claim = Claim::parse(&name)?;
                if claim.is_name_only() {
                    return Err(faulty(
                        &raw.kind,
                        "dockerReference has neither tag nor digest",
                    ));
                }
                Ok(Self::ExactReference(claim))
            }
            ("exactRepository", (None, Some(name), None, None)) => {
                let reference = Reference::parse(&name)?;
                Ok(Self::ExactRepository(reference.expanded()))
            }
            ("remapIdentity", (None, None, Some(from), Some(to))) => Ok(Self::Remap {
                prefix: prefix(&from)?,
                signed: prefix(&to)?,
            }),
            _ => Err(faulty(
                &raw.kind,
                "not a signedIdentity, or one with other keys",
            )),
        }
    }
}

fn faulty(kind: &str, cause: &str) -> Error {
    Error::corrupt("read", quoted(kind), cause)
}

pub(super) fn read(path: &Path) -> Result<Policy> {
    let bytes = file::read(path)?;
    parse(&bytes).map_err(|error| error.within(&quoted(path)))
}

/// The host's policy with its drop-ins, and the files it is made of, for messages; none where no file is.
pub(super) fn of_host(root: &Path) -> Result<Option<(Policy, String)>> {
    let names = [
        "etc/hostrun/policy.json",
        "etc/containers/policy.json",
        "usr/lib/hostrun/policy.json",
    ];
    let whole = places::first(root, &names)?;
    let drop_ins = places::drop_ins(root, "policy.d")?;
    let mut told = Vec::new();
    let mut policy = None;
    let is_whole = whole.is_some();
    let files = whole.into_iter().chain(drop_ins);
    for (index, (path, text)) in files.enumerate() {
        let within = |error: Error| error.within(&quoted(&path));
        let document = document(&text).map_err(within)?;
        // What drop-ins say must not make up for a policy that is not whole.
        if is_whole && index == 0 && document.default.is_none() {
            return Err(within(no_default()));
        }
        policy = Some(match policy {
            Some(before) => amended(before, document),
            None => document,
        });
        told.push(quoted(&path));
    }
    let Some(policy) = policy else {
        return Ok(None);
    };
    let told = told.join(", ");
    let policy = Policy::try_from(policy).map_err(|error| error.within(&told))?;
    Ok(Some((policy, told)))
}

/// What a drop-in says of the default or of a scope counts instead of what was said of it before.
fn amended(mut before: Document, by: Document) -> Document {
    before.default = by.default.or(before.default);
    for (transport, scopes) in by.transports.0 {
        let known = before.transports.0.entry(transport).or_default();
        known.0.extend(scopes.0);
    }
    before
}

pub(super) fn parse(bytes: &[u8]) -> Result<Policy> {
    Policy::try_from(document(bytes)?)
}

fn document(bytes: &[u8]) -> Result<Document> {
    let document: Document =
        serde_json::from_slice(bytes).map_err(|error| json_fault(&error).within("policy"))?;
    let lists = document
        .transports
        .0
        .values()
        .flat_map(|scopes| scopes.0.values());
    if lists.chain(&document.default).any(Vec::is_empty) {
        let cause = "a list of requirements is empty";
        return Err(Error::new(ErrorKind::Corrupt, "read", "policy", cause));
    }
    for (transport, scopes) in &document.transports.0 {
        for scope in scopes.0.keys() {
            check_scope(transport, scope)?;
        }
    }
    Ok(document)
}

impl TryFrom<Document> for Policy {
    type Error = Error;

    fn try_from(document: Document) -> Result<Self> {
        Ok(Self {
            default: document.default.ok_or_else(no_default)?,
            transports: document.transports,
        })
    }
}

fn no_default() -> Error {
    Error::corrupt("read", "policy", "missing field `default`")
}

/// A scope that no image can be in is a mistake that leaves images to a wider one. What scopes the
/// transports have that we do not know, we do not know either.
fn check_scope(transport: &str, scope: &str) -> Result<()> {
    let good = match transport {
        _ if scope.is_empty() => true,
        "docker" | "atomic" => {
            let star = scope.strip_prefix("*.").unwrap_or(scope);
            !star.contains('*') && !scope.starts_with('/') && !scope.ends_with('/')
        }
        "dir" | "oci" | "oci-archive" => {
            let path = scope.strip_prefix('/');
            let part = |part: &str| !part.is_empty() && part != "." && part != "..";
            path.is_some_and(|path| path.split('/').all(part))
        }
        "docker-archive" | "tarball" => false,
        _ => true,
    };
    if good {
        return Ok(());
    }
    let cause = format!("no image is in the scope {} of it", quoted(scope));
    Err(Error::corrupt(
        "read",
        format!("policy, transport {}", quoted(transport)),
        cause,
    ))
}

impl Policy {
    /// What is asked in the first of these scopes that the policy knows.
    pub(super) fn requirements(&self, transport: &str, scopes: &[String]) -> &[Requirement] {
        let known = self.transports.0.get(transport);
        let found = known.and_then(|known| scopes.iter().find_map(|scope| known.0.get(scope)));
        found.unwrap_or(&self.default)
    }
}

#[cfg(test)]
mod tests;
