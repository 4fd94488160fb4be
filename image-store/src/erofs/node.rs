//! An inode in memory.

use std::collections::BTreeMap;

use super::attribute::Attribute;
use super::extent::Extent;
use crate::tape::{Entry, Time};

/// An inode.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) attributes: Vec<Attribute>,
}

/// What an inode is.
#[derive(Debug)]
pub(super) enum Kind {
    Directory {
        children: BTreeMap<Box<[u8]>, u32>,
        /// It is there only because something is in it.
        implied: bool,
    },
    File(Box<Extent>),
    Symlink(Box<[u8]>),
    CharDevice(u32),
    BlockDevice(u32),
    Fifo,
    /// A name that lower layers' files do not show under.
    Whiteout,
}

impl Node {
    pub(super) fn new(kind: Kind, entry: &Entry) -> Self {
        Self {
            kind,
            // Twelve bits, by the stream.
            mode: u16::try_from(entry.mode & 0o7777).unwrap_or(0),
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            attributes: Vec::new(),
        }
    }

    /// One that no entry describes.
    pub(super) fn implied(kind: Kind, mode: u16) -> Self {
        Self {
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            attributes: Vec::new(),
        }
    }

    pub(super) fn set(&mut self, attribute: Attribute) {
        let same = |other: &&mut Attribute| other.is_named_as(&attribute);
        match self.attributes.iter_mut().find(same) {
            Some(known) => *known = attribute,
            None => self.attributes.push(attribute),
        }
    }
}

impl Kind {
    pub(super) fn directory(implied: bool) -> Self {
        Self::Directory {
            children: BTreeMap::new(),
            implied,
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }
}
