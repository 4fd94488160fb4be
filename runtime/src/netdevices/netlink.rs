//! As much of rtnetlink(7) as moving an interface takes: one request, its answers.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::os::fd::OwnedFd;

pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_GETLINK: u16 = 18;
pub(super) const RTM_NEWADDR: u16 = 20;
pub(super) const RTM_GETADDR: u16 = 22;
pub(super) const CREATE: u16 = 0x600;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;

/// A message without its header.
#[derive(Debug, Default)]
pub(super) struct Body(Vec<u8>);

impl Body {
    /// `struct ifinfomsg`: an interface, and flags of it to change.
    pub(super) fn link(index: u32, flags: u32, change: u32) -> Body {
        let mut bytes = vec![0; 4];
        for number in [index, flags, change] {
            bytes.extend(number.to_ne_bytes());
        }
        Body(bytes)
    }

    /// `struct ifaddrmsg`.
    pub(super) fn address(family: u8, prefix: u8, index: u32) -> Body {
        let mut bytes = vec![family, prefix, 0, 0];
        bytes.extend(index.to_ne_bytes());
        Body(bytes)
    }

    /// With one more attribute.
    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Body {
        let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

/// A socket of the network namespace its maker was in.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open() -> rustix::io::Result<Netlink> {
        let flags = SocketFlags::CLOEXEC;
        // Protocol 0 is NETLINK_ROUTE.
        socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).map(Netlink)
    }

    /// Asks for a change.
    pub(super) fn change(&self, kind: u16, flags: u16, body: &Body) -> rustix::io::Result<()> {
        self.talk(kind, flags | ACK, body).map(drop)
    }

    /// Asks for all there is; each answer without its header.
    pub(super) fn list(&self, kind: u16, body: &Body) -> rustix::io::Result<Vec<Vec<u8>>> {
        self.talk(kind, DUMP, body)
    }

    fn talk(&self, kind: u16, flags: u16, body: &Body) -> rustix::io::Result<Vec<Vec<u8>>> {
        let length = u32::try_from(HEADER + body.0.len()).map_err(|_large| Errno::MSGSIZE)?;
        let mut message = Vec::with_capacity(HEADER + body.0.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((REQUEST | flags).to_ne_bytes());
        message.extend([0; 8]);
        message.extend(&body.0);
        send(&self.0, &message, SendFlags::empty())?;
        let mut answers = Vec::new();
        let mut buffer = vec![0_u8; 1 << 16];
        loop {
            let (length, _) = match recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            if read(buffer.get(..length).unwrap_or_default(), &mut answers)? {
                return Ok(answers);
            }
        }
    }
}

/// Reads one datagram of answers; whether it was the last.
fn read(mut datagram: &[u8], answers: &mut Vec<Vec<u8>>) -> rustix::io::Result<bool> {
    while let Some(length) = number(datagram, 0) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let kind = short(datagram, 4).unwrap_or(0);
        let payload = datagram.get(HEADER..length).ok_or(Errno::BADMSG)?;
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let errno = number(payload, 0).unwrap_or(0).cast_signed();
                let failed = errno.checked_neg().filter(|errno| *errno != 0);
                return failed.map_or(Ok(true), |errno| Err(Errno::from_raw_os_error(errno)));
            }
            _ => answers.push(payload.to_vec()),
        }
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(false)
}

/// The attribute of this kind, behind a fixed part of so many bytes.
pub(super) fn attribute(message: &[u8], fixed: usize, kind: u16) -> Option<&[u8]> {
    let mut rest = message.get(fixed..)?;
    loop {
        let length = usize::from(short(rest, 0)?);
        if short(rest, 2)? & 0x3fff == kind {
            return rest.get(4..length);
        }
        // Of less than its own header there could be endlessly many.
        rest = rest.get(length.max(4).next_multiple_of(4)..)?;
    }
}

pub(super) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(two.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_attribute_is_found_behind_others() {
        let body = Body::link(7, 0, 0)
            .with(3, b"eth0\0")
            .with(28, &5_u32.to_ne_bytes());
        assert_eq!(number(&body.0, 4), Some(7));
        assert_eq!(attribute(&body.0, 16, 3), Some(&b"eth0\0"[..]));
        assert_eq!(attribute(&body.0, 16, 28), Some(&5_u32.to_ne_bytes()[..]));
        assert_eq!(attribute(&body.0, 16, 4), None);
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic_or_hang(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in any::<u16>()) {
            let mut answers = Vec::new();
            // Whatever it says, it ends.
            read(&bytes, &mut answers).unwrap_or_default();
            attribute(&bytes, 8, kind);
        }
    }
}
