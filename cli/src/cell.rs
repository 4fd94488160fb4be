//! Where layers are unpacked: a process that can do nothing else.

use hostrun_image_store::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::Path;

/// The runtime's cells, for the store.
#[derive(Debug)]
pub(crate) struct Walls;

impl Cell for Walls {
    fn run(
        &self,
        place: &Path,
        kept: &[BorrowedFd<'_>],
        inside: &mut (dyn FnMut(&Path, File) + Send),
        outside: &mut dyn FnMut(&mut dyn Read),
    ) -> io::Result<()> {
        hostrun_runtime::cell::run(place, kept, inside, outside)
    }
}
