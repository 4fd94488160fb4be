//! Protobuf on the wire, as little of it as the tests need: numbers, and bytes that are text or messages.

use anyhow::{Context as _, Result, bail};

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// An integer or a truth value.
    Number(u64),
    /// Text, bytes, or a message.
    Bytes(Vec<u8>),
}

/// Text as a field.
#[must_use]
pub fn text(text: &str) -> Field {
    Field::Bytes(text.as_bytes().to_vec())
}

/// A message as a field.
#[must_use]
pub fn message(fields: &[(u64, Field)]) -> Field {
    Field::Bytes(encode(fields))
}

/// A message of these fields, by their numbers.
#[must_use]
pub fn encode(fields: &[(u64, Field)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, field) in fields {
        match field {
            Field::Number(value) => {
                varint(&mut bytes, number << 3);
                varint(&mut bytes, *value);
            }
            Field::Bytes(value) => {
                varint(&mut bytes, number << 3 | 2);
                varint(&mut bytes, value.len() as u64);
                bytes.extend(value);
            }
        }
    }
    bytes
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

/// A message that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded(Vec<(u64, Field)>);

impl Decoded {
    /// Reads one.
    ///
    /// # Errors
    /// When it is cut off or has a field of another kind.
    pub fn read(mut bytes: &[u8]) -> Result<Self> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = take_varint(&mut bytes)?;
            let field = match key & 7 {
                0 => Field::Number(take_varint(&mut bytes)?),
                1 => Field::Bytes(take(&mut bytes, 8)?),
                2 => {
                    let length = usize::try_from(take_varint(&mut bytes)?)?;
                    Field::Bytes(take(&mut bytes, length)?)
                }
                5 => Field::Bytes(take(&mut bytes, 4)?),
                other => bail!("a field of wire type {other}"),
            };
            fields.push((key >> 3, field));
        }
        Ok(Self(fields))
    }

    /// A number; 0 where it is not there, as protobuf has it.
    #[must_use]
    pub fn number(&self, number: u64) -> u64 {
        match self.get(number) {
            Some(Field::Number(value)) => *value,
            _ => 0,
        }
    }

    /// A text, empty where it is not there.
    #[must_use]
    pub fn text(&self, number: u64) -> String {
        match self.get(number) {
            Some(Field::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }

    /// Bytes, empty where they are not there.
    #[must_use]
    pub fn bytes(&self, number: u64) -> Vec<u8> {
        match self.get(number) {
            Some(Field::Bytes(bytes)) => bytes.clone(),
            _ => Vec::new(),
        }
    }

    /// A message, empty where it is not there.
    ///
    /// # Errors
    /// When it is none.
    pub fn message(&self, number: u64) -> Result<Self> {
        Self::read(&self.bytes(number))
    }

    /// All messages under this number.
    ///
    /// # Errors
    /// When one is none.
    pub fn messages(&self, number: u64) -> Result<Vec<Self>> {
        let those = self.0.iter().filter(|(own, _)| *own == number);
        those
            .map(|(_, field)| match field {
                Field::Bytes(bytes) => Self::read(bytes),
                Field::Number(_) => bail!("field {number} is a number"),
            })
            .collect()
    }

    fn get(&self, number: u64) -> Option<&Field> {
        let found = self.0.iter().rfind(|(own, _)| *own == number);
        found.map(|(_, field)| field)
    }
}

fn take(bytes: &mut &[u8], length: usize) -> Result<Vec<u8>> {
    let (taken, rest) = bytes.split_at_checked(length).context("it is cut off")?;
    *bytes = rest;
    Ok(taken.to_vec())
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = take(bytes, 1)?.try_into().unwrap_or([0]);
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bail!("a number without end")
}
