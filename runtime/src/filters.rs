//! Compiled seccomp filters, kept below the state root: compiling one costs more than all mounts of a
//! container, and nearly all containers of a host have one of a few.
//!
//! A file holds the fingerprint of the profile, whole, and the program; its name is only where to look.
//! A name that two profiles share costs a compilation, never gives one the other's filter.

use hostrun_seccomp_profiles::{self as profiles, Filter};
use libc::sock_filter;
use oci_spec::runtime::Spec;
use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RawDir, ResolveFlags, fstat, linkat, mkdirat, openat, openat2,
    unlinkat,
};
use std::ffi::{CString, OsStr};
use std::hash::{DefaultHasher, Hasher as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// No container can have this name.
pub(crate) const DIRECTORY: &str = "@filters";

/// With more files all are thrown away.
const MOST_FILES: usize = 64;

/// Longer than any file of ours: a fingerprint of every name there is, and the longest program.
const MOST_BYTES: usize = 256 * 1024;

/// `struct sock_filter`, `linux/filter.h`.
const INSTRUCTION: usize = 8;

/// The filter that was compiled before for the profile of this config, or what is to be kept when it
/// has been compiled now. A profile that comes compiled is neither.
pub(crate) fn look_up<'a>(root: &'a OwnedFd, spec: &Spec) -> (Option<Filter>, Option<Wanted<'a>>) {
    let linux = spec.linux().as_ref();
    let profile = linux.and_then(|linux| linux.seccomp().as_ref());
    let Some(profile) = profile.filter(|profile| !profiles::is_default(profile)) else {
        return (None, None);
    };
    let fingerprint = profiles::fingerprint(profile);
    match read(root, &fingerprint) {
        // What is wrong with its flags the plan says, in its own words.
        Some(program) => (profiles::with_program(profile, program).ok(), None),
        None => (None, Some(Wanted { root, fingerprint })),
    }
}

/// A filter that is not there yet.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    root: &'a OwnedFd,
    fingerprint: Vec<u8>,
}

/// Keeps it for the next start; without effect where that cannot be.
pub(crate) fn keep(wanted: Option<Wanted<'_>>, compiled: Option<&Filter>) {
    if let (Some(wanted), Some(compiled)) = (wanted, compiled) {
        write(wanted.root, &wanted.fingerprint, compiled.program()).unwrap_or_default();
    }
}

fn name(fingerprint: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(fingerprint);
    format!("{:016x}", hasher.finish())
}

/// The program, if it is there and nobody else can have written it.
fn read(root: &OwnedFd, fingerprint: &[u8]) -> Option<Vec<sock_filter>> {
    let path = format!("{DIRECTORY}/{}", name(fingerprint));
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat2(root, path, flags, Mode::empty(), resolve).ok()?;
    let stat = fstat(&file).ok()?;
    let own = stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0;
    let size = usize::try_from(stat.st_size).ok()?;
    if !own || size > MOST_BYTES {
        return None;
    }
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        if rustix::io::read(&file, spare_capacity(&mut bytes)).ok()? == 0 {
            return None;
        }
    }
    parse(&bytes, fingerprint)
}

/// The length of the fingerprint, the fingerprint, the program.
fn parse(bytes: &[u8], fingerprint: &[u8]) -> Option<Vec<sock_filter>> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (found, program) = rest.split_at_checked(length)?;
    let (instructions, []) = program.as_chunks::<INSTRUCTION>() else {
        return None;
    };
    let whole = found == fingerprint && !instructions.is_empty();
    whole.then(|| instructions.iter().copied().map(instruction).collect())
}

fn instruction(bytes: [u8; INSTRUCTION]) -> sock_filter {
    let [code_low, code_high, jt, jf, k @ ..] = bytes;
    sock_filter {
        code: u16::from_le_bytes([code_low, code_high]),
        jt,
        jf,
        k: u32::from_le_bytes(k),
    }
}

fn to_bytes(fingerprint: &[u8], program: &[sock_filter]) -> Vec<u8> {
    let length = u64::try_from(fingerprint.len()).unwrap_or(u64::MAX);
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(fingerprint);
    for instruction in program {
        bytes.extend_from_slice(&instruction.code.to_le_bytes());
        bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
        bytes.extend_from_slice(&instruction.k.to_le_bytes());
    }
    bytes
}

