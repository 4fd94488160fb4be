//! The stream: header blocks and their extensions become entries, one at a time.

use std::io;

use tar::EntryType;

use super::header::{self, BLOCK, Fault, Fields};
use super::pax::{self, Extensions};
use super::sparse::{DataMap, OldMap};
use super::{Entry, EntryKind, SparseMap, Tape, Time};
use crate::error::{Error, Result, quoted_bytes};

/// Longest name, and longest link target, in bytes: `PATH_MAX` without its NUL.
const PATH_MAX: usize = 4095;

/// Reads the entries of an archive in order, each followed by its data.
///
/// One code for all tapes: what is asked of a tape for each entry is little beside what the kernel is.
pub(crate) struct EntryStream<'t> {
    tape: &'t mut (dyn Tape + 't),
    /// Bytes read from the tape.
    position: u64,
    /// Data of the current entry not yet read, then zeros up to the block.
    remaining: u64,
    padding: u64,
    /// Whether only zeros stood between the data of files and the next block.
    is_clean: bool,
    /// The name of the entry at hand, for messages.
    current: Vec<u8>,
}

/// What extension headers said so far about the entry to come.
#[derive(Debug, Default)]
struct Pending {
    pax: Option<Extensions>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.name.is_none() && self.link.is_none()
    }
}

