//! Attributes of directories that a layer has only because something is in them.
//!
//! A layer is unpacked by itself, so a directory without an entry is made with default attributes;
//! in the overlay the highest directory's attributes show, and `/tmp` would lose its sticky bit to
//! a layer that only brings `tmp/x`. When an image is put together its layers are known: we look
//! up what each such directory should be, and a container gets it in its writable layer.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::disk::Folder;
use super::record::{Heir, LayerRecord, PathBytes};
use crate::blobs::retry_on_rename;
use crate::error::{At, Result};
use crate::unpack::RootAttributes;

const DEFAULT: RootAttributes = RootAttributes {
    mode: 0o755,
    uid: 0,
    gid: 0,
};

/// A layer with its directory.
#[derive(Debug)]
pub(super) struct View {
    pub(super) record: LayerRecord,
    pub(super) fs: Folder,
}

/// What a layer says about a path.
enum Word {
    /// Nothing; the lower layers decide.
    Silent,
    /// The path is a directory with these attributes.
    Is(RootAttributes),
    /// Something else, or nothing at all: lower layers do not show.
    Ends,
}

/// The directories that need attributes of a lower layer, parents first. Layers lowest first.
pub(super) fn settle(layers: &[View]) -> Result<Vec<Heir>> {
    let implied: Vec<BTreeSet<&[u8]>> = layers.iter().map(implied_of).collect();
    let mut heirs: BTreeMap<Vec<u8>, RootAttributes> = BTreeMap::new();
    let paths: BTreeSet<&[u8]> = implied.iter().flatten().copied().collect();
    for path in paths {
        let meant = meant(layers, &implied, path)?;
        if meant == DEFAULT {
            continue;
        }
        // To stand in the writable layer, it needs its parents there.
        for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let parent = path.get(..end).unwrap_or_default();
            if !heirs.contains_key(parent) {
                heirs.insert(parent.to_vec(), self::meant(layers, &implied, parent)?);
            }
        }
        heirs.insert(path.to_vec(), meant);
    }
    let heir = |(path, attributes)| Heir {
        path: PathBytes(path),
        attributes,
    };
    // Sorted by bytes, a parent stands before what is in it.
    Ok(heirs.into_iter().map(heir).collect())
}

/// Paths that went through `..` have other names as well; those are not looked up.
fn implied_of(layer: &View) -> BTreeSet<&[u8]> {
    let paths = layer.record.implied.iter().map(|path| path.0.as_slice());
    paths
        .filter(|path| !path.split(|byte| *byte == b'/').any(|part| part == b".."))
        .collect()
}

/// What a directory should look like: the word of the highest layer that has one.
fn meant(layers: &[View], implied: &[BTreeSet<&[u8]>], path: &[u8]) -> Result<RootAttributes> {
    for (layer, implied) in layers.iter().zip(implied).rev() {
        match word(layer, implied.contains(path), path)? {
            Word::Silent => {}
            Word::Is(attributes) => return Ok(attributes),
            Word::Ends => break,
        }
    }
    Ok(DEFAULT)
}

/// Walks from the top: any part may be deleted, opaque, or no directory in this layer.
fn word(layer: &View, implied: bool, path: &[u8]) -> Result<Word> {
    let name = layer.fs.path();
    let mut at: OwnedFd = rustix::io::fcntl_dupfd_cloexec(layer.fs.fd(), 0).at("open", name)?;
    let mut opaque = false;
    for part in path.split(|byte| *byte == b'/') {
        match step(at.as_fd(), part) {
            Ok(fd) => at = fd,
            Err(Errno::NOENT) if opaque => return Ok(Word::Ends),
            Err(Errno::NOENT) => return Ok(Word::Silent),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Word::Ends),
            Err(errno) => return Err(errno).at("open", name),
        }
        let mut value = [0_u8; 1];
        opaque |= rustix::fs::fgetxattr(&at, "trusted.overlay.opaque", &mut value[..]).is_ok();
    }
    let stat = rustix::fs::fstat(&at).at("stat", name)?;
    Ok(match (implied, opaque) {
        (true, false) => Word::Silent,
        (true, true) => Word::Ends,
        (false, _) => Word::Is(RootAttributes {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
        }),
    })
}

fn step(at: impl AsFd, part: &[u8]) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    retry_on_rename(|| rustix::fs::openat2(&at, part, flags, Mode::empty(), resolve))
}
