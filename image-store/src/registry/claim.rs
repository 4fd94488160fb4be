//! Blobs on their way: who fetches one, how far it has come, and the stream of its bytes.
//!
//! A blob's bytes are kept in `partial/` while its image is pulled, so that a pull that was cut off goes
//! on where it ended. The lock on the file says who fetches it; it dies with its holder.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{Answer, Registry};
use crate::blobs::Section;
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Result};
use crate::load::{Progress, Reporter};
use crate::store::Folder;

/// The right to fetch a blob. Given up without [`Claim::clear`], what has come stays for the next pull.
#[derive(Debug)]
pub(crate) struct Claim {
    digest: Digest,
    size: u64,
    dir: OwnedFd,
    file: Arc<File>,
}

impl Claim {
    /// Takes it, unless somebody else has.
    pub(crate) fn try_take(folder: &Folder, digest: &Digest, size: u64) -> Result<Option<Self>> {
        Self::take(
            folder,
            digest,
            size,
            FlockOperation::NonBlockingLockExclusive,
        )
    }

    /// Waits for whoever has it to end, well or not.
    pub(crate) fn wait(folder: &Folder, digest: &Digest, size: u64) -> Result<()> {
        Self::take(folder, digest, size, FlockOperation::LockExclusive).map(drop)
    }

    fn take(
        folder: &Folder,
        digest: &Digest,
        size: u64,
        operation: FlockOperation,
    ) -> Result<Option<Self>> {
        let name = digest.file_name();
        let path = folder.path().join(&name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        loop {
            let mode = Mode::RUSR | Mode::WUSR;
            let fd = rustix::fs::openat(folder.fd(), &name, flags, mode).at("open", &path)?;
            match rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, operation)) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(errno).at("lock", &path),
            }
            // Whoever had it may have been done with it: then the lock is on a file of the past.
            if rustix::fs::fstat(&fd).at("stat", &path)?.st_nlink == 0 {
                continue;
            }
            return Ok(Some(Self {
                digest: digest.clone(),
                size,
                dir: folder.fd().try_clone_to_owned().at("open", folder.path())?,
                file: Arc::new(File::from(fd)),
            }));
        }
    }

    /// The file with what has come.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Bytes that were kept.
    pub(crate) fn has(&self) -> Result<u64> {
        let length = self.file.metadata().at("stat", self.digest.file_name())?;
        Ok(length.len())
    }

    /// The whole blob, once it has come; its bytes are still to be verified.
    pub(crate) fn whole(&self) -> Result<Option<Section>> {
        let is_whole = self.has()? == self.size;
        Ok(is_whole.then(|| Section::whole(Arc::clone(&self.file), self.size)))
    }

    /// Throws away what was kept: it is unpacked, or not what it should be. The file and the lock on it
    /// stay: until the layer can be seen in the store, others would fetch it once more.
    pub(crate) fn clear(&self) -> Result<()> {
        self.file.set_len(0).at("truncate", self.digest.file_name())
    }

    /// The blob from its first byte on: what was kept, then what the registry gives.
    pub(crate) fn arrive(&self, registry: &Registry, reporter: &Reporter) -> Result<Arrival> {
        let kept = self.has()?;
        if kept > self.size {
            self.clear()?;
        }
        let kept = if kept > self.size { 0 } else { kept };
        Ok(Arrival {
            digest: self.digest.clone(),
            size: self.size,
            kept,
            position: 0,
            file: Arc::clone(&self.file),
            answer: registry.blob(&self.digest, self.size, kept)?,
            pending: 0..0,
            reporter: reporter.clone(),
            buffer: Vec::new(),
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // What is not removed now is swept later.
        if self.has().is_ok_and(|has| has == 0) {
            let name = self.digest.file_name();
            rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()).ok();
        }
    }
}

/// The bytes of a blob, in order, kept as they come.
#[derive(Debug)]
pub(crate) struct Arrival {
    digest: Digest,
    size: u64,
    /// Bytes that were there before.
    kept: u64,
    /// Bytes that were handed on.
    position: u64,
    file: Arc<File>,
    answer: Answer,
    buffer: Vec<u8>,
    pending: std::ops::Range<usize>,
    reporter: Reporter,
}

impl Arrival {
    fn fill(&mut self) -> Result<()> {
        let (digest, reporter) = (&self.digest, &self.reporter);
        let mut on_wait = |pause: Duration, cause: &str| {
            reporter.report(&Progress::Waiting {
                digest: Some(digest),
                pause,
                cause,
            });
        };
        let data = self.answer.data(&mut on_wait)?;
        let after = self.position.saturating_add(data.len() as u64);
        if after > self.size {
            let cause = format!("more than the {} bytes announced", self.size);
            return Err(Error::corrupt("verify", "size", cause));
        }
        if data.is_empty() && after < self.size {
            let cause = format!("it ended after {after} of {} bytes", self.size);
            return Err(Error::new(ErrorKind::Network, "read", "", cause));
        }
        if data.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all_at(data, self.position);
        written.at("write", "partial blob")?;
        self.buffer.clear();
        self.buffer.extend_from_slice(data);
        self.pending = 0..data.len();
        self.reporter.report(&Progress::Fetched {
            digest: &self.digest,
            bytes: after,
            size: self.size,
        });
        Ok(())
    }
}

impl Read for Arrival {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.position < self.kept {
            let most = usize::try_from(self.kept - self.position).unwrap_or(usize::MAX);
            let most = most.min(into.len());
            let part = into.get_mut(..most).unwrap_or_default();
            let count = self.file.read_at(part, self.position)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.position += count as u64;
            return Ok(count);
        }
        if self.pending.is_empty() {
            self.fill().map_err(Error::into_io)?;
        }
        let mut ready = self.buffer.get(self.pending.clone()).unwrap_or_default();
        let count = ready.read(into)?;
        self.pending.start += count;
        self.position += count as u64;
        Ok(count)
    }
}
