//! The data of a file, from the stream to where it belongs.

use std::os::fd::OwnedFd;

use super::refuse;
use crate::error::{At, Result};
use crate::tape::{EntryStream, Segment, SparseMap};

/// Copies all data of the current entry.
pub(super) fn copy(stream: &mut EntryStream<'_>, fd: &OwnedFd) -> Result<u64> {
    let mut total = 0;
    loop {
        let data = stream.data()?;
        if data.is_empty() {
            return Ok(total);
        }
        let count =
            rustix::io::retry_on_intr(|| rustix::io::write(fd, data)).at("write", "data")?;
        stream.consume(count);
        total += count as u64;
    }
}

/// Puts the data of a sparse file where it belongs; the holes stay holes.
pub(super) fn copy_sparse(
    stream: &mut EntryStream<'_>,
    fd: &OwnedFd,
    map: &SparseMap,
) -> Result<u64> {
    for Segment { offset, length } in &map.segments {
        let (mut at, end) = (*offset, offset + length);
        while at < end {
            let data = stream.data()?;
            let limit = usize::try_from(end - at).unwrap_or(usize::MAX);
            let part = data.get(..limit).unwrap_or(data);
            let count = rustix::io::retry_on_intr(|| rustix::io::pwrite(fd, part, at))
                .at("write", "data")?;
            if count == 0 {
                return Err(refuse("sparse data ends too early"));
            }
            stream.consume(count);
            at += count as u64;
        }
    }
    rustix::fs::ftruncate(fd, map.length).at("set length of", "sparse file")?;
    Ok(map.segments.iter().map(|segment| segment.length).sum())
}
