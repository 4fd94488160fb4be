//! What cannot be left out of an unpack, and nothing else: reads every layer of an OCI layout,
//! hashes it, inflates it, hashes what comes out. `floor DIR`; `make bench-images` compares with it.
#![allow(clippy::print_stdout, reason = "an example talks")]

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

const BUFFER: usize = 256 * 1024;

/// Hashes what passes.
struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

fn drain(inner: impl Read) -> io::Result<String> {
    let hashing = Hashing {
        inner,
        hasher: Sha256::new(),
    };
    let mut reader = BufReader::with_capacity(BUFFER, hashing);
    while let count @ 1.. = reader.fill_buf()?.len() {
        reader.consume(count);
    }
    Ok(format!("{:x}", reader.into_inner().hasher.finalize()))
}

fn json(path: &Path) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    let text = value.get(key).and_then(Value::as_str);
    text.unwrap_or_default()
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).ok_or("usage: floor DIR")?;
    let dir = Path::new(&dir);
    let blob = |descriptor: &Value| {
        let digest = text(descriptor, "digest");
        dir.join("blobs").join(digest.replace(':', "/"))
    };
    let index = json(&dir.join("index.json"))?;
    let first = index.pointer("/manifests/0").ok_or("no manifest")?;
    let manifest = json(&blob(first))?;
    let layers = manifest.get("layers").and_then(Value::as_array);
    for layer in layers.into_iter().flatten() {
        let source = Hashing {
            inner: File::open(blob(layer))?,
            hasher: Sha256::new(),
        };
        let source = BufReader::with_capacity(BUFFER, source);
        let media_type = text(layer, "mediaType");
        let sum = match media_type.rsplit_once('+') {
            Some((_, "gzip")) => drain(MultiGzDecoder::new(source))?,
            Some((_, "zstd")) => drain(zstd::Decoder::with_buffer(source)?)?,
            _ => drain(source)?,
        };
        println!("sha256:{sum}");
    }
    Ok(())
}
