//! Where the bytes of a source lie: a directory or the members of a tar file, read in place, or a registry.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::candidate::LayerBlob;
use crate::error::{At, Error, ErrorKind, Result, quoted};
use crate::load::Reporter;
use crate::manifest::Descriptor;
use crate::registry::Arrival;
use crate::store::Arrivals;
use crate::tape::{EntryKind, EntryStream, Tape};

/// Most members of an archive we keep in mind.
const MEMBERS_MAX: usize = 100_000;
/// Most symbolic links between a member's name and its bytes.
const LINKS_MAX: usize = 8;

/// The files of a source, by name relative to its top.
#[derive(Debug)]
pub(crate) enum Blobs {
    Directory(OwnedFd),
    Archive {
        file: Arc<File>,
        members: BTreeMap<String, Member>,
    },
    Registry(Arrivals),
}

/// A member of an archive.
#[derive(Debug, Clone)]
pub(crate) enum Member {
    Data {
        offset: u64,
        size: u64,
    },
    /// Another member's name, relative to this one's directory.
    Symlink(String),
    /// Another member's name from the top.
    HardLink(String),
}

impl Blobs {
    pub(crate) fn directory(dir: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::Directory(
            rustix::fs::open(dir, flags, Mode::empty()).at("open", dir)?,
        ))
    }

    /// Reads the headers of a tar file; the data stays where it is.
    pub(crate) fn archive(path: &Path) -> Result<Self> {
        let file = open_regular(CWD, path, ResolveFlags::empty()).at("open", path)?;
        Self::of_archive(file, path)
    }

    /// [`Blobs::archive`] of an open file; the path is for messages.
    pub(crate) fn of_archive(file: File, path: &Path) -> Result<Self> {
        let file = Arc::new(file);
        let length = file.metadata().at("stat", path)?.len();
        let whole = Section::whole(Arc::clone(&file), length);
        refuse_compressed(path, whole.clone())?;
        let members = members(whole).map_err(|error| {
            error
                .within(&quoted(path))
                .with_hint("is it an image archive?")
        })?;
        Ok(Self::Archive { file, members })
    }

    /// Whether there is a file of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.open(name).is_ok()
    }

    /// The blob of a layer, from its first byte on.
    pub(crate) fn open_layer(&self, layer: &LayerBlob, reporter: &Reporter) -> Result<Bytes> {
        match self {
            Self::Registry(arrivals) => arrivals.open(layer, reporter),
            files => files.open(&layer.member).map(Bytes::Held),
        }
    }

    /// Reads a document, or another small blob, whole; its digest is still to be verified.
    pub(crate) fn document(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        match self {
            Self::Registry(arrivals) => arrivals.document(descriptor, limit),
            files => files.read(&descriptor.digest.layout_path(), limit),
        }
    }

    /// Opens a file; also tells its size.
    pub(crate) fn open(&self, name: &str) -> Result<Section> {
        match self {
            Self::Registry(_) => {
                let cause = "a registry has no files";
                Err(Error::new(ErrorKind::NotFound, "open", quoted(name), cause))
            }
            Self::Directory(dir) => {
                // A layout is somebody else's directory: stay below it, and never wait on a fifo.
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                let file = open_regular(dir, Path::new(name), resolve).at("open", name)?;
                let end = file.metadata().at("stat", name)?.len();
                Ok(Section::whole(Arc::new(file), end))
            }
            Self::Archive { file, members } => {
                let (offset, size) = find(members, name)?;
                Ok(Section {
                    file: Arc::clone(file),
                    position: offset,
                    end: offset + size,
                })
            }
        }
    }

    /// Reads a small file whole.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let section = self.open(name)?;
        if section.length() > limit {
            let cause = format!("{} bytes, the limit is {limit}", section.length());
            return Err(Error::new(ErrorKind::TooLarge, "read", quoted(name), cause));
        }
        let mut bytes = Vec::new();
        section
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .at("read", name)?;
        Ok(bytes)
    }
}

/// The bytes of a layer's blob.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// They are here.
    Held(Section),
    /// They come.
    Coming(Box<Arrival>),
}

impl Bytes {
    /// How many there are, where that is known before they are read.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Held(section) => Some(section.length()),
            Self::Coming(_) => None,
        }
    }
}

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Held(section) => section.read(buffer),
            Self::Coming(arrival) => arrival.read(buffer),
        }
    }
}

