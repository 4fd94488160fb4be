//! Whether the name that was signed is one the image may have.

use crate::digest::Digest;
use crate::error::{Error, Result, quoted};
use crate::reference::Reference;

/// A name as somebody wrote it: without the tag that a missing one stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// In full, with its host.
    name: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Claim {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let reference = Reference::parse(text)?;
        let written = text.split('@').next().unwrap_or_default();
        let last = written.rsplit('/').next().unwrap_or_default();
        let tag = reference.tag().filter(|_| last.contains(':'));
        Ok(Self {
            name: reference.expanded(),
            tag: tag.map(str::to_owned),
            digest: reference.digest().cloned(),
        })
    }

    fn of(name: &Reference) -> Self {
        Self {
            name: name.expanded(),
            tag: name.tag().map(str::to_owned),
            digest: name.digest().cloned(),
        }
    }

    pub(super) fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }
}

/// Which names a signature may be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    /// The image's own name and tag.
    Exact,
    /// The same; for an image named by digest, its repository.
    RepositoryDigestOrExact,
    /// The image's repository.
    Repository,
    /// This name and tag.
    ExactReference(Claim),
    /// This repository.
    ExactRepository(String),
    /// Where the image's name begins with the one, that it is signed with the other.
    Remap { prefix: String, signed: String },
}

impl Rule {
    pub(super) fn check(
        &self,
        name: Option<&Reference>,
        signed: &Claim,
    ) -> std::result::Result<(), String> {
        let own = name.map(Claim::of);
        let fits = match (self, &own) {
            (Self::ExactReference(wanted), _) => wanted == signed,
            (Self::ExactRepository(wanted), _) => *wanted == signed.name,
            (_, None) => false,
            (Self::Exact, Some(own)) => {
                !own.is_name_only() && !signed.is_name_only() && own == signed
            }
            (Self::Repository, Some(own)) => own.name == signed.name,
            (Self::RepositoryDigestOrExact, Some(own)) => digest_or_exact(own, signed),
            (Self::Remap { prefix, signed: to }, Some(own)) => {
                digest_or_exact(&remapped(own, prefix, to), signed)
            }
        };
        if fits {
            return Ok(());
        }
        let tag = signed.tag.as_ref().map(|tag| format!(":{tag}"));
        let shown = format!("{}{}", signed.name, tag.unwrap_or_default());
        Err(format!("the signature is for another name, {shown}"))
    }
}

fn digest_or_exact(own: &Claim, signed: &Claim) -> bool {
    match (&own.tag, &own.digest) {
        _ if signed.is_name_only() => false,
        (Some(_), _) => own.name == signed.name && own.tag == signed.tag,
        (None, Some(_)) => own.name == signed.name,
        (None, None) => false,
    }
}

fn remapped(own: &Claim, prefix: &str, to: &str) -> Claim {
    let rest = own.name.strip_prefix(prefix);
    match rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        Some(rest) => Claim {
            name: format!("{to}{rest}"),
            ..own.clone()
        },
        None => own.clone(),
    }
}

/// A host, a namespace or a repository, in full: `docker.io/library`, not `library`.
pub(super) fn prefix(text: &str) -> Result<String> {
    // Two parts: with one, a host alone would be a namespace short.
    let as_name = Reference::parse(&format!("{text}/x/y"));
    let whole = as_name.ok().map(|name| name.expanded());
    let is_host = |host: &str| host == "localhost" || host.contains(['.', ':']);
    let first = text.split('/').next().unwrap_or_default();
    if is_host(first) && whole.is_some_and(|whole| whole == format!("{text}/x/y")) {
        return Ok(text.to_owned());
    }
    let cause = "not a host, namespace or repository in full";
    Err(Error::corrupt("read", quoted(text), cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(rule: &Rule, name: &str, signed: &str) -> bool {
        let (name, signed) = (
            Reference::parse(name).unwrap(),
            Claim::parse(signed).unwrap(),
        );
        rule.check(Some(&name), &signed).is_ok()
    }

    /// Names and signed names, with what each rule says of them.
    #[test]
    fn names_are_matched_as_containers_tools_match_them() {
        let digest = Digest::of(b"x");
        let by_digest = format!("a.io/x@{digest}");
        for (name, signed, exact, digest_or_exact, repository) in [
            ("a.io/x:1", "a.io/x:1", true, true, true),
            ("a.io/x:1", "a.io/x:2", false, false, true),
            ("a.io/x:1", "a.io/x", false, false, true),
            ("a.io/x", "a.io/x", false, false, true),
            ("a.io/x", "a.io/x:latest", true, true, true),
            ("a.io/x:1", "a.io/y:1", false, false, false),
            ("a.io/x:1", "a.io/x/y:1", false, false, false),
            ("b.io/x:1", "a.io/x:1", false, false, false),
            (by_digest.as_str(), "a.io/x:1", false, true, true),
            (by_digest.as_str(), "a.io/x", false, false, true),
            (by_digest.as_str(), "a.io/y:1", false, false, false),
            ("x:1", "docker.io/library/x:1", true, true, true),
            ("a.io:5000/x:1", "a.io:5000/x:1", true, true, true),
            ("a.io:5000/x:1", "a.io:5000/x", false, false, true),
        ] {
            assert_eq!(fits(&Rule::Exact, name, signed), exact, "{name} {signed}");
            let rule = Rule::RepositoryDigestOrExact;
            assert_eq!(
                fits(&rule, name, signed),
                digest_or_exact,
                "{name} {signed}"
            );
            assert_eq!(
                fits(&Rule::Repository, name, signed),
                repository,
                "{name} {signed}"
            );
        }
    }

    #[test]
    fn prefixes_end_where_parts_of_a_name_do() {
        let rule = Rule::Remap {
            prefix: "mirror.io/v".to_owned(),
            signed: "vendor.io".to_owned(),
        };
        for (name, signed, fit) in [
            ("mirror.io/v/a:1", "vendor.io/a:1", true),
            ("mirror.io/v/a:1", "vendor.io/a:2", false),
            ("mirror.io/v/a:1", "mirror.io/v/a:1", false),
            ("mirror.io/vx/a:1", "vendor.iox/a:1", false),
            ("mirror.io/vx/a:1", "mirror.io/vx/a:1", true),
            ("other.io/a:1", "other.io/a:1", true),
        ] {
            assert_eq!(fits(&rule, name, signed), fit, "{name} {signed}");
        }
        for good in [
            "a.io",
            "a.io:5000",
            "localhost",
            "docker.io",
            "docker.io/library",
            "a.io/b/c",
        ] {
            assert_eq!(prefix(good).unwrap(), good);
        }
        for bad in [
            "",
            "busybox",
            "library/x",
            "a.io/",
            "a.io/x:1",
            "a.io/X",
            "/a",
        ] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }
}
