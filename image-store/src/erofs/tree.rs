//! The entries of a layer as a tree in memory, with the meaning that the directory form gives them.
//!
//! One node for each inode: entries that replace others leave theirs behind unreached, hard links
//! are several names of one. The whole tree may take [`HELD_MAX`] bytes.

use std::mem::size_of;

use super::Oddity;
use super::attribute::{Attribute, Fate};
use super::extent::Extent;
use super::node::{Kind, Node};
use super::ondisk::device_number;
use crate::error::{Error, Result, quoted_bytes};
use crate::tape::{Device, Entry, EntryKind, EntryStream};
use crate::unpack::{RootAttributes, Target, Unpacked, Warnings, components, join, link_target};

/// Most bytes of a tree: about a hundred thousand entries.
const HELD_MAX: usize = 16 << 20;

/// Bytes of a name in a directory, beside its own.
const NAME_BYTES: usize = 48;

/// Longest name of a directory.
const NAME_MAX: usize = 255;

/// The node of the top directory.
pub(super) const ROOT: u32 = 0;

/// The metadata of a layer under construction.
#[derive(Debug)]
pub(crate) struct Index {
    pub(super) nodes: Vec<Node>,
    /// The directory of the last entry: the next one is in it, more likely than not.
    last: Option<(Vec<u8>, u32)>,
    held: usize,
    /// Of the names of directories from the top, for which there is a limit in both forms.
    directory_bytes: u64,
    root: Option<RootAttributes>,
    opaque_root: bool,
    bytes: u64,
    warnings: Warnings,
    odd: Option<Oddity>,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node::implied(Kind::directory(false), 0o755)],
            last: None,
            held: 0,
            directory_bytes: 0,
            root: None,
            opaque_root: false,
            bytes: 0,
            warnings: Warnings::default(),
            odd: None,
        }
    }

    /// Why the layer cannot take this form, if it cannot; what was put in is forgotten then.
    pub(crate) fn odd(&self) -> Option<&'static str> {
        self.odd
    }

    /// Makes the layer an odd one.
    pub(crate) fn set_odd(&mut self, why: Oddity) {
        self.odd.get_or_insert(why);
        self.nodes = Vec::new();
        self.last = None;
    }

    /// What the entries came to.
    pub(crate) fn unpacked(&mut self, entries: u64) -> Unpacked {
        Unpacked {
            entries,
            bytes: self.bytes,
            root: self.root,
            opaque_root: self.opaque_root,
            implied: self.implied(),
            opaque: Vec::new(),
            // The tar is kept.
            straight: true,
            warnings: std::mem::take(&mut self.warnings),
        }
    }

    /// Paths of directories without an entry, in order.
    fn implied(&self) -> Vec<Vec<u8>> {
        let (mut found, mut todo) = (Vec::new(), vec![(Vec::new(), ROOT)]);
        while let Some((path, id)) = todo.pop() {
            let Some(Kind::Directory { children, implied }) = self.kind(id) else {
                continue;
            };
            if *implied {
                found.push(path.clone());
            }
            let inner = children.iter().filter(|(_, id)| self.is_directory(**id));
            todo.extend(inner.map(|(name, id)| (join(&path, name), *id)));
        }
        found.sort_unstable();
        found
    }

    pub(super) fn kind(&self, id: u32) -> Option<&Kind> {
        self.node(id).map(|node| &node.kind)
    }

    pub(super) fn node(&self, id: u32) -> Option<&Node> {
        self.nodes.get(usize::try_from(id).ok()?)
    }

    fn node_mut(&mut self, id: u32) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(id).ok()?)
    }

    fn is_directory(&self, id: u32) -> bool {
        self.kind(id).is_some_and(Kind::is_directory)
    }

    fn child(&self, at: u32, name: &[u8]) -> Option<u32> {
        match self.kind(at)? {
            Kind::Directory { children, .. } => children.get(name).copied(),
            _ => None,
        }
    }

    /// Does something unless the layer is odd already; if it is now, everything is forgotten.
    fn act<T>(&mut self, act: impl FnOnce(&mut Self) -> std::result::Result<T, Oddity>) {
        if self.odd.is_none()
            && let Err(why) = act(self)
        {
            self.set_odd(why);
        }
    }

    fn hold(&mut self, bytes: usize) -> std::result::Result<(), Oddity> {
        self.held += bytes;
        if self.held > HELD_MAX {
            return Err("more entries than are kept in memory");
        }
        Ok(())
    }

    fn add(&mut self, node: Node) -> std::result::Result<u32, Oddity> {
        self.hold(size_of::<Node>())?;
        let id = u32::try_from(self.nodes.len()).map_err(|_many| "too many entries")?;
        self.nodes.push(node);
        Ok(id)
    }

    /// Gives a node a name, in place of what had it.
    fn name(&mut self, at: u32, name: &[u8], id: u32) -> std::result::Result<(), Oddity> {
        if name.len() > NAME_MAX {
            return Err("a name of more than 255 bytes");
        }
        self.hold(NAME_BYTES + name.len())?;
        match self.node_mut(at).map(|node| &mut node.kind) {
            Some(Kind::Directory { children, .. }) => {
                if children.insert(name.into(), id).is_some() {
                    self.last = None;
                }
                Ok(())
            }
            _ => Err("a name in what is no directory"),
        }
    }

    /// The directory that entries go into, made where no entry did.
    fn directory_at(&mut self, path: &[u8]) -> std::result::Result<u32, Oddity> {
        if let Some((known, id)) = &self.last
            && known == path
        {
            return Ok(*id);
        }
        let (mut at, mut length) = (ROOT, 0);
        for part in components(path) {
            if part == b".." {
                return Err("'..' in a name");
            }
            length += part.len() as u64 + 1;
            if self.child(at, part).is_none() {
                self.directory_bytes += length;
            }
            at = match self.child(at, part) {
                Some(id) if self.is_directory(id) => id,
                None => self.imply(at, part, false)?,
                // The lower directory was hidden, and stays so.
                Some(id) if matches!(self.kind(id), Some(Kind::Whiteout)) => {
                    self.imply(at, part, true)?
                }
                Some(_) => return Err("a name that leads through a link or a file"),
            };
        }
        self.last = Some((path.to_vec(), at));
        Ok(at)
    }

    fn imply(&mut self, at: u32, name: &[u8], opaque: bool) -> std::result::Result<u32, Oddity> {
        let mut node = Node::implied(Kind::directory(true), 0o755);
        if opaque {
            node.set(Attribute::opaque());
        }
        let id = self.add(node)?;
        self.name(at, name, id)?;
        Ok(id)
    }

    fn describe_directory(
        &mut self,
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
    ) -> std::result::Result<(), Oddity> {
        let at = self.directory_at(parent)?;
        let id = match self.child(at, name) {
            Some(id) if self.is_directory(id) => id,
            found => {
                let mut node = Node::new(Kind::directory(false), entry);
                if found.is_some() {
                    // What stood here had hidden the lower directory; so does this one.
                    node.set(Attribute::opaque());
                }
                let id = self.add(node)?;
                self.name(at, name, id)?;
                self.directory_bytes += (parent.len() + 1 + name.len()) as u64;
                id
            }
        };
        self.describe(id, entry)?;
        self.last = Some((join(parent, name), id));
        Ok(())
    }

    /// Owner, mode, time and attributes of a directory, of which the last word counts.
    fn describe(&mut self, id: u32, entry: &Entry) -> std::result::Result<(), Oddity> {
        let attributes = self.attributes(entry)?;
        let Some(node) = self.node_mut(id) else {
            return Ok(());
        };
        let known = Node::new(Kind::Fifo, entry);
        (node.mode, node.uid, node.gid) = (known.mode, known.uid, known.gid);
        node.mtime = known.mtime;
        if let Kind::Directory { implied, .. } = &mut node.kind {
            *implied = false;
        }
        for found in attributes {
            node.set(found);
        }
        Ok(())
    }

    fn attributes(&mut self, entry: &Entry) -> std::result::Result<Vec<Attribute>, Oddity> {
        let mut kept = Vec::new();
        let is_plain = matches!(entry.kind, EntryKind::File { .. } | EntryKind::Directory);
        for (key, value) in &entry.xattrs {
            let cause = match Attribute::of_tar(key, value, is_plain)? {
                Fate::Kept(attribute) => {
                    self.hold(size_of::<Attribute>() + attribute.held())?;
                    kept.push(attribute);
                    continue;
                }
                Fate::Dropped => "dropped",
                Fate::Misplaced => "not kept by the file system",
            };
            let text = format!("extended attribute {}: {cause}", quoted_bytes(key));
            self.warnings.push(text);
        }
        Ok(kept)
    }

    fn make(
        &mut self,
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
        at: u64,
    ) -> std::result::Result<(), Oddity> {
        let number = |device: &Device| device_number(device.major, device.minor);
        let kind = match &entry.kind {
            EntryKind::Directory => return self.describe_directory(parent, name, entry),
            EntryKind::HardLink(target) => return self.hard_link(parent, name, target),
            EntryKind::File { size, sparse } => {
                let extent = Extent::new(at, *size, sparse.as_ref())?;
                self.hold(size_of::<Extent>() + extent.blocks.as_slice().len() * 4)?;
                self.bytes += size;
                Kind::File(Box::new(extent))
            }
            EntryKind::Symlink(target) => {
                self.hold(target.len())?;
                Kind::Symlink(target.as_slice().into())
            }
            EntryKind::CharDevice(device) => Kind::CharDevice(number(device)),
            EntryKind::BlockDevice(device) => Kind::BlockDevice(number(device)),
            EntryKind::Fifo => Kind::Fifo,
        };
        let mut node = Node::new(kind, entry);
        if matches!(node.kind, Kind::Symlink(_)) {
            node.mode = 0o777;
        }
        node.attributes = self.attributes(entry)?;
        let at = self.directory_at(parent)?;
        let id = self.add(node)?;
        self.name(at, name, id)
    }

    /// The target is a name of this layer, reached without a link, and no directory: a directory
    /// form would refuse all else, and will.
    fn hard_link(
        &mut self,
        parent: &[u8],
        name: &[u8],
        target: &[u8],
    ) -> std::result::Result<(), Oddity> {
        const MISSING: Oddity = "a hard link to what is not there";
        let (target_parent, target_name) = link_target(target)?;
        let mut from = ROOT;
        for part in components(&target_parent) {
            from = self.child(from, part).ok_or(MISSING)?;
        }
        let id = self.child(from, &target_name).ok_or(MISSING)?;
        match self.kind(id) {
            Some(Kind::Directory { .. } | Kind::Whiteout) | None => return Err(MISSING),
            _ => {}
        }
        let at = self.directory_at(parent)?;
        self.name(at, name, id)
    }

    fn hide(&mut self, parent: &[u8], name: &[u8]) -> std::result::Result<(), Oddity> {
        let at = self.directory_at(parent)?;
        match self.child(at, name) {
            None => {
                let id = self.add(Node::implied(Kind::Whiteout, 0))?;
                self.name(at, name, id)
            }
            Some(id) if self.is_directory(id) => {
                self.mark_opaque(id);
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    fn mark_opaque(&mut self, id: u32) {
        if let Some(node) = self.node_mut(id) {
            node.set(Attribute::opaque());
        }
    }
}

impl Target for Index {
    fn held(&self) -> u64 {
        self.directory_bytes
    }

    fn root(&mut self, entry: &Entry) -> Result<()> {
        self.root = Some(RootAttributes::of(entry));
        self.act(|index| index.describe(ROOT, entry));
        Ok(())
    }

    fn entry(
        &mut self,
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
        stream: &mut EntryStream<'_>,
    ) -> Result<()> {
        if matches!(
            entry.kind,
            EntryKind::CharDevice(Device { major: 0, minor: 0 })
        ) {
            let cause = "character device 0:0 is a forged whiteout";
            return Err(Error::corrupt("unpack", "", cause));
        }
        let at = stream.position();
        self.act(|index| index.make(parent, name, entry, at));
        Ok(())
    }

    fn whiteout(&mut self, parent: &[u8], name: &[u8]) -> Result<()> {
        self.act(|index| index.hide(parent, name));
        Ok(())
    }

    fn opaque(&mut self, path: &[u8]) -> Result<()> {
        self.opaque_root |= path.is_empty();
        self.act(|index| {
            let at = index.directory_at(path)?;
            index.mark_opaque(at);
            Ok(())
        });
        Ok(())
    }
}
