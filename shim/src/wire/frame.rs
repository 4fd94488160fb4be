//! Frames: ten bytes of header (length, stream, type, flags; numbers in network order), then as many bytes
//! as the length says.

use crate::messages::rpc::{Request, Response};
use crate::wire::status::Failure;
use prost::Message;

/// Of every frame.
pub(crate) const HEADER: usize = 10;

/// The longest frame that ttrpc allows.
pub(crate) const LONGEST: usize = 4 << 20;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
    /// Of a stream, or what nobody knows: none of the services here has any.
    Other,
}

impl Kind {
    fn of(byte: u8) -> Kind {
        match byte {
            1 => Kind::Request,
            2 => Kind::Response,
            _ => Kind::Other,
        }
    }
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Frame {
        stream: u32,
        kind: Kind,
        payload: Vec<u8>,
    },
    /// A frame longer than any may be; it is passed over, not kept.
    TooLong { stream: u32 },
}

/// Puts frames together from what arrives. It holds what has arrived of one frame and never what a header
/// only promises.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
    /// Where in `bytes` the next frame begins.
    from: usize,
    /// How much of a frame that is too long is still to come.
    skip: usize,
}

impl Reader {
    /// Takes what has arrived.
    pub(crate) fn take(&mut self, arrived: &[u8]) {
        let skipped = self.skip.min(arrived.len());
        self.skip -= skipped;
        let kept = arrived.get(skipped..).unwrap_or_default();
        self.bytes.extend_from_slice(kept);
    }

    /// The next frame, once it is there.
    pub(crate) fn next(&mut self) -> Option<Read> {
        let rest = self.bytes.get(self.from..).unwrap_or_default();
        let Some((header, body)) = rest.split_first_chunk::<HEADER>() else {
            self.compact();
            return None;
        };
        let [l0, l1, l2, l3, s0, s1, s2, s3, kind, _flags] = header;
        let length = u32::from_be_bytes([*l0, *l1, *l2, *l3]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let stream = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
        if length > LONGEST {
            self.skip = length.saturating_sub(body.len());
            self.from += HEADER + length.min(body.len());
            return Some(Read::TooLong { stream });
        }
        let Some(payload) = body.get(..length) else {
            self.compact();
            return None;
        };
        let frame = Read::Frame {
            stream,
            kind: Kind::of(*kind),
            payload: payload.to_vec(),
        };
        self.from += HEADER + length;
        Some(frame)
    }

    /// Gives back what was read; a long message leaves no long buffer behind.
    fn compact(&mut self) {
        const KEPT: usize = 4 << 10;
        self.bytes.drain(..self.from.min(self.bytes.len()));
        self.from = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
    }
}

/// A frame around a message.
fn frame(stream: u32, kind: u8, message: &impl Message) -> Vec<u8> {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(HEADER + length);
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(stream.to_be_bytes());
    bytes.extend([kind, 0]);
    bytes.extend(message.encode_to_vec());
    bytes
}

/// An answer, framed.
pub(crate) fn response(stream: u32, answer: Result<Vec<u8>, &Failure>) -> Vec<u8> {
    let response = match answer {
        // Absent means ok, but older clients look into it.
        Ok(payload) => Response {
            status: Some(crate::messages::rpc::Status::default()),
            payload,
        },
        Err(failure) => Response {
            status: Some(failure.status()),
            payload: Vec::new(),
        },
    };
    frame(stream, 2, &response)
}

/// A call, framed.
pub(crate) fn request(stream: u32, request: &Request) -> Vec<u8> {
    frame(stream, 1, request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(stream: u32, kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap();
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(stream.to_be_bytes());
        bytes.extend([kind, 0]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_frame_that_is_too_long_is_passed_over_and_the_next_one_is_read() {
        let mut reader = Reader::default();
        let length = LONGEST + 5;
        let mut bytes = u32::try_from(length).unwrap().to_be_bytes().to_vec();
        bytes.extend([0, 0, 0, 7, 1, 0]);
        reader.take(&bytes);
        assert_eq!(reader.next(), Some(Read::TooLong { stream: 7 }));
        for _ in 0..length / 1000 {
            reader.take(&[1; 1000]);
            assert!(reader.next().is_none());
            assert!(reader.bytes.len() < HEADER);
        }
        reader.take(&vec![1; length % 1000]);
        reader.take(&raw(9, 1, b"next"));
        let next = Read::Frame {
            stream: 9,
            kind: Kind::Request,
            payload: b"next".to_vec(),
        };
        assert_eq!(reader.next(), Some(next));
        assert!(reader.next().is_none());
    }

    #[test]
    fn an_answer_is_a_frame_that_can_be_read() {
        let failure = Failure::not_found("no such task");
        let bytes = response(3, Err(&failure));
        let mut reader = Reader::default();
        reader.take(&bytes);
        let Some(Read::Frame {
            stream: 3,
            kind: Kind::Response,
            payload,
        }) = reader.next()
        else {
            unreachable!("no frame in {bytes:?}");
        };
        let response = Response::decode(&*payload).unwrap();
        assert_eq!(response.status.unwrap().code, 5);
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            cuts in prop::collection::vec(1_usize..50, 1..40),
        ) {
            let all: Vec<u8> = bodies.iter().flat_map(|body| raw(5, 2, body)).collect();
            let mut reader = Reader::default();
            let mut read = Vec::new();
            let mut rest = &all[..];
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                reader.take(now);
                while let Some(Read::Frame { payload, .. }) = reader.next() {
                    read.push(payload);
                }
                rest = later;
            }
            prop_assert_eq!(read, bodies);
        }

        #[test]
        fn no_bytes_make_the_reader_fail_or_keep_more_than_it_got(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..30),
        ) {
            let mut reader = Reader::default();
            let mut got = 0;
            for chunk in &chunks {
                got += chunk.len();
                reader.take(chunk);
                while reader.next().is_some() {}
                prop_assert!(reader.bytes.len() <= got);
            }
        }
    }
}
