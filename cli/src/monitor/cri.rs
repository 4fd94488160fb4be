//! The log format of the container runtime interface: `TIME STREAM TAG TEXT`, one line each.
//!
//! Tag `F` ends a line of the container's, tag `P` is a part that does not: a line longer than [`LONGEST`], or output
//! that stopped without a newline. So every byte comes back as it was written.

use crate::clock::Instant;

/// The longest text of one log line in bytes; longer lines are written in parts.
pub(crate) const LONGEST: usize = 16 * 1024;

/// Which of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Cuts one stream into log lines.
#[derive(Debug)]
pub(crate) struct Cutter {
    stream: Stream,
    held: Vec<u8>,
}

impl Cutter {
    /// For one stream.
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            held: Vec::new(),
        }
    }

    /// Takes what the container wrote and appends finished log lines to `log`.
    pub(crate) fn take(&mut self, mut bytes: &[u8], at: Instant, log: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let room = LONGEST - self.held.len();
            let end = bytes.iter().take(room).position(|&b| b == b'\n');
            let (text, rest, tag) = match end {
                Some(end) => (bytes.get(..end), bytes.get(end + 1..), Some('F')),
                None if bytes.len() >= room => (bytes.get(..room), bytes.get(room..), Some('P')),
                None => (Some(bytes), None, None),
            };
            self.held.extend_from_slice(text.unwrap_or_default());
            bytes = rest.unwrap_or_default();
            if let Some(tag) = tag {
                self.cut(tag, at, log);
            }
        }
    }

    /// The stream ended: what has no newline is written as a part.
    pub(crate) fn finish(&mut self, at: Instant, log: &mut Vec<u8>) {
        if !self.held.is_empty() {
            self.cut('P', at, log);
        }
    }

    fn cut(&mut self, tag: char, at: Instant, log: &mut Vec<u8>) {
        log.extend_from_slice(
            format!("{} {} {tag} ", at.to_rfc3339(), self.stream.name()).as_bytes(),
        );
        log.append(&mut self.held);
        log.push(b'\n');
    }
}

/// One line of a log, read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// The time as written.
    pub(crate) time: &'a str,
    pub(crate) stream: Stream,
    /// Whether the container's own line ends here.
    pub(crate) full: bool,
    pub(crate) text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads one line without its newline; `None` when it is not of this format.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |&b| b == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?;
        let stream = match parts.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        // Later writers may append more tags behind a colon.
        let full = match parts.next()?.split(|&b| b == b':').next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        Some(Self {
            time,
            stream,
            full,
            text: parts.next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use proptest::prelude::*;

    fn written_back(log: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in log
            .strip_suffix(b"\n")
            .map(|log| log.split(|&b| b == b'\n'))
            .into_iter()
            .flatten()
        {
            let line = Line::parse(line).unwrap();
            bytes.extend_from_slice(line.text);
            if line.full {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    #[test]
    fn lines_look_as_the_interface_wants_them() {
        let at = Instant::parse("2024-01-02T03:04:05.123456789Z").unwrap();
        let mut cutter = Cutter::new(Stream::Stderr);
        let mut log = Vec::new();
        cutter.take(b"one\ntw", at, &mut log);
        cutter.take(b"o\nthree", at, &mut log);
        cutter.finish(at, &mut log);
        let expected = "2024-01-02T03:04:05.123456789Z stderr F one\n\
                        2024-01-02T03:04:05.123456789Z stderr F two\n\
                        2024-01-02T03:04:05.123456789Z stderr P three\n";
        assert_eq!(String::from_utf8(log).unwrap(), expected);
    }

    #[test]
    fn a_line_of_exactly_the_longest_length_loses_nothing() {
        for extra in 0..3 {
            let mut text = vec![b'x'; LONGEST - 1 + extra];
            text.push(b'\n');
            let mut log = Vec::new();
            let mut cutter = Cutter::new(Stream::Stdout);
            cutter.take(&text, now(), &mut log);
            cutter.finish(now(), &mut log);
            assert_eq!(written_back(&log), text);
        }
    }

    #[test]
    fn foreign_lines_are_not_read() {
        for line in ["", "x", "t stdout F", "t stdin F x", "t stdout X x"] {
            assert_eq!(Line::parse(line.as_bytes()), None, "{line}");
        }
        assert!(Line::parse(b"t stdout P:more x").is_some_and(|line| !line.full));
    }

    proptest! {
        #[test]
        fn every_byte_comes_back(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9000), 0..8)) {
            let mut cutter = Cutter::new(Stream::Stdout);
            let mut log = Vec::new();
            for chunk in &chunks {
                cutter.take(chunk, now(), &mut log);
            }
            cutter.finish(now(), &mut log);
            prop_assert_eq!(written_back(&log), chunks.concat());
        }

        #[test]
        fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(Line::parse(&line).is_none_or(|parsed| parsed.text.len() <= line.len()));
        }
    }
}
