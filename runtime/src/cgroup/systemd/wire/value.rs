//! Values, and how they are written.

/// A D-Bus value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Byte(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Double(f64),
    Text(String),
    /// Object path.
    Path(String),
    /// The type of something else.
    Signature(String),
    /// The signature of the elements, and those.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    Variant(Box<Value>),
}

impl Value {
    pub(in super::super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(in super::super) fn variant(self) -> Self {
        Self::Variant(Box::new(self))
    }

    pub(in super::super) fn signature(&self) -> String {
        match self {
            Self::Bool(_) => "b".to_owned(),
            Self::Byte(_) => "y".to_owned(),
            Self::I16(_) => "n".to_owned(),
            Self::U16(_) => "q".to_owned(),
            Self::I32(_) => "i".to_owned(),
            Self::U32(_) => "u".to_owned(),
            Self::I64(_) => "x".to_owned(),
            Self::U64(_) => "t".to_owned(),
            Self::Double(_) => "d".to_owned(),
            Self::Text(_) => "s".to_owned(),
            Self::Path(_) => "o".to_owned(),
            Self::Signature(_) => "g".to_owned(),
            Self::Array(elements, _) => format!("a{elements}"),
            Self::Struct(fields) => format!("({})", signature(fields)),
            Self::Variant(_) => "v".to_owned(),
        }
    }

    pub(super) fn write(&self, out: &mut Bytes) {
        match self {
            Self::Bool(value) => out.u32(u32::from(*value)),
            Self::Byte(value) => out.put(1, &[*value]),
            Self::I16(value) => out.put(2, &value.to_le_bytes()),
            Self::U16(value) => out.put(2, &value.to_le_bytes()),
            Self::I32(value) => out.put(4, &value.to_le_bytes()),
            Self::U32(value) => out.u32(*value),
            Self::I64(value) => out.put(8, &value.to_le_bytes()),
            Self::U64(value) => out.put(8, &value.to_le_bytes()),
            Self::Double(value) => out.put(8, &value.to_le_bytes()),
            Self::Text(text) | Self::Path(text) => out.text(text),
            Self::Signature(signature) => out.signature(signature),
            Self::Array(elements, values) => out.array(alignment(elements), values),
            Self::Struct(fields) => {
                out.align(8);
                for field in fields {
                    field.write(out);
                }
            }
            Self::Variant(value) => {
                out.signature(&value.signature());
                value.write(out);
            }
        }
    }
}

pub(super) fn signature(values: &[Value]) -> String {
    values.iter().map(Value::signature).collect()
}

fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

#[derive(Default)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    pub(super) fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn put(&mut self, alignment: usize, bytes: &[u8]) {
        self.align(alignment);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.put(4, &value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(length(text.len()));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    /// A single complete type is at most 255 bytes long; those here are far shorter.
    fn signature(&mut self, signature: &str) {
        self.0
            .push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(signature.as_bytes());
        self.0.push(0);
    }

    /// The length counts from the first element, behind the padding.
    pub(super) fn array(&mut self, alignment: usize, values: &[Value]) {
        self.u32(0);
        let at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        for value in values {
            value.write(self);
        }
        let length = length(self.0.len() - start).to_le_bytes();
        if let Some(place) = self.0.get_mut(at..at + 4) {
            place.copy_from_slice(&length);
        }
    }
}

/// What does not fit is far beyond what the peer accepts, and is refused there.
pub(super) fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
