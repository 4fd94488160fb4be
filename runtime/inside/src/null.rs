//! Standard streams that lead to the host's null device.

use crate::hide;
use crate::orders::{Fd, Root};
use crate::paths;
use crate::sys;

/// Turns them to the container's own null device: a container that holds a file of the host's mounts
/// cannot be checkpointed, and keeps that mount busy. Where the container has none, they stay.
pub(crate) fn turn(root: &Root<'_>, stdio: &mut [Fd; 3]) {
    let mut own = None;
    for stream in stdio {
        if !sys::stat(*stream, c"").is_ok_and(|found| hide::is_null(&found)) {
            continue;
        }
        if own.is_none() {
            own = open(root.tree).ok();
        }
        if let Some(own) = own {
            *stream = own;
        }
    }
}

/// What is opened is looked at before, because opening a device node already acts on the device,
/// and after, because the name may be swapped in between.
fn open(root: Fd) -> sys::Result<Fd> {
    sys::close(hide::find_null(root)?);
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK;
    let null = paths::open(root, c"dev/null".as_ptr(), flags)?;
    if hide::is_null(&sys::stat(null, c"")?) {
        return Ok(null);
    }
    sys::close(null);
    Err(sys::Errno(libc::ENODEV))
}
