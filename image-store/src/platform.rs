//! Platforms: which of several images in one index is meant.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::error::{Error, Result};

/// An operating system and architecture, in the image specification's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl Platform {
    /// A platform from its parts.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.filter(|v| !v.is_empty()).map(str::to_owned),
        }
    }

    /// The platform this program was built for.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self::new("linux", architecture, variant)
    }

    /// How well an image for `other` fits a wish for `self`; higher is better.
    pub(crate) fn fit(&self, other: &Self) -> Option<u8> {
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        match (self.plain_variant(), other.plain_variant()) {
            (mine, theirs) if mine == theirs => Some(2),
            // An unnamed variant is the base line of its architecture, or unknown.
            (_, None) => Some(1),
            (None, Some(_)) => Some(0),
            (Some(_), Some(_)) => None,
        }
    }

    /// The variant, without the ones that mean the base line.
    fn plain_variant(&self) -> Option<&str> {
        let base = match self.architecture.as_str() {
            "amd64" => "v1",
            "arm64" => "v8",
            _ => "",
        };
        self.variant
            .as_deref()
            .filter(|variant| !variant.is_empty() && *variant != base)
    }

    /// Buildkit attaches provenance as manifests for `unknown/unknown`.
    pub(crate) fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}",
            self.os.escape_debug(),
            self.architecture.escape_debug()
        )?;
        match &self.variant {
            Some(variant) => write!(f, "/{}", variant.escape_debug()),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// Reads `os/arch[/variant]`, or `arch` alone for linux.
    fn from_str(text: &str) -> Result<Self> {
        let word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(word) {
            return Err(Error::invalid(
                "read platform",
                text,
                "not OS/ARCH[/VARIANT]",
            ));
        }
        match parts.as_slice() {
            [architecture] => Ok(Self::new("linux", architecture, None)),
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(Error::invalid(
                "read platform",
                text,
                "not OS/ARCH[/VARIANT]",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platform_parses_and_prints() {
        for text in ["linux/amd64", "linux/arm/v7"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        assert_eq!(
            "arm64".parse::<Platform>().unwrap(),
            Platform::new("linux", "arm64", None)
        );
        for text in ["", "/", "linux/", "a/b/c/d", "linux/am d64"] {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn base_variant_means_no_variant() {
        let arm64 = Platform::new("linux", "arm64", None);
        assert_eq!(
            arm64.fit(&Platform::new("linux", "arm64", Some("v8"))),
            Some(2)
        );
        let v7 = Platform::new("linux", "arm", Some("v7"));
        assert_eq!(v7.fit(&Platform::new("linux", "arm", Some("v6"))), None);
        assert_eq!(v7.fit(&Platform::new("linux", "arm", None)), Some(1));
        assert_eq!(v7.fit(&arm64), None);
    }
}
