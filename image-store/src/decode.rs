//! From a blob to a tar stream: size and digest of what is read, then inflate, then the digest of
//! what comes out, with a limit on how much that may be.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// Bytes of one buffer.
const BUFFER: usize = 256 * 1024;

/// Bytes that are handed on at once: each time one half may have to wake the other.
const HANDED: usize = 2 * BUFFER;

/// Blocks the first half may be ahead of the second.
const AHEAD: usize = 6;

/// How a layer is compressed. For OCI images the media type decides and is a contract; nothing is
/// guessed from the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Counts and hashes what passes through.
pub(crate) struct Digesting<R> {
    inner: R,
    hasher: Hasher,
    count: u64,
}

impl<R: Read> Digesting<R> {
    pub(crate) fn new(inner: R, algorithm: Algorithm) -> Self {
        Self {
            inner,
            hasher: Hasher::new(algorithm),
            count: 0,
        }
    }

    /// The digest and the number of bytes.
    pub(crate) fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.count)
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        self.count += count as u64;
        Ok(count)
    }
}

type Blob<R> = BufReader<Digesting<R>>;

/// A piece of the stream.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    filled: usize,
}

impl Block {
    fn get(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

/// First half of the way: reads a blob, hashes it, inflates it.
struct Inflating<R: Read> {
    decoder: Decoder<R>,
    count: u64,
    limit: u64,
}

enum Decoder<R: Read> {
    None(Box<Blob<R>>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<Blob<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Blob<R>>>),
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(blob) => blob.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

impl<R: Read> Inflating<R> {
    /// Fills a block; one that is not full is the last.
    fn fill(&mut self, block: &mut Block) -> io::Result<()> {
        block.filled = 0;
        // Once: a block that was used is as good as a cleared one.
        block.bytes.resize(HANDED, 0);
        while let Some(rest) = block.bytes.get_mut(block.filled..)
            && !rest.is_empty()
        {
            match self.decoder.read(rest) {
                Ok(0) => break,
                Ok(count) => block.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.count += block.filled as u64;
        if self.count > self.limit {
            let cause = format!("more than {} bytes come out of the blob", self.limit);
            return Err(Error::new(ErrorKind::TooLarge, "read", "", cause).into_io());
        }
        Ok(())
    }

    /// What the blob came to.
    fn finish(self) -> io::Result<(Digest, u64)> {
        let mut blob = match self.decoder {
            Decoder::None(blob) => *blob,
            Decoder::Gzip(decoder) => decoder.into_inner(),
            Decoder::Zstd(decoder) => decoder.finish(),
        };
        // Nothing may stand behind the compressed stream; the sum would still cover it.
        if !blob.fill_buf()?.is_empty() {
            let cause = "data after the end of the compressed stream";
            return Err(Error::corrupt("read", "", cause).into_io());
        }
        Ok(blob.into_inner().finish())
    }
}

/// Where blocks come from: made on this thread when they are wanted, or by another one ahead.
enum Feed<R: Read> {
    Here(Option<Inflating<R>>),
    There {
        blocks: Receiver<Passed>,
        /// Blocks that were used go back, so that there are never more than a few.
        used: SyncSender<Block>,
    },
}

/// What the first half passes on.
enum Passed {
    Block(Block),
    End(io::Result<(Digest, u64)>),
}

/// The plain tar stream of a layer blob, hashed on both sides.
pub(crate) struct LayerStream<R: Read> {
    feed: Feed<R>,
    hasher: Hasher,
    block: Block,
    at: usize,
    /// What the blob came to, once the stream is at its end.
    blob: Option<(Digest, u64)>,
    /// Gets all that comes out.
    copy: Option<File>,
}

/// What both hashes of a layer came to.
#[derive(Debug)]
pub(crate) struct Sums {
    /// Of the blob as stored in the source.
    pub(crate) blob: Digest,
    pub(crate) blob_size: u64,
    /// Of the tar stream.
    pub(crate) diff: Digest,
}

impl<R: Read> LayerStream<R> {
    /// `size` is what the source claims; the output is capped relative to it.
    pub(crate) fn new(
        blob: R,
        size: u64,
        compression: Compression,
        algorithms: (Algorithm, Algorithm),
        limits: &Limits,
    ) -> Result<Self> {
        let blob = Digesting::new(blob, algorithms.0);
        let blob = BufReader::with_capacity(BUFFER, blob);
        let decoder = match compression {
            Compression::None => Decoder::None(Box::new(blob)),
            Compression::Gzip => {
                Decoder::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(blob)))
            }
            Compression::Zstd => Decoder::Zstd(Box::new(zstd_decoder(blob)?)),
        };
        Ok(Self {
            feed: Feed::Here(Some(Inflating {
                decoder,
                count: 0,
                limit: limits.output_of(size),
            })),
            hasher: Hasher::new(algorithms.1),
            block: Block::default(),
            at: 0,
            blob: None,
            copy: None,
        })
    }

    /// Writes all that comes out to a file as well, a block at a time.
    pub(crate) fn copy_to(&mut self, file: File) {
        self.copy = Some(file);
    }

    /// Reads to the end.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        drain(self)
    }

    /// Reads both streams to their ends and tells the sums.
    pub(crate) fn finish(mut self) -> Result<Sums> {
        let failed = |error| Error::from_io("read", String::new(), error);
        self.drain().map_err(failed)?;
        let (blob, blob_size) = self
            .blob
            .ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
        Ok(Sums {
            blob,
            blob_size,
            diff: self.hasher.finish(),
        })
    }

    /// The next block; empty at the end of the stream.
    fn next_block(&mut self) -> io::Result<()> {
        self.at = 0;
        self.block.filled = 0;
        match &mut self.feed {
            Feed::Here(inflating) => {
                let Some(source) = inflating else {
                    return Ok(());
                };
                source.fill(&mut self.block)?;
                if self.block.filled == 0 {
                    self.blob = inflating.take().map(Inflating::finish).transpose()?;
                }
            }
            Feed::There { blocks, used } => {
                // Nobody there to take it: the first half has ended.
                used.try_send(std::mem::take(&mut self.block)).ok();
                match blocks.recv() {
                    Ok(Passed::Block(block)) => self.block = block,
                    Ok(Passed::End(sums)) => self.blob = Some(sums?),
                    // It said its end before.
                    Err(_gone) => {}
                }
            }
        }
        let bytes = self.block.get();
        self.hasher.update(bytes);
        if let Some(file) = &mut self.copy {
            let failed = |error| Error::from_io("write", "layer".to_owned(), error).into_io();
            file.write_all(bytes).map_err(failed)?;
        }
        Ok(())
    }
}

impl<R: Read + Send + 'static> LayerStream<R> {
    /// Reads and inflates on a thread of its own, a few blocks ahead of who reads from here. Where
    /// no thread is to be had, everything goes on here.
    pub(crate) fn apart(mut self) -> Self {
        let Feed::Here(inflating) = &mut self.feed else {
            return self;
        };
        let (passed, blocks) = sync_channel(AHEAD);
        let (used, again) = sync_channel(AHEAD + 2);
        let shared = std::sync::Arc::new(std::sync::Mutex::new(inflating.take()));
        let own = std::sync::Arc::clone(&shared);
        let run = move || {
            let taken = own.lock().ok().and_then(|mut source| source.take());
            if let Some(source) = taken {
                run_ahead(source, &passed, &again);
            }
        };
        match std::thread::Builder::new().spawn(run) {
            Ok(_thread) => self.feed = Feed::There { blocks, used },
            Err(_none) => *inflating = shared.lock().ok().and_then(|mut source| source.take()),
        }
        self
    }
}

/// The first half on its own thread; ends with the stream, or when nobody listens any more.
fn run_ahead<R: Read>(
    mut source: Inflating<R>,
    passed: &SyncSender<Passed>,
    again: &Receiver<Block>,
) {
    loop {
        let mut block = again.try_recv().unwrap_or_default();
        match source.fill(&mut block) {
            Err(error) => {
                passed.send(Passed::End(Err(error))).ok();
                return;
            }
            Ok(()) if block.filled == 0 => {
                passed.send(Passed::End(source.finish())).ok();
                return;
            }
            Ok(()) => {
                if passed.send(Passed::Block(block)).is_err() {
                    return;
                }
            }
        }
    }
}

impl<R: Read> Read for LayerStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ready = self.fill_buf()?;
        let count = ready.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for LayerStream<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.block.filled && self.blob.is_none() {
            self.next_block()?;
        }
        Ok(self.block.get().get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

/// Reads to the end.
pub(crate) fn drain(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let count = reader.fill_buf()?.len();
        if count == 0 {
            return Ok(());
        }
        reader.consume(count);
    }
}

/// The digest and size of a blob, read to its end.
pub(crate) fn digest_of(blob: impl Read, algorithm: Algorithm) -> io::Result<(Digest, u64)> {
    let mut reader = BufReader::with_capacity(BUFFER, Digesting::new(blob, algorithm));
    drain(&mut reader)?;
    Ok(reader.into_inner().finish())
}

fn zstd_decoder<R: Read>(blob: Blob<R>) -> Result<zstd::stream::read::Decoder<'static, Blob<R>>> {
    let failed = |error| Error::from_io("start", "zstd decoder".to_owned(), error);
    let mut decoder = zstd::stream::read::Decoder::with_buffer(blob).map_err(failed)?;
    // The frame names its window and the decoder allocates it: 128 MiB is what zstd itself
    // accepts without being asked.
    decoder.window_log_max(27).map_err(failed)?;
    Ok(decoder)
}
