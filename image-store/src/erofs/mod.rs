//! EROFS metadata of a layer whose data stays where it is: in the untouched tar beside it.
//!
//! The kernel mounts two files as one file system: an image of inodes, names and attributes made
//! here, and the layer's tar as its second device, from which file data is read where it lies,
//! aligned to the tar's own blocks of 512 bytes. No byte of an image is ever read as metadata: what
//! the kernel parses, we wrote.
//!
//! [`Index`] takes the entries that [`crate::unpack`] checks for every form of a layer and is
//! written when the last of them was seen. What this form cannot say as a directory would (a name
//! that leads through a symbolic link, an access control list, more names than memory is for) makes
//! the whole layer [odd](Index::odd), and it becomes a directory instead.
//!
//! The format: `Documentation/filesystems/erofs.rst` and `fs/erofs/erofs_fs.h` of the kernel.
//! Nothing here touches a file system: entries in, bytes out, the same bytes for the same entries.

mod attribute;
mod extent;
mod image;
mod layout;
mod names;
mod node;
mod ondisk;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use ondisk::Label;
pub(crate) use tree::Index;

/// Bits of a block's size: the kernel takes 9 to those of its page, and a tar's blocks have 512 bytes.
const BLOCK_BITS: u8 = 9;

/// Bytes of a block.
const BLOCK_BYTES: usize = 1 << BLOCK_BITS;

/// [`BLOCK_BYTES`] as a number of bytes of a file.
const BLOCK: u64 = BLOCK_BYTES as u64;

/// Why a layer does not take this form.
type Oddity = &'static str;
