//! A directory as blocks of sorted names.
//!
//! Each block stands for itself: its entries, then their names. The kernel looks a name up by halves,
//! first among the blocks and then in one, so names are in the order of their bytes, and `.` and `..`
//! are names like others.

use super::ondisk::{DIRENT_BYTES, dirent};
use super::{BLOCK, BLOCK_BYTES};

/// A name, and what it leads to.
pub(super) type Name<'a> = (&'a [u8], u32);

/// All names of a directory in order.
pub(super) fn sorted<'a>(
    children: impl Iterator<Item = Name<'a>>,
    own: u32,
    parent: u32,
) -> Vec<Name<'a>> {
    let mut names: Vec<Name<'a>> = children.collect();
    for special in [(&b"."[..], own), (b"..", parent)] {
        let at = names.partition_point(|(name, _)| *name < special.0);
        names.insert(at, special);
    }
    names
}

/// Bytes of a directory.
pub(super) fn size(names: &[Name<'_>]) -> u64 {
    let mut blocks = Blocks(names);
    let (mut size, mut last) = (0, None);
    for block in blocks.by_ref() {
        if last.replace(used(block)).is_some() {
            size += BLOCK;
        }
    }
    size + last.unwrap_or(0) as u64
}

/// Writes a directory; the last block ends with its last name.
pub(super) fn bytes(names: &[Name<'_>], target: impl Fn(u32) -> (u64, u8)) -> Vec<u8> {
    let mut out = Vec::new();
    for block in Blocks(names) {
        // All blocks but the last are full.
        out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
        let mut name_at = block.len() * DIRENT_BYTES;
        for (name, node) in block {
            let (inode, kind) = target(*node);
            out.extend_from_slice(&dirent(inode, name_at, kind));
            name_at += name.len();
        }
        for (name, _) in block {
            out.extend_from_slice(name);
        }
    }
    out
}

fn used(names: &[Name<'_>]) -> usize {
    names
        .iter()
        .map(|(name, _)| DIRENT_BYTES + name.len())
        .sum()
}

/// As many names at a time as a block takes.
struct Blocks<'a, 'n>(&'a [Name<'n>]);

impl<'a, 'n> Iterator for Blocks<'a, 'n> {
    type Item = &'a [Name<'n>];

    fn next(&mut self) -> Option<Self::Item> {
        let mut sum = 0;
        let fits = self.0.iter().take_while(|(name, _)| {
            sum += DIRENT_BYTES + name.len();
            sum <= BLOCK_BYTES
        });
        let (block, rest) = self.0.split_at_checked(fits.count())?;
        self.0 = rest;
        (!block.is_empty()).then_some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Reads a directory as the kernel does: the first entry's place of its name tells how many
    /// there are, each name ends where the next begins, and the last at a NUL or the end.
    fn read(bytes: &[u8]) -> Vec<(Vec<u8>, u64)> {
        let mut found = Vec::new();
        for block in bytes.chunks(512) {
            let number = |at: usize| usize::from(u16::from_le_bytes([block[at], block[at + 1]]));
            let count = number(8) / 12;
            for index in 0..count {
                let at = index * 12;
                let start = number(at + 8);
                let end = if index + 1 < count {
                    number(at + 20)
                } else {
                    let tail = &block[start..];
                    start + tail.iter().position(|b| *b == 0).unwrap_or(tail.len())
                };
                let inode = u64::from_le_bytes(block[at..at + 8].try_into().unwrap());
                found.push((block[start..end].to_vec(), inode));
            }
        }
        found
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_in_order(names in prop::collection::btree_map(prop::collection::vec(1_u8..255, 1..256), 0_u32..99, 0..60)) {
            let mut all: BTreeMap<&[u8], u32> = names.iter().map(|(name, node)| (name.as_slice(), *node)).collect();
            all.retain(|name, _| !matches!(*name, b"." | b".."));
            let sorted = sorted(all.iter().map(|(name, node)| (*name, *node)), 1000, 1001);
            let bytes = bytes(&sorted, |node| (u64::from(node) + 7, 1));
            prop_assert_eq!(bytes.len() as u64, size(&sorted));
            all.insert(b".", 1000);
            all.insert(b"..", 1001);
            let expected: Vec<_> = all.into_iter().map(|(name, node)| (name.to_vec(), u64::from(node) + 7)).collect();
            prop_assert_eq!(read(&bytes), expected);
        }
    }
}
