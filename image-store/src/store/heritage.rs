//! Attributes of directories that a layer has only because something is in them.
//!
//! A layer is unpacked by itself, so a directory without an entry is made with default attributes;
//! in the overlay the highest directory's attributes show, and `/tmp` would lose its sticky bit to
//! a layer that only brings `tmp/x`. When an image is put together its layers are known: we look
//! up what each such directory should be, and a container gets it in its writable layer.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::record::{Heir, LayerRecord, PathBytes};
use crate::blobs::retry_on_rename;
use crate::error::{At, Result};
use crate::unpack::{RootAttributes, is_opaque};

const DEFAULT: RootAttributes = RootAttributes {
    mode: 0o755,
    uid: 0,
    gid: 0,
};

/// A layer with its directory.
#[derive(Debug)]
pub(super) struct View {
    pub(super) record: LayerRecord,
    pub(super) root: OwnedFd,
}

/// Whether any layer has directories that are to be looked up.
pub(super) fn is_needed(layers: &[LayerRecord]) -> bool {
    layers.len() > 1 && layers.iter().any(|layer| !layer.implied.is_empty())
}

/// A directory on the way from the top to the one looked at.
struct Frame<'a> {
    path: &'a [u8],
    /// What each layer has there, lowest first.
    here: Vec<Here>,
    meant: RootAttributes,
}

/// What one layer has at a path.
#[derive(Clone, Copy)]
struct Here {
    /// None when it has no directory there.
    attributes: Option<RootAttributes>,
    /// Whether the lower layers do not show: opaque, deleted, or no directory.
    hides: bool,
}

/// The directories that need attributes of a lower layer, parents first. Layers lowest first.
pub(super) fn settle(layers: &[View]) -> Result<Vec<Heir>> {
    let implied: Vec<BTreeSet<&[u8]>> = layers.iter().map(implied_of).collect();
    let mut heirs: BTreeMap<&[u8], RootAttributes> = BTreeMap::new();
    let top = vec![
        Here {
            attributes: Some(DEFAULT),
            hides: false
        };
        layers.len()
    ];
    let mut way: Vec<Frame<'_>> = Vec::new();
    for path in with_parents(&implied) {
        while way.last().is_some_and(|frame| !is_inside(frame.path, path)) {
            way.pop();
        }
        let above = way
            .last()
            .map_or(top.as_slice(), |frame| frame.here.as_slice());
        let pairs = layers.iter().zip(above);
        let here = pairs.map(|(layer, above)| look(layer, *above, path));
        let here: Vec<Here> = here.collect::<Result<_>>()?;
        let is_implied = |index: usize| implied.get(index).is_some_and(|set| set.contains(path));
        let meant = meant(&here, is_implied);
        way.push(Frame { path, here, meant });
        if meant != DEFAULT && (0..layers.len()).any(is_implied) {
            // To stand in the writable layer, it needs its parents there.
            heirs.extend(way.iter().map(|frame| (frame.path, frame.meant)));
        }
    }
    let heir = |(path, attributes): (&[u8], _)| Heir {
        path: PathBytes(path.to_vec()),
        attributes,
    };
    // Sorted by bytes, a parent stands before what is in it.
    Ok(heirs.into_iter().map(heir).collect())
}

/// Paths that went through `..` have other names as well; those are not looked up.
fn implied_of(layer: &View) -> BTreeSet<&[u8]> {
    let paths = layer.record.implied.iter().map(|path| path.0.as_slice());
    let mut implied = BTreeSet::new();
    implied
        .extend(paths.filter(|path| !path.split(|byte| *byte == b'/').any(|part| part == b"..")));
    implied
}

/// All paths and the directories they are in, each followed at once by what is inside it.
fn with_parents<'a>(implied: &[BTreeSet<&'a [u8]>]) -> Vec<&'a [u8]> {
    let mut all: BTreeSet<&'a [u8]> = BTreeSet::new();
    for path in implied.iter().flatten() {
        let mut path = *path;
        // A path that is in has its parents in.
        while all.insert(path) {
            let Some(slash) = path.iter().rposition(|byte| *byte == b'/') else {
                break;
            };
            path = path.get(..slash).unwrap_or_default();
        }
    }
    let mut all: Vec<&[u8]> = all.into_iter().collect();
    let slash = |byte: &u8| *byte == b'/';
    all.sort_unstable_by(|a, b| a.split(slash).cmp(b.split(slash)));
    all
}

fn is_inside(parent: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(parent)
        .is_some_and(|rest| rest.starts_with(b"/"))
}

/// What a directory should look like: the word of the highest layer that has an entry for it.
fn meant(here: &[Here], is_implied: impl Fn(usize) -> bool) -> RootAttributes {
    for (index, here) in here.iter().enumerate().rev() {
        match here.attributes {
            Some(attributes) if !is_implied(index) => return attributes,
            _ if here.hides => return DEFAULT,
            _ => {}
        }
    }
    DEFAULT
}

fn look(layer: &View, above: Here, path: &[u8]) -> Result<Here> {
    if above.attributes.is_none() {
        return Ok(above);
    }
    let subject = OsStr::from_bytes(path);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let fs = &layer.root;
    let opened = retry_on_rename(|| rustix::fs::openat2(fs, path, flags, Mode::empty(), resolve));
    let fd = match opened {
        Ok(fd) => fd,
        Err(Errno::NOENT) => {
            return Ok(Here {
                attributes: None,
                hides: above.hides,
            });
        }
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return Ok(Here {
                attributes: None,
                hides: true,
            });
        }
        Err(errno) => return Err(errno).at("open", subject),
    };
    let opaque = is_opaque(&fd);
    let stat = rustix::fs::fstat(&fd).at("stat", subject)?;
    let attributes = RootAttributes {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
    };
    Ok(Here {
        attributes: Some(attributes),
        hides: above.hides || opaque,
    })
}