fn write(root: &OwnedFd, fingerprint: &[u8], program: &[sock_filter]) -> rustix::io::Result<()> {
    let bytes = to_bytes(fingerprint, program);
    if bytes.len() > MOST_BYTES {
        return Ok(());
    }
    match mkdirat(root, DIRECTORY, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(root, DIRECTORY, flags, Mode::empty())?;
    make_room(&dir)?;
    // Without a name until it is whole: whoever reads it, or is killed here, leaves no half of it.
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = openat(&dir, ".", flags, Mode::RUSR | Mode::WUSR)?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(
        CWD,
        unnamed,
        &dir,
        name(fingerprint),
        AtFlags::SYMLINK_FOLLOW,
    )
}

fn make_room(dir: &OwnedFd) -> rustix::io::Result<()> {
    let mut buffer = Vec::with_capacity(8192);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    let mut names: Vec<CString> = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name.to_owned());
        }
    }
    if names.len() < MOST_FILES {
        return Ok(());
    }
    for name in names {
        // Somebody else may be at it, too.
        unlinkat(dir, OsStr::from_bytes(name.to_bytes()), AtFlags::empty()).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(dir.path()).unwrap().into();
        (dir, root)
    }

    fn program(k: u32) -> Vec<sock_filter> {
        let code = 6;
        vec![
            sock_filter {
                code,
                jt: 1,
                jf: 2,
                k
            };
            3
        ]
    }

    fn ks(root: &OwnedFd, fingerprint: &[u8]) -> Option<Vec<u32>> {
        let program = read(root, fingerprint)?;
        Some(program.iter().map(|instruction| instruction.k).collect())
    }

    #[test]
    fn what_was_kept_is_found_and_nothing_else() {
        let (_dir, root) = root();
        assert_eq!(ks(&root, b"one"), None);
        write(&root, b"one", &program(7)).unwrap();
        assert_eq!(ks(&root, b"one"), Some(vec![7; 3]));
        assert_eq!(ks(&root, b"other"), None);
    }

    #[test]
    fn a_name_that_two_profiles_share_gives_neither_the_others_filter() {
        let (dir, root) = root();
        write(&root, b"one", &program(7)).unwrap();
        let place = dir.path().join(DIRECTORY);
        std::fs::rename(place.join(name(b"one")), place.join(name(b"other"))).unwrap();
        assert_eq!(ks(&root, b"other"), None);
    }

    #[test]
    fn a_file_that_others_can_write_to_is_not_believed() {
        let (dir, root) = root();
        write(&root, b"one", &program(7)).unwrap();
        let file = dir.path().join(DIRECTORY).join(name(b"one"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(ks(&root, b"one"), None);
    }

    #[test]
    fn a_link_is_not_followed() {
        let (dir, root) = root();
        write(&root, b"one", &program(7)).unwrap();
        let place = dir.path().join(DIRECTORY);
        std::fs::rename(&place, dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", &place).unwrap();
        assert_eq!(ks(&root, b"one"), None);
    }

    #[test]
    fn there_are_never_many_files() {
        let (dir, root) = root();
        for number in 0..3 * MOST_FILES {
            write(&root, &number.to_le_bytes(), &program(7)).unwrap();
        }
        let left = std::fs::read_dir(dir.path().join(DIRECTORY))
            .unwrap()
            .count();
        assert!((1..=MOST_FILES).contains(&left), "{left}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_only_whole_files_are_programs(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 0_usize..64,
        ) {
            drop(parse(&bytes, b"one"));
            let whole = to_bytes(b"one", &program(7));
            prop_assert!(parse(&whole, b"one").is_some());
            let cut = whole.get(..whole.len().saturating_sub(cut)).unwrap_or_default();
            let parsed = parse(cut, b"one");
            prop_assert_eq!(parsed.is_some(), cut.len() > 11 && (cut.len() - 11) % INSTRUCTION == 0);
        }
    }
}
