//! The forms that layers have on disk, behind one trait.
//!
//! [`Dirs`] is what every file system takes: a directory. [`Erofs`] is two files, the layer's tar as
//! it is and metadata of ours, which kernels since 6.12 mount where the file system allows it. Both
//! take the same checked stream of entries, and both give the layer's tar back byte for byte. A store
//! may hold layers of both; which one new layers take is a word in the store's `format`.

mod dirs;
mod erofs;
mod mounting;

use std::fmt;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::blobs::Bytes;
use crate::decode::LayerStream;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::store::{Folder, Seat, Workspace};
use crate::unpack::Unpacked;

pub(crate) use dirs::{Dirs, kept_name};
pub(crate) use erofs::Erofs;

/// What new layers of a store become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DriverName {
    /// Directories, on any file system.
    #[default]
    Dirs,
    /// The layer's tar with metadata beside it, mounted by the kernel: cheaper to make, to verify and
    /// to delete. Where the kernel (Linux 6.15) or the store's file system cannot, new layers become
    /// directories all the same.
    Erofs,
}

impl DriverName {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dirs => "dirs",
            Self::Erofs => "erofs",
        }
    }

    pub(crate) fn driver(self) -> &'static dyn Driver {
        match self {
            Self::Dirs => &Dirs,
            Self::Erofs => &Erofs,
        }
    }
}

impl fmt::Display for DriverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DriverName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "dirs" => Ok(Self::Dirs),
            "erofs" => Ok(Self::Erofs),
            _ => Err(Error::invalid(
                "read storage driver",
                text,
                "it is neither 'dirs' nor 'erofs'",
            )),
        }
    }
}

/// A layer to be made.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    /// Where its files go: an empty directory of the store.
    pub(crate) folder: &'a Folder,
    /// Takes what is replaced on the way.
    pub(crate) scrap: &'a Folder,
    pub(crate) diff_id: &'a Digest,
    pub(crate) seat: Seat,
    pub(crate) limits: &'a Limits,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Made {
    Layer(Unpacked),
    /// The layer says something that this form cannot: nothing is wrong with it.
    Odd(&'static str),
}

/// A layer to be read again, or compared with what it was made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) diff_id: &'a Digest,
}

/// What a form can do.
pub(crate) trait Driver: fmt::Debug + Sync {
    /// Makes a layer's files out of its tar. What that came to is for the caller to check, once the
    /// stream is at its end.
    fn unpack(&self, tar: &mut LayerStream<Bytes>, job: &Job<'_>) -> Result<Made>;

    /// Does what needs more rights than unpacking has.
    fn complete(&self, folder: &Folder, opaque: &[Vec<u8>]) -> Result<()>;

    /// Whether the layer's large files are on the disk when [`Driver::unpack`] returns; else the
    /// whole file system must be synced.
    fn is_synced(&self) -> bool;

    /// How many bytes the layer's tar has.
    fn tar_size(&self, layer: Kept<'_>) -> Result<u64>;

    /// Writes the layer's tar. With a place to work in, everything the layer has is compared with it.
    fn tar(
        &self,
        layer: Kept<'_>,
        anew: Option<(&Workspace, Seat)>,
        sink: &mut dyn Write,
    ) -> Result<()>;

    /// The directory that overlayfs gets.
    fn root(&self, folder: &Path) -> Result<Lower>;
}

/// A layer as overlayfs takes it.
#[derive(Debug)]
pub(crate) enum Lower {
    Directory(PathBuf),
    /// A mount that is attached nowhere.
    Mount(OwnedFd),
}

impl Lower {
    pub(crate) fn open(self) -> Result<OwnedFd> {
        match self {
            Self::Directory(path) => Folder::open(path).map(Folder::into_fd),
            Self::Mount(fd) => Ok(fd),
        }
    }
}

/// The form that a layer of the store has.
pub(crate) fn of(folder: &Path) -> &'static dyn Driver {
    let index = folder.join(erofs::INDEX);
    let found = rustix::fs::statat(
        rustix::fs::CWD,
        index,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    );
    match found {
        Ok(_) => &Erofs,
        Err(_) => &Dirs,
    }
}
