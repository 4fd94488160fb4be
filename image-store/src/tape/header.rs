//! One 512-byte header block: checksum, strict numbers, names.

use tar::{EntryType, Header};

use super::Device;

/// Bytes of one block.
pub(super) const BLOCK: usize = 512;

/// Why a header is refused; the stream knows which entry it was.
pub(super) type Fault = &'static str;

/// The fields of a header block, checked one by one.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: EntryType,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) size: u64,
    pub(super) mtime: i64,
}

/// Reads a block that is not all zeros.
pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Fields, Fault> {
    let header = Header::from_byte_slice(block);
    let old = header.as_old();
    if number(&old.cksum)? != u64::from(checksum(block)) {
        return Err("header checksum does not fit");
    }
    if block.ends_with(b"tar\0") {
        return Err("star archives are not supported");
    }
    Ok(Fields {
        path: header.path_bytes().into_owned(),
        link: header
            .link_name_bytes()
            .map(std::borrow::Cow::into_owned)
            .unwrap_or_default(),
        kind: header.entry_type(),
        mode: u32::try_from(number(&old.mode)? & 0o7777).unwrap_or(0),
        uid: number(&old.uid)?,
        gid: number(&old.gid)?,
        size: number(&old.size)?,
        mtime: signed(&old.mtime)?,
    })
}

/// The device number of a device entry.
pub(super) fn device(block: &[u8; BLOCK]) -> Result<Device, Fault> {
    let header = Header::from_byte_slice(block);
    let (major, minor) = if let Some(ustar) = header.as_ustar() {
        (number(&ustar.dev_major)?, number(&ustar.dev_minor)?)
    } else if let Some(gnu) = header.as_gnu() {
        (number(&gnu.dev_major)?, number(&gnu.dev_minor)?)
    } else {
        return Err("device without a device number");
    };
    // MAJOR_BITS and MINOR_BITS of the kernel.
    match (u32::try_from(major), u32::try_from(minor)) {
        (Ok(major), Ok(minor)) if major < 1 << 12 && minor < 1 << 20 => Ok(Device { major, minor }),
        _ => Err("device number is too large"),
    }
}

/// Octal, padded with spaces and NULs, or base 256; never negative, never garbage.
pub(super) fn number(field: &[u8]) -> Result<u64, Fault> {
    u64::try_from(signed(field)?).map_err(|_negative| "negative number in header")
}

fn signed(field: &[u8]) -> Result<i64, Fault> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Result<i64, Fault> {
    let blank = |b: &u8| *b == b' ' || *b == 0;
    let start = field.iter().position(|b| *b != b' ').unwrap_or(field.len());
    let rest = field.get(start..).unwrap_or_default();
    let end = rest.iter().position(blank).unwrap_or(rest.len());
    let (digits, padding) = rest.split_at(end);
    if !padding.iter().all(blank) {
        return Err("garbage after a number in header");
    }
    digits.iter().try_fold(0_i64, |sum, digit| {
        if !(b'0'..=b'7').contains(digit) {
            return Err("number in header is not octal");
        }
        // At most twelve digits fit a field: 36 bits.
        sum.checked_mul(8)
            .and_then(|s| s.checked_add(i64::from(digit - b'0')))
            .ok_or("overflow")
    })
}

/// GNU's big-endian two's complement, marked by the top bit.
fn base_256(field: &[u8]) -> Result<i64, Fault> {
    let (first, rest) = field.split_first().ok_or("empty number in header")?;
    // Bit 7 marks, bit 6 is the sign.
    let start = i128::from(first & 0x3f) - i128::from(first & 0x40);
    rest.iter()
        .try_fold(start, |sum, byte| {
            sum.checked_mul(256)
                .map(|s| s + i128::from(*byte))
                .filter(|s| s.abs() < 1 << 100)
        })
        .and_then(|sum| i64::try_from(sum).ok())
        .ok_or("number in header is too large")
}

/// The sum of all bytes, the checksum field itself counted as spaces.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    const SPACES: u32 = 8 * b' ' as u32;
    let field = block.get(148..156).unwrap_or_default();
    (sum(block) + SPACES).wrapping_sub(sum(field))
}

/// Eight bytes at a time, in four lanes, of which none overflows in a block.
fn sum(bytes: &[u8]) -> u32 {
    const LOW: u64 = 0x00ff_00ff_00ff_00ff;
    let (words, _) = bytes.as_chunks::<8>();
    let lanes = words.iter().fold(0_u64, |lanes, word| {
        let word = u64::from_le_bytes(*word);
        lanes + (word & LOW) + (word >> 8 & LOW)
    });
    let bytes = lanes.to_le_bytes();
    let (lanes, _) = bytes.as_chunks::<2>();
    lanes
        .iter()
        .map(|lane| u32::from(u16::from_le_bytes(*lane)))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_checksum_is_the_sum_with_its_field_as_spaces(bytes in prop::collection::vec(any::<u8>(), BLOCK)) {
            let block: [u8; BLOCK] = bytes.try_into().unwrap();
            let byte = |(index, byte): (usize, &u8)| match index {
                148..156 => u32::from(b' '),
                _ => u32::from(*byte),
            };
            prop_assert_eq!(checksum(&block), block.iter().enumerate().map(byte).sum::<u32>());
        }
    }

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0"), Ok(0o644));
        assert_eq!(number(b"    644 "), Ok(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Ok(0));
        assert_eq!(number(b"777777777777"), Ok(0o777_777_777_777));
        assert_eq!(number(b"\x80\0\0\0\xff\xff\xff\xfe"), Ok(0xffff_fffe));
        assert_eq!(signed(b"\xff\xff\xff\xff\xff\xff\xff\xff"), Ok(-1));
        for bad in [
            &b"+644\0"[..],
            b"64x\0",
            b"-1\0",
            b"644\x006\0",
            b"8\0",
            b"\xff\xff",
            b"0x10\0",
        ] {
            assert!(number(bad).is_err(), "{bad:?}");
        }
        assert!(number(b"\x80\x01\0\0\0\0\0\0\0\0\0\0").is_err());
    }
}
