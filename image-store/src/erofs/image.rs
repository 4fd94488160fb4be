//! Writes an image from front to back.

use std::io::{self, Write};

use super::attribute;
use super::layout::{Layout, Place};
use super::names;
use super::node::{Kind, Node};
use super::ondisk::{CHUNK_BYTES, Inode, Label, Totals, chunk, head};
use super::tree::Index;
use super::{BLOCK, BLOCK_BYTES};

/// `S_IFMT` of a node, and the number that directories have for it.
fn kind_bits(kind: &Kind) -> (u16, u8) {
    match kind {
        Kind::File(_) => (0o100_000, 1),
        Kind::Directory { .. } => (0o040_000, 2),
        Kind::CharDevice(_) | Kind::Whiteout => (0o020_000, 3),
        Kind::BlockDevice(_) => (0o060_000, 4),
        Kind::Fifo => (0o010_000, 5),
        Kind::Symlink(_) => (0o120_000, 7),
    }
}

impl Index {
    /// Finds a place for everything; the layer is an odd one where there is none.
    pub(crate) fn settle(&mut self) -> Option<Image<'_>> {
        if self.odd().is_some() {
            return None;
        }
        match Layout::of(self) {
            Ok(layout) => Some(Image {
                index: self,
                layout,
            }),
            Err(why) => {
                self.set_odd(why);
                None
            }
        }
    }
}

/// A tree with a place for everything.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    index: &'a Index,
    layout: Layout,
}

impl Image<'_> {
    /// Writes the image.
    pub(crate) fn write(&self, label: &Label<'_>, sink: impl Write) -> io::Result<()> {
        let totals = Totals {
            inodes: self.layout.order.len() as u64,
            bytes: self.layout.bytes,
        };
        let mut out = Counted { sink, at: 0 };
        out.put(&head(label, totals))?;
        for (number, id) in (1..).zip(&self.layout.order) {
            if let Some(node) = self.index.node(*id) {
                self.inode(&mut out, *id, node, number)?;
            }
        }
        for id in &self.layout.with_blocks {
            out.fill(BLOCK)?;
            if let Some(node) = self.index.node(*id) {
                out.put(&self.data(*id, node))?;
            }
        }
        out.fill(BLOCK)?;
        out.sink.flush()
    }

    fn inode(
        &self,
        out: &mut Counted<impl Write>,
        id: u32,
        node: &Node,
        number: u32,
    ) -> io::Result<()> {
        let place: Place = self.layout.place(id);
        let attributes = attribute::bytes(&node.attributes);
        let inode = Inode {
            form: self.layout.form(id, &node.kind),
            attribute_bytes: attributes.len() as u64,
            mode: kind_bits(&node.kind).0 | node.mode,
            size: place.size,
            number,
            uid: node.uid,
            gid: node.gid,
            seconds: node.mtime.seconds,
            nanoseconds: node.mtime.nanoseconds,
            links: place.links,
        };
        out.seek(place.offset())?;
        out.put(&inode.bytes())?;
        out.put(&attributes)?;
        match &node.kind {
            Kind::File(extent) => {
                for block in extent.blocks.as_slice() {
                    out.fill(CHUNK_BYTES)?;
                    out.put(&chunk(*block))?;
                }
                Ok(())
            }
            _ if place.block.is_some() => Ok(()),
            _ => out.put(&self.data(id, node)),
        }
    }

    /// What is in a directory or a link.
    fn data(&self, id: u32, node: &Node) -> Vec<u8> {
        match &node.kind {
            Kind::Directory { children, .. } => {
                let children = children.iter().map(|(name, child)| (&**name, *child));
                let names = names::sorted(children, id, self.layout.place(id).parent);
                let target = |id| {
                    let kind = self.index.kind(id).map_or(0, |kind| kind_bits(kind).1);
                    (self.layout.place(id).inode, kind)
                };
                names::bytes(&names, target)
            }
            Kind::Symlink(target) => target.to_vec(),
            _ => Vec::new(),
        }
    }
}

/// Knows how far it is.
struct Counted<W> {
    sink: W,
    at: u64,
}

impl<W: Write> Counted<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.sink.write_all(bytes)
    }

    /// Zeros up to a place.
    fn seek(&mut self, to: u64) -> io::Result<()> {
        let zeros = [0; BLOCK_BYTES];
        while self.at < to {
            let count = usize::try_from(to - self.at).unwrap_or(usize::MAX);
            self.put(zeros.get(..count).unwrap_or(&zeros))?;
        }
        Ok(())
    }

    /// Zeros up to the next multiple.
    fn fill(&mut self, unit: u64) -> io::Result<()> {
        self.seek(self.at.next_multiple_of(unit))
    }
}
