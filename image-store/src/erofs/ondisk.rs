//! The structures of the format as bytes, little end first.

use super::{BLOCK, BLOCK_BITS, BLOCK_BYTES};

/// `EROFS_SUPER_MAGIC_V1`
const SUPER_MAGIC: u32 = 0xe0f5_e1e2;

/// Where the superblock is, whatever the size of a block.
const SUPER_OFFSET: usize = 1024;

/// Bytes of the superblock.
const SUPER_BYTES: usize = 128;

/// Where the table of devices is, in units of an entry: right behind the superblock.
const TABLE: u16 = 9;

const _: () = assert!(TABLE as usize * 128 == SUPER_OFFSET + SUPER_BYTES);

/// Where inodes begin: behind the one block that holds superblock and table.
pub(super) const METADATA: u64 = (SUPER_OFFSET + BLOCK_BYTES) as u64;

/// The number of the root, which is the first inode: its place, in units of 32 bytes.
const ROOT: u16 = 48;

const _: () = assert!(ROOT as u64 * 32 == METADATA);

/// Bytes of an inode in its complete form, the only one that knows 32-bit owners and its own time.
pub(super) const INODE_BYTES: u64 = INODE as u64;
const INODE: usize = 64;

/// Bytes in front of inline attributes.
pub(super) const ATTRIBUTES_HEADER: u64 = HEADER_BYTES as u64;
pub(super) const HEADER_BYTES: usize = 12;

/// Bytes of an entry of a directory, its name not counted.
pub(super) const DIRENT_BYTES: usize = 12;

/// Bytes of what says where a chunk of a file is.
pub(super) const CHUNK_BYTES: u64 = 8;

/// The number of a device in chunks: the tar; 0 would be the image itself.
const TAR: u16 = 1;

/// `EROFS_NULL_ADDR`: a chunk of zeros that is nowhere.
pub(super) const HOLE: u32 = u32::MAX;

/// `EROFS_FEATURE_COMPAT_MTIME`. No checksum of the superblock: the format's own tools fall over one
/// in blocks of 512 bytes, and the whole image can be made anew and compared.
const COMPATIBLE: u32 = 2;

/// `EROFS_FEATURE_INCOMPAT_CHUNKED_FILE` and `_DEVICE_TABLE`.
const NEEDED: u32 = 4 | 8;

/// `EROFS_CHUNK_FORMAT_INDEXES`: chunks name their device.
const INDEXES: u16 = 0x20;

/// How an inode's data lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// In blocks of the image, from this one on.
    Plain(u32),
    /// Right behind the inode.
    Inline,
    /// Somewhere else, in chunks of this many bits.
    Chunks(u8),
    /// A device, which has a number and no data.
    Device(u32),
}

/// What an inode says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inode {
    pub(super) form: Form,
    pub(super) attribute_bytes: u64,
    pub(super) mode: u16,
    pub(super) size: u64,
    pub(super) number: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
    pub(super) links: u32,
}

impl Inode {
    /// `struct erofs_inode_extended`
    pub(super) fn bytes(&self) -> Vec<u8> {
        let (layout, union) = match self.form {
            Form::Plain(block) => (0, block),
            Form::Device(number) => (0, number),
            Form::Inline => (2, 0),
            Form::Chunks(bits) => {
                let format = u16::from(bits.saturating_sub(BLOCK_BITS)) | INDEXES;
                (4, u32::from(format))
            }
        };
        // The header counts as one, each four bytes behind it as one more.
        let attributes = match self.attribute_bytes.checked_sub(ATTRIBUTES_HEADER) {
            Some(rest) => 1 + rest / 4,
            None => 0,
        };
        let mut out = Fields::with_capacity(INODE);
        out.u16(1 | layout << 1);
        out.u16(u16::try_from(attributes).unwrap_or(u16::MAX));
        out.u16(self.mode);
        out.u16(0);
        out.u64(self.size);
        out.u32(union);
        out.u32(self.number);
        out.u32(self.uid);
        out.u32(self.gid);
        out.u64(self.seconds.cast_unsigned());
        out.u32(self.nanoseconds);
        out.u32(self.links);
        out.fill(INODE);
        out.0
    }
}

