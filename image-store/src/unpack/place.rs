//! What an entry's name means: where it goes, and whether it is a mark for overlayfs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Why a name is refused.
pub(super) type Fault = &'static str;

const MARK: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Most `..` in one name: each costs a walk from the top.
const CLIMBS_MAX: usize = 40;

/// Where an entry goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The top directory itself.
    Root,
    /// An entry `name` in the directory `parent`, which may still contain `..` and symbolic
    /// links: the kernel resolves them inside the layer.
    Below { parent: Vec<u8>, name: Vec<u8> },
    /// `.wh..wh..opq`: nothing of lower layers shows in this directory.
    Opaque { parent: Vec<u8> },
    /// `.wh.NAME`: the lower layers' `name` is gone.
    Whiteout { parent: Vec<u8>, name: Vec<u8> },
}

impl Place {
    /// Reads an entry's name.
    pub(super) fn of(path: &[u8]) -> Result<Self, Fault> {
        if path.is_empty() {
            return Err("empty name");
        }
        let mut parts = components(path);
        let Some(name) = parts.pop() else {
            return Ok(Self::Root);
        };
        if name == b".." {
            return Err("name ends in '..'");
        }
        if parts.iter().filter(|part| **part == b"..").count() > CLIMBS_MAX {
            return Err("too many '..' in the name");
        }
        if parts.iter().any(|part| part.starts_with(MARK)) {
            return Err("a whiteout is used as a directory");
        }
        let parent = parts.join(&b'/');
        match name.strip_prefix(MARK) {
            None => Ok(Self::Below {
                parent,
                name: name.to_vec(),
            }),
            Some(_) if name == OPAQUE => Ok(Self::Opaque { parent }),
            Some(b"" | b"." | b"..") => Err("whiteout of nothing, '.' or '..'"),
            Some(target) if target.starts_with(MARK) => Err("unknown whiteout mark"),
            Some(target) => Ok(Self::Whiteout {
                parent,
                name: target.to_vec(),
            }),
        }
    }
}

/// The target of a hard link: plain components only, so that it cannot be anywhere else than it
/// says.
pub(crate) fn link_target(path: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let mut parts = components(path);
    if parts.iter().any(|part| *part == b"..") {
        return Err("hard link target contains '..'");
    }
    let name = parts.pop().ok_or("hard link to the root directory")?;
    Ok((parts.join(&b'/'), name.to_vec()))
}

/// The parts of a path without empty ones and `.`.
pub(crate) fn components(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !matches!(part, [] | [b'.']))
        .collect()
}

/// `parent/name`
pub(crate) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        name.to_vec()
    } else {
        [parent, b"/", name].concat()
    }
}

pub(super) fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn below(parent: &str, name: &str) -> Place {
        Place::Below {
            parent: parent.into(),
            name: name.into(),
        }
    }

    #[test]
    fn names_find_their_place() {
        assert_eq!(Place::of(b"./"), Ok(Place::Root));
        assert_eq!(Place::of(b"/"), Ok(Place::Root));
        assert_eq!(Place::of(b"./a//b/./c/"), Ok(below("a/b", "c")));
        assert_eq!(Place::of(b"/etc/passwd"), Ok(below("etc", "passwd")));
        assert_eq!(Place::of(b"../../x"), Ok(below("../..", "x")));
        assert_eq!(
            Place::of(b"a/.wh..wh..opq"),
            Ok(Place::Opaque {
                parent: b"a".to_vec()
            })
        );
        let gone = Place::Whiteout {
            parent: b"a".to_vec(),
            name: b"b".to_vec(),
        };
        assert_eq!(Place::of(b"a/.wh.b"), Ok(gone));
        assert_eq!(Place::of(b".whx"), Ok(below("", ".whx")));
    }

    #[test]
    fn odd_names_are_refused() {
        for name in [
            "",
            "..",
            "a/..",
            "a/../",
            "./..",
            ".wh.",
            "a/.wh.",
            ".wh..",
            ".wh...",
            ".wh.a/b",
            ".wh..wh..plnk",
            ".wh..wh.aufs",
            "a/.wh..wh..opq/b",
            ".wh..wh.",
        ] {
            assert!(Place::of(name.as_bytes()).is_err(), "{name:?}");
        }
        assert!(link_target(b"../a").is_err());
        assert!(link_target(b"/").is_err());
        assert_eq!(link_target(b"/a/b"), Ok((b"a".to_vec(), b"b".to_vec())));
    }

    proptest! {
        #[test]
        fn the_last_part_is_always_a_plain_name(path: Vec<u8>, dots in "[./a]{0,12}") {
            for path in [path.as_slice(), dots.as_bytes()] {
                if let Ok(Place::Below { name, .. } | Place::Whiteout { name, .. }) = Place::of(path) {
                    prop_assert!(!name.is_empty() && name != b"." && name != b"..");
                    prop_assert!(!name.contains(&b'/'));
                }
                drop(link_target(path));
            }
        }
    }
}
