//! What a hook leaves behind: how it ended, and what it said.

use crate::sys::Errno;

/// How a hook went that did not go well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// It could not be run, for this reason.
    NotRun(Errno),
    /// It ended with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It was killed because its time was up.
    Late,
}

/// Numbers above every exit code, that no errno has either.
const SIGNALS: i32 = -1000;
const LATE: i32 = -2000;

impl Mishap {
    /// As a number that fits where a [`Failure`] has its errno, and is no errno unless it was one.
    #[must_use]
    pub fn to_number(self) -> i32 {
        match self {
            Mishap::NotRun(errno) => errno.0,
            Mishap::Code(code) => -code,
            Mishap::Signal(signal) => SIGNALS - signal,
            Mishap::Late => LATE,
        }
    }

    /// From such a number.
    #[must_use]
    pub fn from_number(number: i32) -> Mishap {
        match number {
            LATE => Mishap::Late,
            0.. => Mishap::NotRun(Errno(number)),
            _ if number > SIGNALS => Mishap::Code(-number),
            _ => Mishap::Signal(SIGNALS - number),
        }
    }
}

/// The first bytes of what a hook wrote; the rest is read and forgotten.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    bytes: [u8; Self::MOST],
    length: usize,
}

impl Said {
    /// How much is kept.
    pub const MOST: usize = 512;

    /// Nothing.
    #[must_use]
    pub fn nothing() -> Said {
        Said {
            bytes: [0; Self::MOST],
            length: 0,
        }
    }

    /// What was kept.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    pub(super) fn is_full(&self) -> bool {
        self.length >= Self::MOST
    }

    pub(super) fn add(&mut self, more: &[u8]) {
        let free = self.bytes.iter_mut().skip(self.length);
        let mut count = 0;
        for (to, from) in free.zip(more) {
            *to = *from;
            count += 1;
        }
        self.length += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mishap_survives_being_a_number() {
        for mishap in [
            Mishap::NotRun(Errno(libc::ENOENT)),
            Mishap::Code(1),
            Mishap::Code(255),
            Mishap::Signal(1),
            Mishap::Signal(64),
            Mishap::Late,
        ] {
            assert_eq!(Mishap::from_number(mishap.to_number()), mishap);
        }
    }

    #[test]
    fn only_the_first_bytes_are_kept() {
        let mut said = Said::nothing();
        said.add(b"ab");
        said.add(&[b'c'; 600]);
        assert_eq!(said.bytes().len(), Said::MOST);
        assert!(said.bytes().starts_with(b"abcc"));
    }
}
