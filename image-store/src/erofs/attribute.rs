//! Extended attributes as they stand behind an inode.

use super::Oddity;
use super::ondisk::{ATTRIBUTES_HEADER, HEADER_BYTES};
use crate::unpack::{OPAQUE_XATTR, Verdict, verdict};

/// Prefixes of names, which an attribute has as a number.
const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];

/// Most bytes of all attributes of an inode: 16 bits count them in fours.
const BYTES_MAX: u64 = 0xffff * 4;

/// An attribute of an inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    prefix: u8,
    /// Without its prefix.
    name: Box<[u8]>,
    value: Box<[u8]>,
}

/// What becomes of an attribute that the tar has.
pub(super) enum Fate {
    Kept(Attribute),
    /// Left out for what it is called.
    Dropped,
    /// Left out for what it is on.
    Misplaced,
}

impl Attribute {
    /// The mark of a directory that hides the lower layers' one.
    pub(super) fn opaque() -> Self {
        let (prefix, name) = split(OPAQUE_XATTR.as_bytes()).unwrap_or_default();
        Self {
            prefix,
            name: name.into(),
            value: Box::from(*b"y"),
        }
    }

    /// What `setxattr(2)` would have made of it. `is_plain` is for files and directories.
    pub(super) fn of_tar(key: &[u8], value: &[u8], is_plain: bool) -> Result<Fate, Oddity> {
        if verdict(key) == Verdict::Drop {
            return Ok(Fate::Dropped);
        }
        let Some((prefix, name)) = split(key) else {
            // The kernel would bend the file's mode after the list.
            return Err("an access control list");
        };
        if prefix == 1 && !is_plain {
            return Ok(Fate::Misplaced);
        }
        if name.is_empty() || value.len() > usize::from(u16::MAX) {
            return Err("an extended attribute of odd size");
        }
        if prefix == 6 && !is_capability(value) {
            return Err("a malformed file capability");
        }
        Ok(Fate::Kept(Self {
            prefix,
            name: name.into(),
            value: value.into(),
        }))
    }

    /// The same attribute, whatever its value.
    pub(super) fn is_named_as(&self, other: &Self) -> bool {
        (self.prefix, &self.name) == (other.prefix, &other.name)
    }

    /// Bytes on disk.
    fn size(&self) -> u64 {
        ((4 + self.name.len() + self.value.len()) as u64).next_multiple_of(4)
    }

    /// Bytes in memory beside the structure.
    pub(super) fn held(&self) -> usize {
        self.name.len() + self.value.len()
    }
}

fn split(key: &[u8]) -> Option<(u8, &[u8])> {
    let mut prefixes = PREFIXES.iter();
    prefixes.find_map(|(prefix, number)| Some((*number, key.strip_prefix(*prefix)?)))
}

/// `validheader` of the kernel's capabilities: the second version, or the third with its owner.
fn is_capability(value: &[u8]) -> bool {
    let version = value.get(3).copied();
    matches!((value.len(), version), (20, Some(2)) | (24, Some(3)))
}

/// Bytes of all behind an inode; an error where they are more than can be counted.
pub(super) fn size(attributes: &[Attribute]) -> Result<u64, Oddity> {
    if attributes.is_empty() {
        return Ok(0);
    }
    let size: u64 = attributes.iter().map(Attribute::size).sum();
    if size > BYTES_MAX {
        return Err("more extended attributes than an inode takes");
    }
    Ok(ATTRIBUTES_HEADER + size)
}

/// `struct erofs_xattr_ibody_header` and all behind it.
pub(super) fn bytes(attributes: &[Attribute]) -> Vec<u8> {
    if attributes.is_empty() {
        return Vec::new();
    }
    let mut out = vec![0; HEADER_BYTES];
    for attribute in attributes {
        let [low, high] = u16::try_from(attribute.value.len())
            .unwrap_or(u16::MAX)
            .to_le_bytes();
        let name = u8::try_from(attribute.name.len()).unwrap_or(u8::MAX);
        out.extend_from_slice(&[name, attribute.prefix, low, high]);
        out.extend_from_slice(&attribute.name);
        out.extend_from_slice(&attribute.value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}
