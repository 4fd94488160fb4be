//! How a parked process is told its program: one message, which it reads to a place that we know.

use super::page::{WORD, WORDS};
use crate::error::{At, Error, ErrorKind, Result};
use crate::plan::program::ProgramPlan;
use hostrun_inside::byte;
use hostrun_inside::orders::Park;
use rustix::fs::{FileType, fstat, makedev};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::ffi::CString;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The kind of the message, four places, and bits: which streams come with it, and [`Park::GO`].
const HEAD: usize = 6;

/// A program's candidates, arguments and environment.
pub(crate) type Lists<'a> = [&'a [CString]; 3];

/// The message for a process whose page is at `address`: the head, the lists as that process will find
/// them, the texts.
///
/// # Errors
/// `InvalidSpec` where it is longer than the page.
pub(super) fn write(address: usize, lists: Lists<'_>, bits: usize) -> Result<Vec<u8>> {
    let [candidates, arguments, environment] = lists.map(<[CString]>::len);
    // Arguments and environment end with a null pointer.
    let argv = HEAD + candidates;
    let envp = argv + arguments + 1;
    let end = envp + environment + 1;
    let mut words = Vec::with_capacity(end);
    words.extend([usize::from(byte::PROGRAM), HEAD, argv, envp, end, bits]);
    let mut text: Vec<u8> = Vec::new();
    for (list, terminated) in lists.into_iter().zip([false, true, true]) {
        for string in list {
            words.push(address + end * WORD + text.len());
            text.extend(string.as_bytes_with_nul());
        }
        if terminated {
            words.push(0);
        }
    }
    let mut message: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    message.append(&mut text);
    if message.len() <= WORDS * WORD {
        return Ok(message);
    }
    Err(
        Error::new(ErrorKind::InvalidSpec, "start", "a parked sandbox").because(format!(
            "process.args and process.env take {} bytes, a parked sandbox has room for {}",
            message.len(),
            WORDS * WORD
        )),
    )
}

/// Tells it, and to go at once (`goes`) or to wait for its start. The streams are duplicated, so ours may be closed then. Those that lead to the null device
/// do not go: the process has the container's own there already, and no file of the host's mounts.
///
/// # Errors
/// `EPIPE` of the kernel where it is dead.
pub(super) fn tell(
    line: &OwnedFd,
    address: usize,
    program: &ProgramPlan,
    streams: &[(usize, BorrowedFd<'_>)],
    goes: bool,
) -> Result<()> {
    let sent: Vec<_> = streams.iter().filter(|(_, fd)| !is_null(*fd)).collect();
    let numbers = sent.iter().fold(0, |bits, (number, _)| bits | 1 << number);
    let go = if goes { Park::GO } else { 0 };
    let message = write(address, program.lists(), numbers | go)?;
    let sent: Vec<_> = sent.iter().map(|(_, fd)| *fd).collect();
    let parts = [IoSlice::new(&message)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sent.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&sent));
    }
    sendmsg(line, &parts, &mut control, SendFlags::NOSIGNAL)
        .map(drop)
        .at("start", "a parked sandbox")
}

fn is_null(fd: BorrowedFd<'_>) -> bool {
    fstat(fd).is_ok_and(|found| {
        FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice
            && found.st_rdev == makedev(1, 3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<CString> {
        list.iter()
            .map(|text| CString::new(*text).unwrap())
            .collect()
    }

    fn program(env: &[&str]) -> ProgramPlan {
        ProgramPlan {
            argv: texts(&["true", "-x"]),
            envp: texts(env),
            candidates: texts(&["/bin/true", "/usr/bin/true"]),
            needs_home: false,
        }
    }

    /// Reads a list as the kernel would, from a message that lies at `address`.
    fn list(message: &[u8], address: usize, from: usize, to: usize) -> Vec<String> {
        let word = |index: usize| {
            let bytes = &message[index * WORD..][..WORD];
            usize::from_ne_bytes(bytes.try_into().unwrap())
        };
        let read = |pointer: usize| {
            let rest = &message[pointer - address..];
            let end = rest.iter().position(|byte| *byte == 0).unwrap();
            String::from_utf8(rest[..end].to_vec()).unwrap()
        };
        let pointers = (word(from)..word(to)).map(word);
        pointers.filter(|pointer| *pointer != 0).map(read).collect()
    }

    #[test]
    fn what_is_written_is_what_the_kernel_reads_at_that_address() {
        let address = 0x7000_0000;
        let message = write(address, program(&["A=1", "B="]).lists(), 0b101).unwrap();
        assert_eq!(message[0], byte::PROGRAM);
        assert_eq!(
            list(&message, address, 1, 2),
            ["/bin/true", "/usr/bin/true"]
        );
        assert_eq!(list(&message, address, 2, 3), ["true", "-x"]);
        assert_eq!(list(&message, address, 3, 4), ["A=1", "B="]);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_not_cut() {
        let long = format!("A={}", "x".repeat(WORDS * WORD));
        let refused = write(0, program(&[&long]).lists(), 0).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidSpec);
    }
}
