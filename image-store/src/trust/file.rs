//! Reading what only root may say: policies, keys, pins.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use crate::error::{At, Error, ErrorKind, Result, quoted};

/// Largest of them in bytes.
const FILE_MAX: u64 = 1 << 20;

/// Reads a file that nobody but root, or ourselves, can write. A link is followed: what it leads to
/// is looked at, and whoever can change the link can change what it stands for.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    // Not to wait on a fifo.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).at("open", path)?);
    let stat = rustix::fs::fstat(&file).at("stat", path)?;
    let refuse = |cause| Error::new(ErrorKind::Denied, "trust", quoted(path), cause);
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refuse("not a regular file"));
    }
    let own = rustix::process::geteuid().as_raw();
    if stat.st_uid != 0 && stat.st_uid != own && !is_of_the_machine(&file, stat.st_uid) {
        return Err(refuse("it belongs to another user"));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(refuse("others than its owner may write to it"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .at("read", path)?;
    if bytes.len() as u64 > FILE_MAX {
        let cause = format!("more than {FILE_MAX} bytes");
        return Err(Error::new(ErrorKind::TooLarge, "read", quoted(path), cause));
    }
    Ok(bytes)
}

/// Is it the machine's own, as root of a user namespace sees it, in which no id stands for root of the machine?
/// It shows as nobody's. So does what any other user has written, or a nobody in a container of ours, so that only
/// what lies where root of the machine alone can put it is taken for root's, wherever a link was that led to it.
fn is_of_the_machine(file: &File, uid: u32) -> bool {
    const OVERFLOW: u32 = 65534;
    let is_mapped = || {
        let map = std::fs::read_to_string("/proc/self/uid_map");
        map.is_ok_and(|map| !map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
    };
    let lies_there = || {
        let place = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
        place.is_ok_and(|place| is_roots_place(&place))
    };
    uid == OVERFLOW && is_mapped() && lies_there()
}

/// Debian gives `/usr/local` to a group.
fn is_roots_place(path: &Path) -> bool {
    (path.starts_with("/etc") || path.starts_with("/usr")) && !path.starts_with("/usr/local")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_stands_for_root_only_where_root_alone_writes() {
        for (path, is_roots) in [
            ("/etc/containers/policy.json", true),
            ("/usr/share/containers/key.pub", true),
            ("/usr/local/share/key.pub", false),
            ("/home/somebody/key.pub", false),
            ("/etcetera/key.pub", false),
        ] {
            assert_eq!(is_roots_place(Path::new(path)), is_roots, "{path}");
        }
    }
}
