//! Before Linux 5.12 no mount of one's own can be made read-only without the host seeing it. There
//! the program is executed from a sealed copy in memory, `memfd_create(2)`.

use super::EXE;
use crate::error::{At, Error, Result};
use rustix::fs::{
    MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create, open,
};
use std::fs::File;
use std::os::fd::OwnedFd;

/// Does the calling program run from such a copy?
pub(super) fn is_running_from() -> bool {
    let own = open(EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    // Other files have no seals, which is an error.
    own.is_ok_and(|own| fcntl_get_seals(&own).is_ok_and(|seals| seals.contains(SealFlags::WRITE)))
}

/// A copy of the calling program that nobody can write to.
pub(super) fn copy() -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = memfd_create("hostrun", flags).at("copy", EXE)?;
    let mut to = File::from(memory);
    let copied = File::open(EXE).and_then(|mut from| std::io::copy(&mut from, &mut to));
    copied.map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        Error::from_errno(errno, "copy", EXE.to_owned())
    })?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&to, seals).at("seal the copy of", EXE)?;
    Ok(to.into())
}
