//! Image names: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`, with docker's grammar and defaults.
//!
//! A name has one spelling in the store, the short one: `docker.io/library/alpine:latest`,
//! `docker.io/alpine` and `alpine` are all `alpine:latest`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};

/// Longest name in bytes. A name is one file name in the store, and `NAME_MAX` is 255.
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;
/// The registry of names without one.
const HUB: &str = "docker.io";

/// A checked, normalised image name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    name: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads a name; a missing tag becomes `latest` unless a digest is given.
    ///
    /// # Errors
    /// `Invalid` when the text is not a name.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |cause| Error::invalid("read image name", text, cause);
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest)?)),
            None => (text, None),
        };
        let last_slash = rest.rfind('/').unwrap_or(0);
        let (name, tag) = match rest.rfind(':').filter(|colon| *colon > last_slash) {
            Some(colon) => {
                let (name, tag) = rest.split_at(colon);
                (name, Some(tag.trim_start_matches(':')))
            }
            None => (rest, None),
        };
        if !is_name(name) {
            return Err(bad(
                "not an image name (lower-case letters, digits, '.', '_', '-', '/')",
            ));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad("bad tag"));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some("latest"),
            (tag, _) => tag,
        };
        let reference = Self {
            name: familiar(name).to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        };
        if reference.to_string().len() > NAME_MAX {
            return Err(bad("name is longer than 255 bytes"));
        }
        Ok(reference)
    }

    /// The name under which something called `base` (a file or directory name) is stored: letters
    /// the grammar does not know become `-`.
    pub(crate) fn from_base(base: &str, tag: &str) -> Result<Self> {
        let mapped: String = base
            .chars()
            .map(|c| c.to_ascii_lowercase())
            .map(|c| {
                if c.is_ascii_lowercase() || c.is_ascii_digit() {
                    c
                } else {
                    '-'
                }
            })
            .take(100)
            .collect();
        let trimmed = mapped.trim_matches('-');
        let name = if trimmed.is_empty() { "image" } else { trimmed };
        Self::parse(&format!("{name}:{tag}"))
    }

    /// The name without tag and digest.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name with the host and namespace docker leaves out, without tag and digest:
    /// `docker.io/library/alpine`.
    pub fn expanded(&self) -> String {
        match self.name.split_once('/') {
            Some((host, _)) if is_host_like(host) => self.name.clone(),
            Some(_) => format!("docker.io/{}", self.name),
            None => format!("docker.io/library/{}", self.name),
        }
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The name without its tag; a digest stays.
    pub(crate) fn without_tag(mut self) -> Self {
        self.tag = None;
        self
    }

    /// The registry, `docker.io` where none is named.
    pub fn registry(&self) -> &str {
        match self.name.split_once('/') {
            Some((host, _)) if is_host_like(host) => host,
            _ => HUB,
        }
    }

    /// The name within its registry: `library/alpine` of `alpine`.
    pub fn repository(&self) -> String {
        match self.name.split_once('/') {
            Some((host, path)) if is_host_like(host) => path.to_owned(),
            Some(_) => self.name.clone(),
            None => format!("library/{}", self.name),
        }
    }

    /// The digest after `@`.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Reference {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// Drops the parts docker drops when it shows a name.
fn familiar(name: &str) -> &str {
    let short = name
        .strip_prefix("index.docker.io/")
        .or_else(|| name.strip_prefix("docker.io/"));
    let Some(short) = short else { return name };
    match short.strip_prefix("library/") {
        Some(single) if !single.contains('/') => single,
        // `docker.io/foo.bar/baz`: without the host the first part would read as a host.
        _ if short
            .split_once('/')
            .is_some_and(|(first, _)| is_host_like(first)) =>
        {
            name
        }
        _ => short,
    }
}

fn is_host_like(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_name(name: &str) -> bool {
    let path = match name.split_once('/') {
        Some((host, path)) if is_host_like(host) => {
            if !is_host(host) {
                return false;
            }
            path
        }
        _ => name,
    };
    path.split('/').all(is_path_component)
}

fn is_host(host: &str) -> bool {
    let (labels, port) = match host.split_once(':') {
        Some((labels, port)) => (labels, Some(port)),
        None => (host, None),
    };
    let good_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let good_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    labels.split('.').all(good_label) && port.is_none_or(good_port)
}

/// Runs of letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn is_path_component(part: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (part.bytes().next(), part.bytes().last()) else {
        return false;
    };
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let good_separator =
        |s: &str| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-');
    alphanumeric(first) && alphanumeric(last) && separators.into_iter().all(good_separator)
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_get_docker_defaults() {
        for (text, shown) in [
            ("alpine", "alpine:latest"),
            ("docker.io/library/alpine:3.20", "alpine:3.20"),
            ("docker.io/bitnami/redis", "bitnami/redis:latest"),
            ("index.docker.io/library/alpine", "alpine:latest"),
            ("quay.io/a/b__c/d-e:V1.0_x", "quay.io/a/b__c/d-e:V1.0_x"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("localhost/x:y", "localhost/x:y"),
            ("a---b", "a---b:latest"),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn names_that_could_be_paths_are_refused() {
        let long = "a".repeat(256);
        for text in [
            "",
            ".",
            "..",
            "/",
            "a/",
            "/a",
            "a//b",
            "../a",
            "a/../b",
            "A",
            "a:",
            "a:-x",
            "a:.x",
            "a b",
            "a\n",
            "a+b",
            "a:b:c",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "a@sha256:abc",
            "é",
            "a/B",
            ":5000/x",
            "x.y:z/a",
            "-x.y/a",
            &long,
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_in_full_mean_the_same() {
        for (text, whole) in [
            ("alpine", "docker.io/library/alpine"),
            ("a.b", "docker.io/library/a.b"),
            ("bitnami/redis:1", "docker.io/bitnami/redis"),
            ("docker.io/foo.bar/baz", "docker.io/foo.bar/baz"),
            ("localhost/x", "localhost/x"),
            ("h:5000/a/b", "h:5000/a/b"),
        ] {
            let name = Reference::parse(text).unwrap();
            assert_eq!(name.expanded(), whole);
            let again = Reference::parse(&name.expanded()).unwrap();
            assert_eq!(again.name(), name.name());
        }
    }

    #[test]
    fn digest_takes_the_place_of_the_default_tag() {
        let digest = Digest::of(b"x");
        let reference = Reference::parse(&format!("a@{digest}")).unwrap();
        assert_eq!((reference.tag(), reference.digest()), (None, Some(&digest)));
    }

    #[test]
    fn any_file_name_makes_a_name() {
        assert_eq!(
            Reference::from_base("My Image.v2", "1")
                .unwrap()
                .to_string(),
            "my-image-v2:1"
        );
        assert_eq!(
            Reference::from_base("...", "1").unwrap().to_string(),
            "image:1"
        );
    }

    proptest! {
        #[test]
        fn names_round_trip_through_text(text in "[a-zA-Z0-9._:/@+-]{0,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                let name = String::from(reference.clone());
                prop_assert_eq!(Reference::try_from(name).unwrap(), reference.clone());
                prop_assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*", tag in ".*") {
            drop(Reference::parse(&text));
            drop(Reference::from_base(&text, &tag));
        }
    }
}
