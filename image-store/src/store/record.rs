//! The store's own small files, as they are on disk. `docs/store.md` is their description.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::attributes::Attributes;
use crate::digest::Digest;
use crate::driver::DriverName;
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::reference::Reference;
use crate::unpack::RootAttributes;

/// The version of everything in this file.
const VERSION: u32 = 2;

/// `format`: what kind of store this is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Format {
    version: u32,
    driver: String,
    /// Only in a store that was made where nobody is root of the machine.
    #[serde(default, skip_serializing_if = "Attributes::are_trusted")]
    pub(crate) attributes: Attributes,
}

impl Format {
    pub(crate) fn with(driver: DriverName, attributes: Attributes) -> Self {
        Self {
            version: VERSION,
            driver: driver.name().to_owned(),
            attributes,
        }
    }

    /// What new layers become, and how overlayfs is told of them; refuses a store some other version
    /// wrote.
    pub(crate) fn check(&self) -> Result<(DriverName, Attributes)> {
        if let (VERSION, Ok(driver)) = (self.version, self.driver.parse()) {
            return Ok((driver, self.attributes));
        }
        let cause = format!(
            "version {} with driver {}",
            self.version,
            quoted(&self.driver)
        );
        Err(
            Error::new(ErrorKind::Unsupported, "open", "store", cause).with_hint(
                "another version of hostrun made it; move it away and load its images again",
            ),
        )
    }
}

/// `generations/<number>`: all names, as they were from one change to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Generation {
    pub(crate) version: u32,
    pub(crate) number: u64,
    /// Seconds since 1970.
    pub(crate) made: u64,
    pub(crate) change: Change,
    pub(crate) names: BTreeMap<Reference, Digest>,
}

impl Generation {
    /// Before the first change.
    pub(crate) fn none() -> Self {
        Self {
            version: VERSION,
            number: 0,
            made: 0,
            change: Change::Load,
            names: BTreeMap::new(),
        }
    }
}

/// What made a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Change {
    /// An image came in under a name.
    Load,
    /// A name was given to an image.
    Tag,
    /// A name was taken away.
    Remove,
}

impl Change {
    /// As it stands in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Tag => "tag",
            Self::Remove => "remove",
        }
    }
}

/// `images/<config digest>`: how to mount an image without reading anything else.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    pub(crate) version: u32,
    /// The image's id.
    pub(crate) config: Digest,
    /// None for an image out of a docker archive.
    pub(crate) manifest: Option<Digest>,
    /// The diffIDs, lowest layer first.
    pub(crate) layers: Vec<Digest>,
    /// How many of the lowest layers a higher one hides whole.
    pub(crate) hidden: usize,
    /// What the root directory of a container gets: the highest layer's word counts.
    pub(crate) root: RootAttributes,
    /// Bytes of file data in all layers.
    pub(crate) size: u64,
    /// Directories to make in a container's writable layer, parents first: see `heritage`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) directories: Vec<Heir>,
}

/// A directory whose attributes a higher layer hides without meaning to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heir {
    pub(crate) path: PathBytes,
    #[serde(flatten)]
    pub(crate) attributes: RootAttributes,
}

/// A path inside an image as text: what is not printable ASCII is written `%XX`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PathBytes(pub(crate) Vec<u8>);

impl From<PathBytes> for String {
    fn from(path: PathBytes) -> Self {
        use std::fmt::Write as _;
        path.0.iter().fold(Self::new(), |mut text, byte| {
            if byte.is_ascii_graphic() && *byte != b'%' {
                text.push(char::from(*byte));
            } else {
                // Writing to a string cannot fail.
                write!(text, "%{byte:02x}").ok();
            }
            text
        })
    }
}

impl TryFrom<String> for PathBytes {
    type Error = &'static str;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((first, tail)) = rest.split_first() {
            rest = tail;
            if *first != b'%' {
                bytes.push(*first);
                continue;
            }
            let (digits, tail) = rest.split_at_checked(2).ok_or("cut off escape")?;
            let digits = std::str::from_utf8(digits).map_err(|_utf8| "bad escape")?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_digit| "bad escape")?);
            rest = tail;
        }
        Ok(Self(bytes))
    }
}

/// `layers/<diffid>/meta.json`: what unpacking a layer came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) version: u32,
    pub(crate) diff_id: Digest,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) root: Option<RootAttributes>,
    pub(crate) opaque_root: bool,
    /// Directories without an entry of their own; their attributes are a lower layer's business.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) implied: Vec<PathBytes>,
}

/// What a file of ours has in common.
pub(crate) trait Versioned: Serialize + for<'a> Deserialize<'a> {
    fn version(&self) -> u32;
}

impl Versioned for Format {
    /// Checked by [`Format::check`] instead, which knows what to advise.
    fn version(&self) -> u32 {
        VERSION
    }
}

impl Versioned for Generation {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Versioned for ImageRecord {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Versioned for LayerRecord {
    fn version(&self) -> u32 {
        self.version
    }
}

/// The version new records get.
pub(crate) const fn version() -> u32 {
    VERSION
}

pub(crate) fn encode(record: &impl Versioned) -> Result<Vec<u8>> {
    let fault = |error: serde_json::Error| Error::corrupt("write", "record", error.to_string());
    let mut bytes = serde_json::to_vec(record).map_err(fault)?;
    bytes.push(b'\n');
    Ok(bytes)
}

pub(crate) fn decode<T: Versioned>(bytes: &[u8]) -> Result<T> {
    let fault = |error: serde_json::Error| {
        Error::corrupt("read", "record", error.to_string())
            .with_hint("remove the image and load it again")
    };
    let record: T = serde_json::from_slice(bytes).map_err(fault)?;
    if record.version() == VERSION {
        return Ok(record);
    }
    let cause = format!("version {}", record.version());
    Err(Error::new(ErrorKind::Unsupported, "read", "record", cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn paths_round_trip(bytes: Vec<u8>, text: String) {
            let path = PathBytes(bytes);
            prop_assert_eq!(PathBytes::try_from(String::from(path.clone())), Ok(path));
            drop(PathBytes::try_from(text));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            drop(decode::<ImageRecord>(&bytes));
            drop(decode::<LayerRecord>(&bytes));
            drop(decode::<Generation>(&bytes));
            drop(decode::<Format>(&bytes));
        }
    }

    #[test]
    fn other_formats_are_refused() {
        for text in [
            r#"{"version":1,"driver":"dirs"}"#,
            r#"{"version":3,"driver":"dirs"}"#,
            r#"{"version":2,"driver":"other"}"#,
        ] {
            assert!(decode::<Format>(text.as_bytes()).unwrap().check().is_err());
        }
        for driver in [DriverName::Dirs, DriverName::Erofs] {
            for attributes in [Attributes::Trusted, Attributes::User] {
                let format = Format::with(driver, attributes);
                assert_eq!(format.check().unwrap(), (driver, attributes));
            }
        }
        for (text, attributes) in [
            (r#"{"version":2,"driver":"dirs"}"#, Attributes::Trusted),
            (
                r#"{"version":2,"driver":"dirs","attributes":"user"}"#,
                Attributes::User,
            ),
        ] {
            let format = decode::<Format>(text.as_bytes()).unwrap();
            assert_eq!(format.check().unwrap().1, attributes);
            assert_eq!(encode(&format).unwrap().trim_ascii_end(), text.as_bytes());
        }
    }
}