/// A run of bytes of a file. Clones read on their own, so layers can be read in parallel.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl Section {
    pub(crate) fn whole(file: Arc<File>, length: u64) -> Self {
        Self {
            file,
            position: 0,
            end: length,
        }
    }

    /// Of the whole file.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(crate) fn length(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.length())
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let part = buffer.get_mut(..limit).unwrap_or_default();
        let count = self.file.read_at(part, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Tape for BufReader<Section> {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        let buffered = self.buffer().len() as u64;
        if count <= buffered {
            io::BufRead::consume(self, usize::try_from(count).unwrap_or(0));
            return Ok(());
        }
        let section = self.get_mut();
        if count - buffered > section.length() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        section.position += count - buffered;
        let rest = section.clone();
        *self = BufReader::with_capacity(self.capacity(), rest);
        Ok(())
    }
}

fn open_regular(dir: impl AsFd, path: &Path, resolve: ResolveFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = retry_on_rename(|| rustix::fs::openat2(&dir, path, flags, Mode::empty(), resolve))?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
    if kind == FileType::RegularFile {
        Ok(File::from(fd))
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ))
    }
}

/// `openat2(2)` gives up a walk over `..` when anything on the host was renamed meanwhile.
pub(crate) fn retry_on_rename<T>(
    mut call: impl FnMut() -> std::result::Result<T, Errno>,
) -> std::result::Result<T, Errno> {
    for _ in 0..1000 {
        match call() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
    call()
}

fn refuse_compressed(path: &Path, mut head: Section) -> Result<()> {
    let mut magic = [0; 4];
    let count = head.read(&mut magic).at("read", path)?;
    let magic = magic.get(..count).unwrap_or_default();
    let name = match Magic::of(magic) {
        Magic::Gzip => "gzip",
        Magic::Zstd => "zstd",
        Magic::None => return Ok(()),
    };
    let cause = format!("the archive is compressed with {name}");
    Err(
        Error::new(ErrorKind::Unsupported, "read", quoted(path), cause)
            .with_hint("decompress it first: layers inside may be compressed, the archive may not"),
    )
}

/// What the first bytes of a file say about its compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Magic {
    Gzip,
    Zstd,
    None,
}

impl Magic {
    pub(crate) fn of(head: &[u8]) -> Self {
        if head.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Self::Zstd
        } else {
            Self::None
        }
    }
}

fn members(section: Section) -> Result<BTreeMap<String, Member>> {
    let mut members = BTreeMap::new();
    let mut tape = BufReader::with_capacity(32 * 1024, section);
    let mut stream = EntryStream::new(&mut tape);
    while let Some(entry) = stream.next_entry()? {
        let offset = stream.position();
        let text = |bytes: Vec<u8>| {
            let bad = |_error| Error::corrupt("read", "archive", "member name is not UTF-8");
            String::from_utf8(bytes).map_err(bad)
        };
        let member = match entry.kind {
            EntryKind::File { size, sparse: None } => Member::Data { offset, size },
            EntryKind::Symlink(target) => Member::Symlink(text(target)?),
            EntryKind::HardLink(target) => Member::HardLink(text(target)?),
            EntryKind::Directory => continue,
            _ => return Err(Error::corrupt("read", "archive", "member of an odd type")),
        };
        let name = text(entry.path)?;
        let clean = clean(&name).ok_or_else(|| {
            Error::corrupt(
                "read",
                format!("member {}", quoted(&name)),
                "name leaves the archive",
            )
        })?;
        if members.insert(clean, member).is_some() {
            let subject = format!("member {}", quoted(&name));
            return Err(Error::corrupt("read", subject, "the archive has it twice"));
        }
        if members.len() > MEMBERS_MAX {
            return Err(Error::new(
                ErrorKind::TooLarge,
                "read",
                "archive",
                "too many members",
            ));
        }
    }
    Ok(members)
}

/// A name without `.`, empty parts and resolvable `..`; none when it climbs out or is empty.
fn clean(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty() && !name.starts_with('/')).then(|| parts.join("/"))
}

fn find(members: &BTreeMap<String, Member>, name: &str) -> Result<(u64, u64)> {
    let missing = || {
        let cause = "no such member in the archive";
        Error::new(ErrorKind::NotFound, "open", quoted(name), cause)
    };
    let mut at = clean(name).ok_or_else(missing)?;
    for _ in 0..LINKS_MAX {
        at = match members.get(&at).ok_or_else(missing)? {
            Member::Data { offset, size } => return Ok((*offset, *size)),
            Member::HardLink(target) => clean(target).ok_or_else(missing)?,
            Member::Symlink(target) if target.starts_with('/') => return Err(missing()),
            Member::Symlink(target) => {
                let parent = at.rsplit_once('/').map_or("", |(parent, _)| parent);
                clean(&format!("./{parent}/{target}")).ok_or_else(missing)?
            }
        };
    }
    Err(Error::corrupt("open", quoted(name), "too many links"))
}

#[cfg(test)]
mod tests;
