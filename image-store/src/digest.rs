//! Content digests: the only strings of an image that ever become part of a path.
//!
//! [`Digest::parse`] is the single check. What passed it is an algorithm we know and exactly as
//! many lower-case hexadecimal digits as that algorithm has, so a digest can never climb out of a
//! directory (CVE-2024-3727).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::error::{Error, Result};

/// A hash function the image specification registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-256, 64 digits.
    Sha256,
    /// SHA-512, 128 digits.
    Sha512,
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A content digest, such as `sha256:2c26…`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// Reads `sha256:<64 digits>` or `sha512:<128 digits>`, digits in lower case.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |cause| Error::invalid("read digest", text, cause);
        let (name, hex) = text.split_once(':').ok_or_else(|| bad("no algorithm"))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(bad("unknown algorithm")),
        };
        Self::from_hex(algorithm, hex).ok_or_else(|| bad("not lower-case hex of the right length"))
    }

    fn from_hex(algorithm: Algorithm, hex: &str) -> Option<Self> {
        let good = hex.len() == algorithm.digits() && is_lower_hex(hex);
        good.then(|| Self {
            algorithm,
            hex: hex.to_owned(),
        })
    }

    /// The SHA-256 of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digits without the algorithm.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first twelve digits, as listings show them.
    pub fn short(&self) -> &str {
        self.hex.get(..12).unwrap_or(&self.hex)
    }

    /// `sha256-<digits>`: the digest as one file name of the store.
    pub(crate) fn file_name(&self) -> String {
        format!("{}-{}", self.algorithm.name(), self.hex)
    }

    /// The reverse of [`Digest::file_name`].
    pub(crate) fn from_file_name(name: &str) -> Option<Self> {
        let (algorithm, hex) = name.split_once('-')?;
        Self::parse(&format!("{algorithm}:{hex}")).ok()
    }

    /// Where an OCI layout keeps the blob.
    pub(crate) fn layout_path(&self) -> String {
        format!("blobs/{}/{}", self.algorithm.name(), self.hex)
    }

    /// The digest a docker archive spells in a member name: `<digits>.json`, `<digits>`, or a path
    /// as an OCI layout has it.
    pub(crate) fn from_member_name(name: &str) -> Option<Self> {
        if let Some(rest) = name.strip_prefix("blobs/") {
            let (algorithm, hex) = rest.split_once('/')?;
            return Self::parse(&format!("{algorithm}:{hex}")).ok();
        }
        let hex = name.strip_suffix(".json").unwrap_or(name);
        Self::from_hex(Algorithm::Sha256, hex)
    }
}

/// Whether the text is a non-empty run of `0-9a-f`.
pub(crate) fn is_lower_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// A running hash.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest {
                algorithm: Algorithm::Sha256,
                hex: hex(&hasher.finalize()),
            },
            Self::Sha512(hasher) => Digest {
                algorithm: Algorithm::Sha512,
                hex: hex(&hasher.finalize()),
            },
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digest_of_nothing_is_the_known_one() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(Digest::parse(EMPTY).unwrap(), Digest::of(b""));
    }

    #[test]
    fn cve_2024_3727_digest_with_a_path_in_it_is_refused() {
        let up = format!("sha256:../../../../{}", "a".repeat(52));
        for text in [
            "",
            "sha256",
            "sha256:",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:../../etc/passwd",
            up.as_str(),
            &EMPTY.to_uppercase(),
            &EMPTY.replace('e', "E"),
            &EMPTY[..70],
            &format!("{EMPTY}0"),
            &format!("{EMPTY}\n"),
            &EMPTY.replace("sha256", "sha512"),
        ] {
            assert!(Digest::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn digest_round_trips_or_is_refused(text in "(sha256|sha512|SHA256|x):[0-9a-fA-F/.]{0,130}") {
            if let Ok(digest) = Digest::parse(&text) {
                prop_assert_eq!(digest.to_string(), text);
                prop_assert_eq!(Digest::from_file_name(&digest.file_name()).unwrap(), digest.clone());
                prop_assert!(!digest.file_name().contains('/'));
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            drop(Digest::parse(&text));
            drop(Digest::from_member_name(&text));
        }
    }
}
