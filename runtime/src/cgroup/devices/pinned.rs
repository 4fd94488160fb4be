//! Programs the kernel has checked before: most containers have the same one, and verifying it costs
//! thirty times what finding it does.
//!
//! They are pinned in the host's bpffs, where there is one, in a directory of ours. A file's name there
//! is the program itself in hexadecimal, cut into names as long as a file system takes: two programs
//! cannot meet under one name, as two could under a hash.

use std::ffi::CString;
use std::fmt::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, RawDir, fstat, fstatfs, mkdirat, openat};

use crate::sys::bpf;

/// Where systemd mounts it, and everybody else.
const BPFFS: &str = "/sys/fs/bpf";
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
const OURS: &str = "hostrun";

/// A list of rules that is longer is rare, and not worth a place.
const MOST_INSTRUCTIONS: usize = 64;

/// Each pinned program costs the kernel some 8 KiB for as long as the machine runs.
const MOST_PROGRAMS: usize = 32;

/// Instructions, 16 digits each, in a name of at most 255 bytes.
const IN_A_NAME: usize = 15;

/// The directory of pinned programs, proven to be one nobody but us can write to.
#[derive(Debug)]
pub(super) struct Pins(OwnedFd);

impl Pins {
    /// `None` on a host without bpffs, or where the directory is not there or not ours alone.
    pub(super) fn open() -> Option<Pins> {
        Pins::of(openat(
            CWD,
            format!("{BPFFS}/{OURS}"),
            directory(),
            Mode::empty(),
        ))
    }

    /// The same, making the directory where it is missing.
    fn make() -> Option<Pins> {
        let bpffs = openat(CWD, BPFFS, directory(), Mode::empty()).ok()?;
        is_bpffs(&bpffs).then_some(())?;
        // It may be there; what it is shows when it is opened.
        mkdirat(&bpffs, OURS, Mode::RWXU).unwrap_or_default();
        Pins::of(openat(&bpffs, OURS, directory(), Mode::empty()))
    }

    fn of(dir: rustix::io::Result<OwnedFd>) -> Option<Pins> {
        let dir = dir.ok()?;
        let stat = fstat(&dir).ok()?;
        let private =
            Mode::from_raw_mode(stat.st_mode) & (Mode::RWXG | Mode::RWXO) == Mode::empty();
        let own = private && stat.st_uid == rustix::process::geteuid().as_raw();
        // A program of somebody else's would allow what he likes.
        (own && is_bpffs(&dir)).then_some(Pins(dir))
    }

    /// The program, if it is pinned.
    pub(super) fn get(&self, instructions: &[u64]) -> Option<OwnedFd> {
        let names = names(instructions)?;
        bpf::pinned_program(&self.path(&names)).ok()
    }

    /// By descriptor, so that nobody can put another directory in the place of the one that was checked.
    fn path(&self, names: &[String]) -> CString {
        let path = format!("/proc/self/fd/{}/{}", self.0.as_raw_fd(), names.join("/"));
        CString::new(path).unwrap_or_default()
    }

    fn is_full(&self) -> bool {
        let mut buffer = Vec::with_capacity(4096);
        let Ok(dir) = openat(&self.0, ".", OFlags::RDONLY | directory(), Mode::empty()) else {
            return true;
        };
        let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
        let mut count = 0;
        while entries.next().is_some() {
            count += 1;
        }
        count >= MOST_PROGRAMS
    }
}

/// Keeps a program that was just loaded for the next container; without effect where that cannot be.
pub(super) fn keep(instructions: &[u64], program: &OwnedFd) {
    let (Some(names), Some(pins)) = (names(instructions), Pins::make()) else {
        return;
    };
    if pins.is_full() {
        return;
    }
    for depth in 1..names.len() {
        let parent = names.get(..depth).unwrap_or_default().join("/");
        mkdirat(&pins.0, parent, Mode::RWXU).unwrap_or_default();
    }
    // EEXIST is somebody who was as fast as we.
    bpf::pin_program(program, &pins.path(&names)).unwrap_or_default();
}

fn directory() -> OFlags {
    OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn is_bpffs(dir: &OwnedFd) -> bool {
    let magic = fstatfs(dir).map(|found| u64::try_from(found.f_type));
    magic == Ok(Ok(BPF_FS_MAGIC))
}

/// Where a program is: directories, and a file at the end.
fn names(instructions: &[u64]) -> Option<Vec<String>> {
    if instructions.is_empty() || instructions.len() > MOST_INSTRUCTIONS {
        return None;
    }
    let name = |part: &[u64]| {
        let mut name = String::with_capacity(255);
        for word in part {
            // Writing to a string cannot fail.
            write!(name, "{word:016x}").unwrap_or_default();
        }
        name
    };
    let mut names: Vec<String> = instructions.chunks(IN_A_NAME).map(name).collect();
    // One that begins another must not be a directory on the other's way. No dot: bpffs keeps those.
    if let Some(last) = names.last_mut() {
        last.push('-');
        last.push_str(&instructions.len().to_string());
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_two_programs_have_one_name_and_none_is_on_anothers_way(
            one in proptest::collection::vec(0_u64..4, 1..MOST_INSTRUCTIONS),
            other in proptest::collection::vec(0_u64..4, 1..MOST_INSTRUCTIONS),
        ) {
            let (first, second) = (names(&one).unwrap(), names(&other).unwrap());
            prop_assert_eq!(one == other, first == second);
            prop_assert!(first.iter().all(|name| name.len() <= 255));
            let on_the_way = second.len() > first.len() && second.starts_with(&first);
            prop_assert!(!on_the_way);
        }
    }

    #[test]
    fn a_program_that_is_too_long_has_no_place() {
        assert_eq!(names(&[0; MOST_INSTRUCTIONS + 1]), None);
        assert_eq!(names(&[]), None);
    }
}