/// `struct erofs_inode_chunk_index`
pub(super) fn chunk(block: u32) -> Vec<u8> {
    let mut out = Fields::with_capacity(8);
    out.u16(0);
    out.u16(if block == HOLE { 0 } else { TAR });
    out.u32(block);
    out.0
}

/// `struct erofs_dirent`; the kind is one of the `FT_` numbers that file systems share.
pub(super) fn dirent(inode: u64, name_at: usize, kind: u8) -> Vec<u8> {
    let mut out = Fields::with_capacity(DIRENT_BYTES);
    out.u64(inode);
    out.u16(u16::try_from(name_at).unwrap_or(u16::MAX));
    out.u8(kind);
    out.u8(0);
    out.0
}

/// Kernel's `new_encode_dev`.
pub(super) fn device_number(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// What a file system is known by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Label<'a> {
    /// Hexadecimal digits of the tar's digest: the device's tag, and the volume's own number, for
    /// overlayfs tells file systems apart by that.
    pub(crate) digest: &'a str,
    /// Bytes of the tar.
    pub(crate) tar_bytes: u64,
}

/// Counts that the superblock tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) inodes: u64,
    pub(super) bytes: u64,
}

/// All in front of the first inode.
pub(super) fn head(label: &Label<'_>, totals: Totals) -> Vec<u8> {
    let blocks = |bytes: u64| u32::try_from(bytes.div_ceil(BLOCK)).unwrap_or(u32::MAX);
    let mut out = Fields::with_capacity(BLOCK_BYTES);
    out.u32(SUPER_MAGIC);
    out.u32(0); // no checksum
    out.u32(COMPATIBLE);
    out.u8(BLOCK_BITS);
    out.u8(0);
    out.u16(ROOT);
    out.u64(totals.inodes);
    out.u64(0); // the time of short inodes, of which there are none
    out.u32(0);
    out.u32(blocks(totals.bytes));
    out.u32(0); // inodes are counted from the front
    out.u32(0); // no shared attributes
    out.0.extend_from_slice(&volume(label.digest));
    out.fill(80);
    out.u32(NEEDED);
    out.u16(0); // no compression
    out.u16(1); // one device more
    out.u16(TABLE);
    out.fill(SUPER_BYTES);
    let digest = label.digest.as_bytes();
    out.0
        .extend_from_slice(digest.get(..64).unwrap_or_default());
    out.fill(SUPER_BYTES + 64);
    out.u32(blocks(label.tar_bytes));
    // Seen as one row of blocks, the tar's follow ours.
    out.u32(blocks(totals.bytes));
    out.fill(BLOCK_BYTES);
    let mut head = vec![0; SUPER_OFFSET];
    head.append(&mut out.0);
    head
}

/// The first 32 digits as bytes.
fn volume(digits: &str) -> [u8; 16] {
    let mut volume = [0; 16];
    let value = |digit: u8| u8::try_from(char::from(digit).to_digit(16).unwrap_or(0)).unwrap_or(0);
    let (pairs, _) = digits.as_bytes().as_chunks::<2>();
    for (byte, [high, low]) in volume.iter_mut().zip(pairs) {
        *byte = value(*high) << 4 | value(*low);
    }
    volume
}

/// Fields one after the other.
struct Fields(Vec<u8>);

impl Fields {
    fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Zeros up to so many bytes.
    fn fill(&mut self, bytes: usize) {
        self.0.resize(bytes.max(self.0.len()), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_the_kernels() {
        assert_eq!(device_number(1, 3), 0x103);
        assert_eq!(device_number(0xfff, 0xf_ffff), 0xffff_ffff);
        assert_eq!(device_number(8, 0x101), 0x10_0801);
    }

    #[test]
    fn volume_is_the_digests_beginning() {
        let digits = "000102030405060708090a0b0c0d0eff".repeat(2);
        assert_eq!(volume(&digits).first_chunk(), Some(&[0, 1, 2, 3]));
        assert_eq!(volume(&digits).last(), Some(&0xff));
    }
}
