//! Why a program would not run: looked up in the container's root, so that the user hears "its
//! interpreter is missing" and not "no such file".

use crate::error::{Error, ErrorKind};
use crate::failure::{Names, quoted};
use crate::lookup::{is_directory, open_regular};
use nix::errno::Errno;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// The sentence for `execve(2)` that answered `errno` for candidate `index`.
pub(crate) fn explain(errno: i32, index: usize, names: &Names<'_>) -> Error {
    let program = quoted(&names.program);
    let found = names.root.and_then(|root| look(root, names, index));
    let error = |kind, why: String| Error::new(kind, "run", program.clone()).because(why);
    match Errno::from_raw(errno) {
        Errno::ENOENT | Errno::ENOTDIR => match found {
            Some(Found::Script { interpreter, carriage_return: true }) => error(
                ErrorKind::ExecNotFound,
                format!("its first line ends with a carriage return, so its interpreter {interpreter:?} is not found"),
            )
            .with_hint("save the script with Unix line ends"),
            Some(Found::Script { interpreter, .. }) => {
                error(ErrorKind::ExecNotFound, format!("its interpreter {interpreter:?} is not in the container"))
            }
            Some(Found::Elf { interpreter: Some(interpreter), .. }) => {
                error(ErrorKind::ExecNotFound, format!("its interpreter {interpreter:?} is not in the container"))
                    .with_hint("it was linked for another C library than the container has")
            }
            _ if names.program.contains('/') => error(ErrorKind::ExecNotFound, "no such file or directory".into()),
            _ => error(ErrorKind::ExecNotFound, "executable file not found in $PATH".into()),
        },
        Errno::EACCES if names.root.is_some_and(|root| is_directory(root, &inside(names, Path::new(&names.program)))) => {
            error(ErrorKind::ExecDenied, "is a directory".into())
        }
        Errno::EACCES => {
            error(ErrorKind::ExecDenied, "permission denied".into()).with_hint("is it executable, and not on a noexec mount?")
        }
        Errno::ENOEXEC => match found {
            Some(Found::Elf { machine, .. }) if machine != NATIVE => error(
                ErrorKind::ExecDenied,
                format!("exec format error: it was built for {}, this host is {}", machine_name(machine), machine_name(NATIVE)),
            ),
            _ => error(ErrorKind::ExecDenied, "exec format error: neither an ELF program nor a script with #!".into()),
        },
        _ => Error::from_errno(errno, "run", program.clone()).with_kind(ErrorKind::ExecDenied),
    }
}

#[cfg(target_arch = "x86_64")]
const NATIVE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const NATIVE: u16 = 183;

fn machine_name(machine: u16) -> String {
    match machine {
        3 => "x86 (32-bit)".into(),
        40 => "arm (32-bit)".into(),
        62 => "x86-64".into(),
        183 => "arm64".into(),
        21 => "ppc64".into(),
        22 => "s390x".into(),
        243 => "riscv64".into(),
        258 => "loongarch64".into(),
        other => format!("machine {other}"),
    }
}

/// What the file is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Script {
        interpreter: String,
        carriage_return: bool,
    },
    Elf {
        machine: u16,
        interpreter: Option<String>,
    },
    Other,
}

fn look(root: BorrowedFd<'_>, names: &Names<'_>, index: usize) -> Option<Found> {
    let tried = names.candidates.get(index..).unwrap_or_default();
    let file = tried
        .iter()
        .find_map(|path| open_regular(root, &inside(names, path)).ok())?;
    // Enough for any ELF header and program headers that name an interpreter.
    let mut head = vec![0_u8; 4096];
    let length = rustix::io::pread(&file, &mut head, 0).ok()?;
    head.truncate(length);
    Some(read(&head))
}

/// As the payload would resolve it, but inside the root.
fn inside(names: &Names<'_>, path: &Path) -> PathBuf {
    Path::new("/").join(&names.cwd).join(path)
}

pub(crate) fn read(head: &[u8]) -> Found {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let carriage_return = line.ends_with(b"\r");
        let text = String::from_utf8_lossy(line);
        let interpreter = text
            .trim()
            .split([' ', '\t'])
            .next()
            .unwrap_or_default()
            .to_owned();
        return Found::Script {
            interpreter,
            carriage_return,
        };
    }
    if head.starts_with(b"\x7fELF") {
        let machine = short(head, 18).unwrap_or(0);
        return Found::Elf {
            machine,
            interpreter: interpreter(head),
        };
    }
    Found::Other
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
    // All machines we name that are big-endian would need the other order; we build for none.
    Some(u16::from_le_bytes(pair))
}

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    let eight = bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
    usize::try_from(u64::from_le_bytes(eight)).ok()
}

/// `PT_INTERP` of a 64-bit little-endian file, `elf(5)`.
fn interpreter(head: &[u8]) -> Option<String> {
    const PT_INTERP: [u8; 4] = [3, 0, 0, 0];
    if head.get(4) != Some(&2) {
        return None;
    }
    let table = long(head, 32)?;
    let (size, count) = (usize::from(short(head, 54)?), usize::from(short(head, 56)?));
    let headers = (0..count).map(|index| table.saturating_add(index.saturating_mul(size)));
    let header = headers
        .into_iter()
        .find(|at| head.get(*at..at.saturating_add(4)) == Some(&PT_INTERP))?;
    let (offset, length) = (
        long(head, header.checked_add(8)?)?,
        long(head, header.checked_add(32)?)?,
    );
    let name = head.get(offset..offset.checked_add(length)?)?;
    Some(
        String::from_utf8_lossy(name)
            .trim_end_matches('\0')
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scripts_name_their_interpreter() {
        let found = read(b"#!/bin/sh -e\r\nexit\r\n");
        assert_eq!(
            found,
            Found::Script {
                interpreter: "/bin/sh".into(),
                carriage_return: true
            }
        );
        let found = read(b"#! /usr/bin/env python3\n");
        assert_eq!(
            found,
            Found::Script {
                interpreter: "/usr/bin/env".into(),
                carriage_return: false
            }
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), elf in any::<bool>()) {
            if elf {
                bytes.splice(0..0, *b"\x7fELF\x02\x01\x01");
            }
            read(&bytes);
        }
    }
}