impl<'t> EntryStream<'t> {
    pub(crate) fn new(tape: &'t mut (dyn Tape + 't)) -> Self {
        Self {
            tape,
            position: 0,
            remaining: 0,
            padding: 0,
            is_clean: true,
            current: Vec::new(),
        }
    }

    /// Bytes read so far; right after an entry, the place of its data.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether what fills files up to whole blocks was zeros so far, as it should be.
    pub(crate) fn is_clean(&self) -> bool {
        self.is_clean
    }

    /// The next entry; what was left of the last one is passed over.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.pass(self.remaining)?;
        let padding = std::mem::take(&mut self.padding);
        self.remaining = 0;
        if padding > 0 && self.is_exhausted()? {
            // Some tools end an archive with the last byte of its last file. The digests say
            // whether it is whole.
            return Ok(None);
        }
        self.pass_padding(padding)?;
        let mut pending = Pending::default();
        loop {
            let Some(block) = self.header_block()? else {
                self.current.clear();
                if pending.is_empty() {
                    return self.end();
                }
                return Err(self.refuse("archive ends after an extension header"));
            };
            let fields = header::parse(&block).map_err(|fault| self.refuse(fault))?;
            self.current.clone_from(&fields.path);
            if !self.extension(&fields, &mut pending)? {
                return self.entry(&block, fields, pending).map(Some);
            }
        }
    }

    /// Data of the current entry, as much as lies ready; empty when all was read.
    pub(crate) fn data(&mut self) -> Result<&[u8]> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let limit = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        let current = &self.current;
        match self.tape.fill_buf() {
            Ok([]) => Err(fault(current, io::ErrorKind::UnexpectedEof.into())),
            Ok(bytes) => Ok(bytes.get(..limit).unwrap_or(bytes)),
            Err(error) => Err(fault(current, error)),
        }
    }

    /// Marks `count` bytes of [`EntryStream::data`] as read.
    pub(crate) fn consume(&mut self, count: usize) {
        self.tape.consume_data(count);
        self.remaining = self.remaining.saturating_sub(count as u64);
        self.position += count as u64;
    }

    /// Takes an extension header in; false for a real entry.
    fn extension(&mut self, fields: &Fields, pending: &mut Pending) -> Result<bool> {
        match fields.kind {
            EntryType::XHeader => {
                let data = self.extension_data(fields.size)?;
                let read = pax::parse(&data).map_err(|fault| self.refuse(fault))?;
                if pending.pax.replace(read).is_some() {
                    return Err(self.refuse("two extended headers for one entry"));
                }
            }
            EntryType::XGlobalHeader => {
                // Checked, then ignored: a global name or owner would apply to every entry.
                let data = self.extension_data(fields.size)?;
                pax::parse(&data).map_err(|fault| self.refuse(fault))?;
            }
            EntryType::GNULongName => {
                let name = self.long_name(fields.size)?;
                if pending.name.replace(name).is_some() {
                    return Err(self.refuse("two long names for one entry"));
                }
            }
            EntryType::GNULongLink => {
                let link = self.long_name(fields.size)?;
                if pending.link.replace(link).is_some() {
                    return Err(self.refuse("two long link names for one entry"));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extension_data(&mut self, size: u64) -> Result<Vec<u8>> {
        let length = usize::try_from(size)
            .ok()
            .filter(|_| size <= pax::HEADER_MAX);
        let length = length.ok_or_else(|| self.refuse("extension header is too long"))?;
        let mut data = vec![0; length];
        self.fill(&mut data)?;
        self.pass(padding(size))?;
        Ok(data)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut name = self.extension_data(size)?;
        while name.last() == Some(&0) {
            name.pop();
        }
        if name.is_empty() || name.contains(&0) {
            return Err(self.refuse("empty long name or NUL in it"));
        }
        Ok(name)
    }

    fn entry(&mut self, block: &[u8; BLOCK], fields: Fields, pending: Pending) -> Result<Entry> {
        let pax = pending.pax.unwrap_or_default();
        let sparse_name = pax.sparse.name.clone();
        let path = sparse_name
            .or(pax.path.clone())
            .or(pending.name)
            .unwrap_or(fields.path);
        self.current.clone_from(&path);
        let link = pax.link.clone().or(pending.link).unwrap_or(fields.link);
        if path.is_empty() || path.contains(&0) {
            return Err(self.refuse("empty name or NUL in it"));
        }
        if path.len() > PATH_MAX || link.len() > PATH_MAX {
            return Err(self.refuse("name is longer than 4095 bytes"));
        }
        let owner = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        let uid = owner(pax.uid.unwrap_or(fields.uid));
        let gid = owner(pax.gid.unwrap_or(fields.gid));
        let (Some(uid), Some(gid)) = (uid, gid) else {
            return Err(self.refuse("owner is not a user or group id"));
        };
        let size = pax.size.unwrap_or(fields.size);
        let header_time = Time {
            seconds: fields.mtime,
            nanoseconds: 0,
        };
        let mtime = pax.mtime.unwrap_or(header_time);
        let kind = if is_file(fields.kind, &path) {
            self.file(block, fields.kind, size, &pax)?
        } else if size != 0 || pax.sparse.is_present() {
            return Err(self.refuse("entry that is not a file has data"));
        } else {
            self.special(block, fields.kind, link)?
        };
        Ok(Entry {
            path,
            kind,
            mode: fields.mode,
            uid,
            gid,
            mtime,
            xattrs: pax.xattrs,
        })
    }

    fn special(&self, block: &[u8; BLOCK], kind: EntryType, link: Vec<u8>) -> Result<EntryKind> {
        let device = || header::device(block).map_err(|fault| self.refuse(fault));
        match kind {
            // Before POSIX, a directory was a file whose name ends in a slash.
            EntryType::Directory | EntryType::Regular => Ok(EntryKind::Directory),
            EntryType::Symlink | EntryType::Link if link.is_empty() => {
                Err(self.refuse("link without target"))
            }
            EntryType::Symlink => Ok(EntryKind::Symlink(link)),
            EntryType::Link => Ok(EntryKind::HardLink(link)),
            EntryType::Char => Ok(EntryKind::CharDevice(device()?)),
            EntryType::Block => Ok(EntryKind::BlockDevice(device()?)),
            EntryType::Fifo => Ok(EntryKind::Fifo),
            _ => Err(self.refuse("unknown entry type")),
        }
    }

    fn file(
        &mut self,
        block: &[u8; BLOCK],
        kind: EntryType,
        size: u64,
        pax: &Extensions,
    ) -> Result<EntryKind> {
        if i64::try_from(size).is_err() {
            return Err(self.refuse("file is too long"));
        }
        (self.remaining, self.padding) = (size, padding(size));
        let sparse = match (kind, pax.sparse.is_present()) {
            (EntryType::GNUSparse, true) => Err("sparse in two formats at once"),
            (EntryType::GNUSparse, false) => return self.old_sparse(block, size),
            (_, true) if pax.sparse.major == Some(1) => return self.data_sparse(size, pax),
            (_, true) if pax.sparse.major.is_none_or(|major| major == 0) => {
                SparseMap::from_keys(&pax.sparse, size).map(Some)
            }
            (_, true) => Err("unknown sparse format"),
            (_, false) => Ok(None),
        };
        let sparse = sparse.map_err(|fault| self.refuse(fault))?;
        Ok(EntryKind::File { size, sparse })
    }

    fn old_sparse(&mut self, block: &[u8; BLOCK], size: u64) -> Result<EntryKind> {
        let mut map = OldMap::from_header(block).map_err(|fault| self.refuse(fault))?;
        while map.wants_more() {
            let mut more = [0; BLOCK];
            self.fill(&mut more)?;
            map.extend(&more).map_err(|fault| self.refuse(fault))?;
        }
        let map = map.finish(size).map_err(|fault| self.refuse(fault))?;
        Ok(EntryKind::File {
            size,
            sparse: Some(map),
        })
    }

    fn data_sparse(&mut self, size: u64, pax: &Extensions) -> Result<EntryKind> {
        let length = pax
            .sparse
            .real_size
            .ok_or_else(|| self.refuse("sparse file without size"))?;
        if pax.sparse.minor.is_some_and(|minor| minor != 0) || pax.sparse.map.is_some() {
            return Err(self.refuse("unknown sparse format"));
        }
        let (mut map, mut left) = (DataMap::new(), size);
        while !map.is_complete() {
            left = left
                .checked_sub(BLOCK as u64)
                .ok_or_else(|| self.refuse("sparse map is cut off"))?;
            let mut block = [0; BLOCK];
            self.fill(&mut block)?;
            map.extend(&block).map_err(|fault| self.refuse(fault))?;
        }
        self.remaining = left;
        let map = map
            .finish(length, left)
            .map_err(|fault| self.refuse(fault))?;
        Ok(EntryKind::File {
            size: left,
            sparse: Some(map),
        })
    }

    /// The next block that is not the end mark.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let current = &self.current;
        let at_end = self
            .tape
            .fill_buf()
            .map_err(|error| fault(current, error))?
            .is_empty();
        if at_end {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        Ok((block != [0; BLOCK]).then_some(block))
    }

    /// After the end mark there are zeros or nothing: a second archive behind the first would be
    /// seen by some readers and not by others.
    fn end(&mut self) -> Result<Option<Entry>> {
        loop {
            let current = &self.current;
            let bytes = self
                .tape
                .fill_buf()
                .map_err(|error| fault(current, error))?;
            let (count, zeros) = (bytes.len(), bytes.iter().all(|byte| *byte == 0));
            if count == 0 {
                return Ok(None);
            }
            if !zeros {
                return Err(self.refuse("data after the end of the archive"));
            }
            self.tape.consume(count);
            self.position += count as u64;
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.tape
            .read_exact(buffer)
            .map_err(|error| fault(&self.current, error))?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    fn pass(&mut self, count: u64) -> Result<()> {
        if count > 0 {
            self.tape
                .skip(count)
                .map_err(|error| fault(&self.current, error))?;
            self.position += count;
        }
        Ok(())
    }

    fn pass_padding(&mut self, count: u64) -> Result<()> {
        let mut block = [0; BLOCK];
        let count = usize::try_from(count).unwrap_or(BLOCK);
        let bytes = block.get_mut(..count).unwrap_or_default();
        self.fill(bytes)?;
        self.is_clean &= bytes.iter().all(|byte| *byte == 0);
        Ok(())
    }

    fn is_exhausted(&mut self) -> Result<bool> {
        let ready = self.tape.fill_buf();
        ready
            .map(<[u8]>::is_empty)
            .map_err(|error| fault(&self.current, error))
    }

    fn refuse(&self, cause: Fault) -> Error {
        Error::corrupt("read", subject(&self.current), cause)
    }
}

fn is_file(kind: EntryType, path: &[u8]) -> bool {
    match kind {
        EntryType::Regular => !path.ends_with(b"/"),
        EntryType::Continuous | EntryType::GNUSparse => true,
        _ => false,
    }
}

fn subject(current: &[u8]) -> String {
    if current.is_empty() {
        "archive".to_owned()
    } else {
        format!("entry {}", quoted_bytes(current))
    }
}

fn fault(current: &[u8], error: io::Error) -> Error {
    Error::from_io("read", subject(current), error)
}

/// Zeros between the end of the data and the next block.
fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}
