//! The part of the D-Bus protocol that talking to systemd takes: values, method calls, and what answers
//! them ("D-Bus Specification", sections "Marshaling" and "Message Protocol"). Little-endian only, as
//! every peer on the same machine is.
//!
//! Own code, because the crates there are bring an event loop, a C library, or panics
//! (docs/decisions/0003-cgroups.md).

mod reader;
mod value;

pub(crate) use value::Value;

use reader::Reader;
use value::{Bytes, length, signature};

/// Codes of the fields of a header.
mod field {
    pub(super) const PATH: u8 = 1;
    pub(super) const INTERFACE: u8 = 2;
    pub(super) const MEMBER: u8 = 3;
    pub(super) const ERROR_NAME: u8 = 4;
    pub(super) const REPLY_SERIAL: u8 = 5;
    pub(super) const DESTINATION: u8 = 6;
    pub(super) const SIGNATURE: u8 = 8;
}

/// A method call.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) body: &'a [Value],
}

impl Call<'_> {
    /// The whole message.
    pub(super) fn to_bytes(&self, serial: u32) -> Vec<u8> {
        let mut body = Bytes::default();
        for value in self.body {
            value.write(&mut body);
        }
        let mut out = Bytes(vec![b'l', Kind::CALL, 0, 1]);
        out.u32(length(body.0.len()));
        out.u32(serial);
        let field = |code, value: Value| Value::Struct(vec![Value::Byte(code), value.variant()]);
        let mut fields = vec![
            field(field::PATH, Value::Path(self.path.to_owned())),
            field(field::INTERFACE, Value::text(self.interface)),
            field(field::MEMBER, Value::text(self.member)),
            field(field::DESTINATION, Value::text(self.destination)),
        ];
        if !self.body.is_empty() {
            fields.push(field(
                field::SIGNATURE,
                Value::Signature(signature(self.body)),
            ));
        }
        out.array(8, &fields);
        out.align(8);
        out.0.extend_from_slice(&body.0);
        out.0
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Return,
    Error,
    Signal,
    Other,
}

impl Kind {
    const CALL: u8 = 1;

    fn of(code: u8) -> Self {
        match code {
            2 => Self::Return,
            3 => Self::Error,
            4 => Self::Signal,
            _ => Self::Other,
        }
    }
}

/// A message that was received, as far as anybody here reads it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) reply_to: u32,
    pub(super) member: String,
    pub(super) error: String,
    /// Texts and object paths of the body, in order, those in a variant included; up to the first
    /// value that is none of these and no number.
    pub(super) texts: Vec<String>,
}

/// Bytes of a header before its fields.
pub(super) const FIXED: usize = 16;

/// systemd's answers are short.
const MAX_MESSAGE: usize = 1 << 20;

/// How many bytes follow the first [`FIXED`] ones; `None` where this is no message.
pub(super) fn bytes_to_follow(fixed: &[u8; FIXED]) -> Option<usize> {
    let number = |at: usize| {
        let bytes = fixed.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let (body, fields) = (number(4)?, number(12)?);
    let all = fields
        .checked_next_multiple_of(8)?
        .checked_add(body)
        .filter(|all| *all <= MAX_MESSAGE)?;
    (fixed.first() == Some(&b'l') && fixed.get(3) == Some(&1)).then_some(all)
}

impl Message {
    /// From all of its bytes; `None` where they are no message.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes, at: 1 };
        let kind = Kind::of(reader.byte()?);
        reader.at = 12;
        let end = usize::try_from(reader.u32()?).ok()?.checked_add(FIXED)?;
        let mut message = Self {
            kind,
            reply_to: 0,
            member: String::new(),
            error: String::new(),
            texts: Vec::new(),
        };
        let mut types = String::new();
        while reader.at < end {
            reader.align(8)?;
            let code = reader.byte()?;
            let kind = reader.signature()?;
            match (code, kind.as_str()) {
                (field::REPLY_SERIAL, "u") => message.reply_to = reader.u32()?,
                (_, "u") => reader.u32().map(drop)?,
                (field::MEMBER, "s") => message.member = reader.text()?,
                (field::ERROR_NAME, "s") => message.error = reader.text()?,
                (_, "s" | "o") => reader.text().map(drop)?,
                (field::SIGNATURE, "g") => types = reader.signature()?,
                (_, "g") => reader.signature().map(drop)?,
                _ => return None,
            }
        }
        reader.align(8)?;
        message.texts = reader.texts(&types);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(value: &Value) -> Vec<u8> {
        let mut out = Bytes::default();
        value.write(&mut out);
        out.0
    }

    #[test]
    fn values_stand_at_their_alignment_and_arrays_say_their_length() {
        assert_eq!(bytes(&Value::text("foo")), b"\x03\0\0\0foo\0");
        let pair = Value::Struct(vec![Value::Byte(1), Value::U64(2)]);
        assert_eq!(bytes(&pair), b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0");
        // The padding before the first element does not count.
        let longs = Value::Array("t".to_owned(), vec![Value::U64(5)]);
        assert_eq!(bytes(&longs), b"\x08\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0");
        let none = Value::Array("(ss)".to_owned(), vec![]);
        assert_eq!(bytes(&none), [0; 8]);
        assert_eq!(none.signature(), "a(ss)");
        assert_eq!(bytes(&Value::Bool(true).variant()), b"\x01b\0\0\x01\0\0\0");
    }

    #[test]
    fn a_call_is_read_back() {
        let call = Call {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member: "StopUnit",
            body: &[Value::text("a.scope"), Value::text("replace")],
        };
        let bytes = call.to_bytes(7);
        let fixed: [u8; FIXED] = bytes[..FIXED].try_into().unwrap();
        assert_eq!(bytes_to_follow(&fixed), Some(bytes.len() - FIXED));
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.member, "StopUnit");
        assert_eq!(message.texts, ["a.scope", "replace"]);
    }

    #[test]
    fn a_reply_of_the_bus_is_understood() {
        // MethodReturn of Hello, from the bus daemon.
        let reply = b"l\x02\x01\x01\x0b\0\0\0\x01\0\0\0=\0\0\0\x06\x01s\0\x06\0\0\0:1.220\0\0\
            \x05\x01u\0\x01\0\0\0\x08\x01g\0\x01s\0\0\x07\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0\
            \x06\0\0\0:1.220\0";
        let message = Message::parse(reply).unwrap();
        assert_eq!((message.kind, message.reply_to), (Kind::Return, 1));
        assert_eq!(message.texts, [":1.220"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            Message::parse(&bytes);
            if let Some(fixed) = bytes.first_chunk() {
                bytes_to_follow(fixed);
            }
        }
    }
}
