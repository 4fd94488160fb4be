//! From a blob to a tar stream: size and digest of what is read, then inflate, then the digest of
//! what comes out, with a limit on how much that may be.

use std::io::{self, BufRead, BufReader, Read};

use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// Bytes of one buffer.
const BUFFER: usize = 256 * 1024;

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
    limit: u64,
}

impl<R: Read> Digesting<R> {
    pub(crate) fn new(inner: R, algorithm: Algorithm, limit: u64) -> Self {
        Self {
            inner,
            hasher: Hasher::new(algorithm),
            count: 0,
            limit,
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
        if self.count > self.limit {
            let cause = format!("more than {} bytes come out of the blob", self.limit);
            return Err(Error::new(ErrorKind::TooLarge, "read", "", cause).into_io());
        }
        Ok(count)
    }
}

type Blob<R> = BufReader<Digesting<R>>;

/// The plain tar stream of a layer blob, hashed on both sides.
pub(crate) struct LayerStream<R: Read> {
    inner: BufReader<Digesting<Decoder<R>>>,
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
        let blob = Digesting::new(blob, algorithms.0, u64::MAX);
        let blob = BufReader::with_capacity(BUFFER, blob);
        let decoder = match compression {
            Compression::None => Decoder::None(Box::new(blob)),
            Compression::Gzip => {
                Decoder::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(blob)))
            }
            Compression::Zstd => Decoder::Zstd(Box::new(zstd_decoder(blob)?)),
        };
        let plain = Digesting::new(decoder, algorithms.1, limits.output_of(size));
        Ok(Self {
            inner: BufReader::with_capacity(BUFFER, plain),
        })
    }

    /// Reads both streams to their ends and tells the sums.
    pub(crate) fn finish(mut self) -> Result<Sums> {
        let failed = |error| Error::from_io("read", String::new(), error);
        drain(&mut self.inner).map_err(failed)?;
        let plain = self.inner.into_inner();
        let (diff, decoder) = (plain.hasher.finish(), plain.inner);
        let mut blob = match decoder {
            Decoder::None(blob) => *blob,
            Decoder::Gzip(decoder) => decoder.into_inner(),
            Decoder::Zstd(decoder) => decoder.finish(),
        };
        // Nothing may stand behind the compressed stream; the sum would still cover it.
        if !blob.fill_buf().map_err(failed)?.is_empty() {
            return Err(Error::corrupt(
                "read",
                "",
                "data after the end of the compressed stream",
            ));
        }
        let (blob, blob_size) = blob.into_inner().finish();
        Ok(Sums {
            blob,
            blob_size,
            diff,
        })
    }
}

impl<R: Read> Read for LayerStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

impl<R: Read> BufRead for LayerStream<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
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
    let mut reader = BufReader::with_capacity(BUFFER, Digesting::new(blob, algorithm, u64::MAX));
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
