//! Where a file's data lies in the tar.

use super::ondisk::HOLE;
use super::{BLOCK, BLOCK_BITS, Oddity};
use crate::tape::{Segment, SparseMap};

/// Largest chunk that an inode can speak of: 31 bits more than a block.
const BITS_MAX: u8 = BLOCK_BITS + 31;

/// Most chunks of one file: half a MiB of them.
const CHUNKS_MAX: u64 = 1 << 16;

/// A file's data, in chunks of equal size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extent {
    /// Of the file.
    pub(super) length: u64,
    /// Of a chunk.
    pub(super) bits: u8,
    pub(super) blocks: Blocks,
}

/// The block of the tar where each chunk begins, or [`HOLE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Blocks {
    /// Nothing, or one run from here on: all but sparse files.
    None,
    One(u32),
    Many(Box<[u32]>),
}

impl Blocks {
    pub(super) fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(block) => std::slice::from_ref(block),
            Self::Many(blocks) => blocks,
        }
    }
}

impl Extent {
    /// Data at this place of the tar.
    pub(super) fn new(at: u64, size: u64, sparse: Option<&SparseMap>) -> Result<Self, Oddity> {
        let whole = |length| SparseMap {
            segments: vec![Segment { offset: 0, length }],
            length,
        };
        match sparse {
            None => Self::of_map(at, &whole(size)),
            Some(map) => Self::of_map(at, map),
        }
    }

    fn of_map(at: u64, map: &SparseMap) -> Result<Self, Oddity> {
        let bits = chunk_bits(map)?;
        let count = map.length.div_ceil(1 << bits);
        if map.length == 0 || (count == 1 && map.segments.len() == 1) {
            let block = block_of(at)?;
            let blocks = if map.length == 0 {
                Blocks::None
            } else {
                Blocks::One(block)
            };
            return Ok(Self {
                length: map.length,
                bits,
                blocks,
            });
        }
        if count > CHUNKS_MAX {
            return Err("a sparse file of too many pieces");
        }
        let mut blocks = vec![HOLE; usize::try_from(count).unwrap_or(0)];
        let mut data = at;
        for Segment { offset, length } in &map.segments {
            let first = offset >> bits;
            for step in 0..length.div_ceil(1 << bits) {
                let slot = usize::try_from(first + step).ok();
                if let Some(slot) = slot.and_then(|slot| blocks.get_mut(slot)) {
                    *slot = block_of(data + (step << bits))?;
                }
            }
            data += length;
        }
        Ok(Self {
            length: map.length,
            bits,
            blocks: Blocks::Many(blocks.into_boxed_slice()),
        })
    }
}

/// The largest chunk that no segment begins or ends within. Behind the last segment there are
/// zeros up to the tar's next block, and behind the file's end nobody looks.
fn chunk_bits(map: &SparseMap) -> Result<u8, Oddity> {
    let mut edges = 0;
    for (index, Segment { offset, length }) in map.segments.iter().enumerate() {
        let end = offset + length;
        edges |= offset;
        if index + 1 < map.segments.len() {
            edges |= end;
        } else if end < map.length {
            edges |= end.next_multiple_of(BLOCK);
        }
    }
    // No chunk need be larger than the file.
    let whole = map.length.max(BLOCK).next_power_of_two();
    let bits = (edges | whole).trailing_zeros();
    match u8::try_from(bits).unwrap_or(u8::MAX).min(BITS_MAX) {
        bits @ BLOCK_BITS.. => Ok(bits),
        _ => Err("a sparse file whose pieces are not whole blocks"),
    }
}

fn block_of(at: u64) -> Result<u32, Oddity> {
    let block = u32::try_from(at >> BLOCK_BITS).ok();
    let block = block.filter(|block| *block != HOLE && at.is_multiple_of(BLOCK));
    block.ok_or("data that is not at a block the format can name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(pairs: &[(u64, u64)], length: u64) -> SparseMap {
        let segment = |(offset, length): &(u64, u64)| Segment {
            offset: *offset,
            length: *length,
        };
        SparseMap {
            segments: pairs.iter().map(segment).collect(),
            length,
        }
    }

    #[test]
    fn plain_data_is_one_chunk() {
        let extent = Extent::new(1024, 1, None).unwrap();
        assert_eq!((extent.bits, extent.blocks), (9, Blocks::One(2)));
        let extent = Extent::new(1024, 513, None).unwrap();
        assert_eq!((extent.bits, extent.blocks), (10, Blocks::One(2)));
        assert_eq!(Extent::new(512, 0, None).unwrap().blocks, Blocks::None);
        // more than one chunk can hold
        let extent = Extent::new(512, (1 << 40) + 1, None).unwrap();
        let second = 1 + (1 << 31);
        let blocks = Blocks::Many(Box::new([1, second]));
        assert_eq!((extent.bits, extent.blocks), (40, blocks));
        assert!(Extent::new(1 << 41, 1, None).is_err());
        assert!(Extent::new(100, 1, None).is_err());
    }

    #[test]
    fn holes_are_nowhere() {
        let sparse = map(&[(4096, 4096), (12288, 100)], 20000);
        let extent = Extent::new(512, 4196, Some(&sparse)).unwrap();
        // the tail of the last segment ends in a chunk of its own
        assert_eq!(extent.bits, 9);
        assert_eq!(extent.blocks.as_slice().len(), 40);
        assert_eq!(extent.blocks.as_slice().first(), Some(&HOLE));
        assert_eq!(extent.blocks.as_slice().get(8..10), Some(&[1, 2][..]));
        assert_eq!(extent.blocks.as_slice().get(24..26), Some(&[9, HOLE][..]));
        let only_hole = Extent::new(512, 0, Some(&map(&[], 1 << 30))).unwrap();
        assert_eq!(only_hole.blocks.as_slice(), [HOLE]);
        for odd in [map(&[(100, 512)], 8192), map(&[(0, 100), (512, 1)], 513)] {
            assert!(Extent::new(512, 612, Some(&odd)).is_err());
        }
    }

    proptest! {
        /// Byte by byte: a chunk leads to the segment's byte in the tar, or nowhere.
        #[test]
        fn every_byte_is_where_its_segment_is(lengths in prop::collection::vec((0_u64..6, 1_u64..6), 0..6), tail in 0_u64..1500, unit in prop::sample::select(vec![512_u64, 4096])) {
            let (mut at, mut pairs) = (0, Vec::new());
            for (gap, length) in lengths {
                at += gap * unit;
                pairs.push((at, length * unit));
                at += length * unit + unit;
            }
            let sparse = map(&pairs, at + tail);
            let extent = Extent::new(512, 0, Some(&sparse)).unwrap();
            let mut data = 512;
            for (offset, length) in pairs {
                for byte in (offset..offset + length).step_by(512) {
                    let block = extent.blocks.as_slice()[usize::try_from(byte >> extent.bits).unwrap()];
                    let inside = byte & ((1 << extent.bits) - 1);
                    prop_assert_ne!(block, HOLE);
                    prop_assert_eq!(u64::from(block) * 512 + inside, data + byte - offset);
                }
                data += length;
            }
            for (slot, block) in extent.blocks.as_slice().iter().enumerate() {
                let byte = (slot as u64) << extent.bits;
                let inside = sparse.segments.iter().any(|s| (s.offset..s.offset + s.length).contains(&byte));
                prop_assert_eq!(*block == HOLE, !inside);
            }
        }
    }
}
