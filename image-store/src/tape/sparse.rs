//! Sparse files in GNU's four encodings: the old header chain, and PAX 0.0, 0.1 and 1.0.

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::header::{BLOCK, Fault, number};
use super::pax::{SparseKeys, decimal};

/// Most data segments of one file.
const SEGMENTS_MAX: usize = 1 << 20;

/// Where the data of a sparse file belongs; everything else is hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SparseMap {
    /// In order, apart, not empty, within `length`.
    pub(crate) segments: Vec<Segment>,
    /// Length of the expanded file in bytes.
    pub(crate) length: u64,
}

/// A run of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl SparseMap {
    /// Checks a list of segments against the file's length and the bytes of data in the archive.
    fn new(pairs: &[(u64, u64)], length: u64, data: u64) -> Result<Self, Fault> {
        if i64::try_from(length).is_err() {
            return Err("sparse file is too long");
        }
        let (mut end, mut sum) = (0_u64, 0_u64);
        let mut segments = Vec::new();
        for (offset, count) in pairs {
            let stop = offset.checked_add(*count).ok_or("sparse map overflows")?;
            if *offset < end || stop > length {
                return Err("sparse map overlaps or runs past the end");
            }
            end = stop;
            sum += count;
            if *count > 0 {
                segments.push(Segment {
                    offset: *offset,
                    length: *count,
                });
            }
        }
        if sum != data {
            return Err("sparse map does not fit the data");
        }
        Ok(Self { segments, length })
    }

    /// The map of a PAX 0.0 or 0.1 file.
    pub(super) fn from_keys(keys: &SparseKeys, data: u64) -> Result<Self, Fault> {
        let length = keys.real_size.ok_or("sparse file without size")?;
        let numbers = keys.map.as_deref().ok_or("sparse file without map")?;
        let (pairs, rest) = numbers.as_chunks::<2>();
        if !rest.is_empty() || pairs.len() > SEGMENTS_MAX {
            return Err("sparse map is cut off or too long");
        }
        let pairs: Vec<(u64, u64)> = pairs
            .iter()
            .map(|[offset, count]| (*offset, *count))
            .collect();
        Self::new(&pairs, length, data)
    }
}

/// Collects the map of an old GNU sparse file, block by block.
#[derive(Debug)]
pub(super) struct OldMap {
    pairs: Vec<(u64, u64)>,
    length: u64,
    more: bool,
}

impl OldMap {
    /// The part in the entry's own header.
    pub(super) fn from_header(block: &[u8; BLOCK]) -> Result<Self, Fault> {
        let header = Header::from_byte_slice(block);
        let gnu = header.as_gnu().ok_or("sparse entry without GNU header")?;
        let length = number(&gnu.realsize)?;
        let mut map = Self {
            pairs: Vec::new(),
            length,
            more: flag(gnu.isextended)?,
        };
        map.push(&gnu.sparse)?;
        Ok(map)
    }

    /// Whether another block of the map follows.
    pub(super) fn wants_more(&self) -> bool {
        self.more
    }

    /// A continuation block.
    pub(super) fn extend(&mut self, block: &[u8; BLOCK]) -> Result<(), Fault> {
        let mut part = GnuExtSparseHeader::new();
        part.as_mut_bytes().copy_from_slice(block);
        self.more = flag(part.isextended)?;
        self.push(&part.sparse)
    }

    fn push(&mut self, slots: &[GnuSparseHeader]) -> Result<(), Fault> {
        // An empty slot ends the list of a block.
        for slot in slots.iter().take_while(|slot| !slot.is_empty()) {
            self.pairs
                .push((number(&slot.offset)?, number(&slot.numbytes)?));
        }
        if self.pairs.len() > SEGMENTS_MAX {
            Err("sparse map is too long")
        } else {
            Ok(())
        }
    }

    pub(super) fn finish(self, data: u64) -> Result<SparseMap, Fault> {
        SparseMap::new(&self.pairs, self.length, data)
    }
}

fn flag(field: [u8; 1]) -> Result<bool, Fault> {
    match field {
        [0 | b'0'] => Ok(false),
        [1 | b'1'] => Ok(true),
        _ => Err("bad continuation mark in sparse header"),
    }
}

/// Collects the map of a PAX 1.0 file: decimal numbers on lines of their own, at the head of the
/// data, filled up to a block.
#[derive(Debug)]
pub(super) struct DataMap {
    numbers: Vec<u64>,
    digits: Vec<u8>,
    wanted: Option<usize>,
}

impl DataMap {
    pub(super) fn new() -> Self {
        Self {
            numbers: Vec::new(),
            digits: Vec::new(),
            wanted: None,
        }
    }

    /// Whether the count and all pairs have been read.
    pub(super) fn is_complete(&self) -> bool {
        self.wanted
            .is_some_and(|wanted| self.numbers.len() >= wanted)
    }

    /// One block of data; what follows the last number in it is padding.
    pub(super) fn extend(&mut self, block: &[u8; BLOCK]) -> Result<(), Fault> {
        for byte in block {
            if self.is_complete() {
                return Ok(());
            }
            if *byte != b'\n' {
                self.digits.push(*byte);
                if self.digits.len() > 19 {
                    return Err("bad number in sparse map");
                }
                continue;
            }
            let number = decimal(&self.digits)?;
            self.digits.clear();
            if self.wanted.is_none() {
                let pairs = usize::try_from(number).ok().filter(|n| *n <= SEGMENTS_MAX);
                self.wanted = Some(pairs.ok_or("sparse map is too long")? * 2);
            } else {
                self.numbers.push(number);
            }
        }
        Ok(())
    }

    pub(super) fn finish(self, length: u64, data: u64) -> Result<SparseMap, Fault> {
        let keys = SparseKeys {
            real_size: Some(length),
            map: Some(self.numbers),
            ..SparseKeys::default()
        };
        SparseMap::from_keys(&keys, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn maps_that_do_not_fit_are_refused() {
        assert!(SparseMap::new(&[(0, 512), (4096, 512)], 8192, 1024).is_ok());
        assert!(
            SparseMap::new(&[(8192, 0)], 8192, 0)
                .unwrap()
                .segments
                .is_empty()
        );
        for (pairs, length, data) in [
            (&[(0, 512), (256, 512)][..], 8192, 1024),
            (&[(4096, 1), (0, 1)], 8192, 2),
            (&[(8192, 1)], 8192, 1),
            (&[(u64::MAX, 1)], 8192, 1),
            (&[(0, 512)], 8192, 513),
            (&[], u64::MAX, 0),
        ] {
            assert!(SparseMap::new(pairs, length, data).is_err(), "{pairs:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_maps_never_panic(pairs: Vec<(u64, u64)>, length: u64, data: u64) {
            drop(SparseMap::new(&pairs, length, data));
        }

        #[test]
        fn arbitrary_blocks_never_panic(bytes in proptest::collection::vec(any::<u8>(), BLOCK)) {
            let block: [u8; BLOCK] = bytes.try_into().unwrap();
            DataMap::new().extend(&block).ok();
            if let Ok(mut map) = OldMap::from_header(&block) {
                map.extend(&block).ok();
                drop(map.finish(512));
            }
        }
    }
}
