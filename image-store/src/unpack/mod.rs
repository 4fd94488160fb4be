//! A stream of entries becomes a directory for overlayfs.
//!
//! [`place`](self) says what a name means, `confine` opens and clears, `writer` makes. This file
//! is the loop.

mod compare;
mod confine;
mod data;
mod owner;
mod place;
#[cfg(test)]
mod tests;
mod writer;
mod xattr;

use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result, quoted_bytes};
use crate::limits::Limits;
use crate::store::Seat;
use crate::tape::{Entry, EntryKind, EntryStream, Tape};
use place::Place;
use writer::Writer;

pub(crate) use compare::compare;
pub(crate) use confine::{OPAQUE_XATTR, is_opaque, mark_opaque};
pub(crate) use place::{components, join, link_target};
pub(crate) use xattr::{Verdict, verdict};

/// Most warnings kept of one layer.
const WARNINGS_MAX: usize = 20;

/// The attributes a layer's tar gives the root directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootAttributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl RootAttributes {
    pub(crate) fn of(entry: &Entry) -> Self {
        Self {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
        }
    }
}

/// What unpacking a layer came to.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    pub(crate) entries: u64,
    /// Bytes of file data.
    pub(crate) bytes: u64,
    /// None when the tar does not mention the root.
    pub(crate) root: Option<RootAttributes>,
    /// Whether the layer hides everything below it.
    pub(crate) opaque_root: bool,
    /// Directories that exist only because something is in them.
    pub(crate) implied: Vec<Vec<u8>>,
    /// Directories that hide the lower layers' ones, for [`mark_opaque`]: who unpacks need not have
    /// the right to mark them.
    pub(crate) opaque: Vec<Vec<u8>>,
    /// Whether every name led where it reads and was taken once: then the directory still has all
    /// that the tar brought.
    pub(crate) straight: bool,
    pub(crate) warnings: Warnings,
}

/// What was left out of a layer or bent, for the caller to show.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    pub(crate) texts: Vec<String>,
    pub(crate) more: u64,
}

impl Warnings {
    pub(crate) fn push(&mut self, text: String) {
        if self.texts.len() < WARNINGS_MAX {
            self.texts.push(text);
        } else {
            self.more += 1;
        }
    }
}

/// Where a layer is unpacked, and by whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    /// An empty directory.
    pub(crate) root: BorrowedFd<'a>,
    /// Takes what is replaced on the way.
    pub(crate) scrap: BorrowedFd<'a>,
    pub(crate) seat: Seat,
}

/// What the entries of a layer are made into.
pub(crate) trait Target {
    /// Bytes of directory names kept in memory so far.
    fn held(&self) -> u64;

    /// The entry of the top directory.
    fn root(&mut self, entry: &Entry) -> Result<()>;

    /// Any entry with a name.
    fn entry(
        &mut self,
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
        stream: &mut EntryStream<'_>,
    ) -> Result<()>;

    /// `.wh.NAME`. It is about lower layers: an entry of this layer under the name stays, and a
    /// directory then hides the lower one.
    fn whiteout(&mut self, parent: &[u8], name: &[u8]) -> Result<()>;

    /// `.wh..wh..opq`
    fn opaque(&mut self, path: &[u8]) -> Result<()>;
}

/// Unpacks a layer; the tape is read as far as the archive goes.
pub(crate) fn unpack(tape: &mut dyn Tape, site: Site<'_>, limits: &Limits) -> Result<Unpacked> {
    let mut stream = EntryStream::new(tape);
    let mut writer = Writer::new(site);
    let entries = fill(&mut writer, &mut stream, limits)?;
    let mut unpacked = writer.finish()?;
    unpacked.entries = entries;
    Ok(unpacked)
}

/// Gives all entries of a layer to what becomes of them, each checked; how many there were.
pub(crate) fn fill(
    target: &mut dyn Target,
    stream: &mut EntryStream<'_>,
    limits: &Limits,
) -> Result<u64> {
    let mut entries = 0_u64;
    while let Some(entry) = stream.next_entry()? {
        entries += 1;
        check_limits(&entry, entries, target.held(), limits)?;
        put(target, &entry, stream)
            .map_err(|error| error.about(&format!("entry {}", quoted_bytes(&entry.path))))?;
    }
    Ok(entries)
}

fn put(target: &mut dyn Target, entry: &Entry, stream: &mut EntryStream<'_>) -> Result<()> {
    let place = Place::of(&entry.path).map_err(refuse)?;
    let is_file = matches!(entry.kind, EntryKind::File { .. });
    match place {
        Place::Root => match entry.kind {
            EntryKind::Directory => target.root(entry),
            _ => Err(refuse("the root is not a directory")),
        },
        Place::Opaque { .. } | Place::Whiteout { .. } if !is_file => {
            Err(refuse("a whiteout that is not a file"))
        }
        Place::Opaque { parent } => target.opaque(&parent),
        Place::Whiteout { parent, name } => target.whiteout(&parent, &name),
        Place::Below { parent, name } => target.entry(&parent, &name, entry, stream),
    }
}

fn check_limits(entry: &Entry, entries: u64, held: u64, limits: &Limits) -> Result<()> {
    let too_many = |what, limit| {
        let subject = format!("entry {}", quoted_bytes(&entry.path));
        Err(Error::new(
            ErrorKind::TooLarge,
            "unpack",
            subject,
            format!("more than {limit} {what}"),
        ))
    };
    if entries > limits.entries {
        return too_many("entries", limits.entries);
    }
    if held > limits.directory_bytes {
        return too_many("bytes of directory names", limits.directory_bytes);
    }
    if entry.xattrs.len() > limits.xattrs {
        return too_many("extended attributes", limits.xattrs as u64);
    }
    Ok(())
}

fn refuse(cause: &'static str) -> Error {
    Error::corrupt("unpack", "", cause)
}
