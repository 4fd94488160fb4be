//! Where everything of an image goes.
//!
//! Inodes first, a directory's next to each other, each with its attributes and what little data
//! fits behind it; then directories and links that are larger. An inode is known by its place, in
//! units of 32 bytes.

use super::attribute;
use super::node::{Kind, Node};
use super::ondisk::{ATTRIBUTES_HEADER, CHUNK_BYTES, Form, INODE_BYTES, METADATA};
use super::tree::{Index, ROOT};
use super::{BLOCK, Oddity, names};

/// Unit of an inode's place.
const SLOT: u64 = 32;

/// Most data behind an inode: wherever the inode ends, a place for it can be found that keeps the
/// data in one block, which the format asks for.
const INLINE_MAX: u64 = BLOCK - SLOT;

/// Where a node went.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// In units of [`SLOT`]; 0 for a node that no name leads to any more.
    pub(super) inode: u64,
    /// Block of the image with the node's data, where it is not behind the inode.
    pub(super) block: Option<u32>,
    /// Of its data, as the image has it.
    pub(super) size: u64,
    /// Names that lead to it.
    pub(super) links: u32,
    /// Of a directory: the one it is in.
    pub(super) parent: u32,
}

impl Place {
    /// In bytes.
    pub(super) fn offset(&self) -> u64 {
        self.inode * SLOT
    }
}

/// An image about to be written.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) places: Vec<Place>,
    /// Nodes in the order of their places.
    pub(super) order: Vec<u32>,
    /// Nodes with blocks of data, in the order of those.
    pub(super) with_blocks: Vec<u32>,
    /// Of the whole image.
    pub(super) bytes: u64,
}

impl Layout {
    pub(super) fn of(index: &Index) -> Result<Self, Oddity> {
        let mut layout = Self {
            places: vec![Place::default(); index.nodes.len()],
            order: vec![ROOT],
            with_blocks: Vec::new(),
            bytes: METADATA,
        };
        layout.walk(index);
        layout.place_inodes(index)?;
        layout.place_blocks()?;
        Ok(layout)
    }

    pub(super) fn place(&self, id: u32) -> Place {
        let place = usize::try_from(id).ok().and_then(|id| self.places.get(id));
        place.copied().unwrap_or_default()
    }

    fn place_mut(&mut self, id: u32) -> Option<&mut Place> {
        self.places.get_mut(usize::try_from(id).ok()?)
    }

    /// Goes through all directories from the top, counts links and puts nodes in order.
    fn walk(&mut self, index: &Index) {
        // Two of its own, `.` and the name in its parent, or `..` for the root.
        if let Some(root) = self.place_mut(ROOT) {
            root.links = 2;
        }
        let mut next = 0;
        while let Some(id) = self.order.get(next).copied() {
            next += 1;
            let Some(Kind::Directory { children, .. }) = index.kind(id) else {
                continue;
            };
            for child in children.values() {
                let is_directory = matches!(index.kind(*child), Some(Kind::Directory { .. }));
                self.link(id, *child, is_directory);
            }
        }
    }

    /// Counts a name of a node, and gives the node its turn at the first one.
    fn link(&mut self, parent: u32, child: u32, is_directory: bool) {
        let Some(place) = self.place_mut(child) else {
            return;
        };
        place.links += if is_directory { 2 } else { 1 };
        let is_first = is_directory || place.links == 1;
        if is_directory {
            place.parent = parent;
            if let Some(parent) = self.place_mut(parent) {
                parent.links += 1;
            }
        }
        if is_first {
            self.order.push(child);
        }
    }

    fn place_inodes(&mut self, index: &Index) -> Result<(), Oddity> {
        for at in 0..self.order.len() {
            let id = self.order.get(at).copied().unwrap_or_default();
            let Some(node) = index.node(id) else { continue };
            let size = self.data_size(id, node);
            let head = INODE_BYTES + attribute::size(&node.attributes)?;
            let mut offset = self.bytes.next_multiple_of(SLOT);
            let mut end = offset + head;
            match &node.kind {
                Kind::File(extent) => {
                    let count = extent.blocks.as_slice().len() as u64;
                    if count > 0 {
                        end = end.next_multiple_of(CHUNK_BYTES) + count * CHUNK_BYTES;
                    }
                }
                Kind::Directory { .. } | Kind::Symlink(_) if size <= INLINE_MAX => {
                    while (offset + head) % BLOCK + size > BLOCK {
                        offset += SLOT;
                    }
                    end = offset + head + size;
                }
                Kind::Directory { .. } | Kind::Symlink(_) => self.with_blocks.push(id),
                _ => {}
            }
            self.bytes = end;
            if let Some(place) = self.place_mut(id) {
                (place.inode, place.size) = (offset / SLOT, size);
            }
        }
        Ok(())
    }

    fn data_size(&self, id: u32, node: &Node) -> u64 {
        match &node.kind {
            Kind::Directory { children, .. } => {
                let children = children.iter().map(|(name, child)| (&**name, *child));
                names::size(&names::sorted(children, id, self.place(id).parent))
            }
            Kind::Symlink(target) => target.len() as u64,
            Kind::File(extent) => extent.length,
            _ => 0,
        }
    }

    fn place_blocks(&mut self) -> Result<(), Oddity> {
        self.bytes = self.bytes.next_multiple_of(BLOCK);
        for at in 0..self.with_blocks.len() {
            let id = self.with_blocks.get(at).copied().unwrap_or_default();
            let block = u32::try_from(self.bytes / BLOCK);
            let block = block.map_err(|_large| "more metadata than the format can name")?;
            let size = self.place(id).size;
            self.bytes += size.next_multiple_of(BLOCK);
            if let Some(place) = self.place_mut(id) {
                place.block = Some(block);
            }
        }
        Ok(())
    }

    /// How the data of a node lies.
    pub(super) fn form(&self, id: u32, kind: &Kind) -> Form {
        match kind {
            Kind::File(extent) if extent.blocks.as_slice().is_empty() => Form::Plain(0),
            Kind::File(extent) => Form::Chunks(extent.bits),
            Kind::Directory { .. } | Kind::Symlink(_) => {
                self.place(id).block.map_or(Form::Inline, Form::Plain)
            }
            Kind::CharDevice(number) | Kind::BlockDevice(number) => Form::Device(*number),
            Kind::Fifo | Kind::Whiteout => Form::Device(0),
        }
    }
}

/// Attributes never end within a slot of four bytes, so chunks stand where the kernel looks.
const _: () = assert!(ATTRIBUTES_HEADER.is_multiple_of(4) && SLOT.is_multiple_of(CHUNK_BYTES));
