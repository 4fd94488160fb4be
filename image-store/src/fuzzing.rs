//! Doors for the fuzzers in `fuzz/`: the parsers that read what strangers made. Each takes any bytes
//! and gives what its answer can be judged by. Only there with the feature `fuzzing`, and no part of
//! the library's promises.

use crate::limits::Limits;
use crate::store::record::{ImageRecord, LayerRecord, decode};
use crate::tape::{EntryStream, Streamed};
use crate::{config, docker, layout, manifest, registry, trust, unpack};
use std::io::Cursor;
use std::os::fd::BorrowedFd;

/// The documents of an image: a manifest or an index, a config, the list of a docker archive, the
/// version of a layout.
pub fn document(json: &[u8]) {
    drop(manifest::parse(json, None));
    for media_type in [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ] {
        drop(manifest::parse(json, Some(media_type)));
    }
    if let Ok(config) = config::parse(json) {
        drop(config.check_layers(3, 128));
        drop(config.platform());
    }
    for item in docker::parse(json).unwrap_or_default() {
        drop(docker::item_names(&item, "fuzz"));
    }
    drop(layout::check_layout(json));
}

/// A policy, or pins. No file is both.
pub fn policy(json: &[u8]) {
    trust::fuzz_policy(json);
}

/// A key, a list of signatures, what is signed; the digest that the last is about.
pub fn signature(bytes: &[u8]) -> Option<String> {
    trust::fuzz_signature(bytes)
}

/// The records of the store itself, which another program may have damaged.
pub fn record(bytes: &[u8]) {
    drop(decode::<ImageRecord>(bytes));
    drop(decode::<LayerRecord>(bytes));
}

/// What the program that talks to registries says: messages, each behind the two bytes of its length. Gives the
/// bytes of data that were let through.
pub fn answer(messages: &[u8]) -> usize {
    registry::fuzz_answer(messages)
}

/// What the process that unpacks layers tells. Gives the names it wants moved into the store.
pub fn told(lines: &[u8]) -> Vec<String> {
    crate::store::fuzz_told(lines)
}

/// The headers of a layer, with all that stands between them; how many entries were understood.
pub fn headers(tar: &[u8]) -> usize {
    let mut tape = Streamed(Cursor::new(tar));
    let mut stream = EntryStream::new(&mut tape);
    let mut count = 0;
    while let Ok(Some(_entry)) = stream.next_entry() {
        count += 1;
    }
    count
}

/// Unpacks a layer.
pub fn layer(tar: &[u8], root: BorrowedFd<'_>, scrap: BorrowedFd<'_>) -> bool {
    let limits = Limits {
        layer_bytes: 1 << 20,
        entries: 200,
        ..Limits::default()
    };
    let site = unpack::Site {
        root,
        scrap,
        seat: crate::store::Seat::CALLERS,
    };
    unpack::unpack(&mut Streamed(Cursor::new(tar)), site, &limits).is_ok()
}
