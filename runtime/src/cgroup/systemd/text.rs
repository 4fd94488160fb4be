//! Values of unit properties as annotations write them: the text format of GVariant, as far as properties
//! of units have such types: `'text'`, `true`, `uint64 5`, `1.5`, `['a', 'b']`.

use super::wire::Value;

/// Deeper nesting than any property has.
const MAX_DEPTH: usize = 8;

/// Parses one value.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { rest: text.trim() };
    let value = parser.value(0)?;
    if parser.rest.trim().is_empty() {
        Ok(value)
    } else {
        Err(format!("more than one value, at {:?}", parser.rest))
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err("nested too deep".to_owned());
        }
        self.rest = self.rest.trim_start();
        match self.rest.chars().next() {
            Some(quote @ ('\'' | '"')) => self.quoted(quote).map(Value::Text),
            Some('[') => self.array(depth),
            Some('@') => self.typed_array(depth),
            Some(_) => self.word(),
            None => Err("no value".to_owned()),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, c @ ('\\' | '\'' | '"'))) => text.push(c),
                    _ => return Err("an escape that is not known".to_owned()),
                },
                '\0' => return Err("a zero byte".to_owned()),
                _ if c == quote => {
                    self.rest = self.rest.get(at + 1..).unwrap_or_default();
                    return Ok(text);
                }
                _ => text.push(c),
            }
        }
        Err("text without an end".to_owned())
    }

    fn array(&mut self, depth: usize) -> Result<Value, String> {
        self.rest = self.rest.get(1..).unwrap_or_default();
        let mut values = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if let Some(rest) = self.rest.strip_prefix(']') {
                self.rest = rest;
                break;
            }
            values.push(self.value(depth + 1)?);
            self.rest = self.rest.trim_start();
            match self.rest.strip_prefix(',') {
                Some(rest) => self.rest = rest,
                None if self.rest.starts_with(']') => {}
                None => return Err("an array without an end".to_owned()),
            }
        }
        let types = values.first().map(Value::signature);
        let types = types.ok_or("an empty array without a type")?;
        if values.iter().any(|value| value.signature() != types) {
            return Err("an array of several types".to_owned());
        }
        Ok(Value::Array(types, values))
    }

    /// `@as []`: the type of an array that may be empty.
    fn typed_array(&mut self, depth: usize) -> Result<Value, String> {
        let (types, rest) = self.rest.split_once(' ').ok_or("a type without a value")?;
        let element = types.strip_prefix("@a").filter(|element| {
            element.len() == 1 && element.chars().all(|c| "bynqiuxtdso".contains(c))
        });
        let element = element.ok_or("a type that no property has")?;
        self.rest = rest.trim_start();
        if let Some(rest) = self.rest.strip_prefix("[]") {
            self.rest = rest;
            return Ok(Value::Array(element.to_owned(), Vec::new()));
        }
        match self.value(depth)? {
            Value::Array(found, values) if found == element => Ok(Value::Array(found, values)),
            _ => Err("a value of another type than it says".to_owned()),
        }
    }

    fn word(&mut self) -> Result<Value, String> {
        let end = self.rest.find([' ', ',', ']']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        let number = |text: &str, make: fn(&str) -> Option<Value>| {
            make(text).ok_or_else(|| format!("{text:?} is no {word}"))
        };
        let make: fn(&str) -> Option<Value> = match word {
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            "byte" => |text| text.parse().ok().map(Value::Byte),
            "int16" => |text| text.parse().ok().map(Value::I16),
            "uint16" => |text| text.parse().ok().map(Value::U16),
            "int32" | "handle" => |text| text.parse().ok().map(Value::I32),
            "uint32" => |text| text.parse().ok().map(Value::U32),
            "int64" => |text| text.parse().ok().map(Value::I64),
            "uint64" => |text| text.parse().ok().map(Value::U64),
            "double" => |text| text.parse().ok().map(Value::Double),
            "objectpath" | "string" => return self.value(MAX_DEPTH),
            plain => {
                let value = plain.parse().ok().map(Value::I32);
                let value = value.or_else(|| plain.parse().ok().map(Value::Double));
                return value.ok_or_else(|| format!("{plain:?} is no value"));
            }
        };
        let rest = self.rest.trim_start();
        let end = rest.find([' ', ',', ']']).unwrap_or(rest.len());
        let (digits, rest) = rest.split_at_checked(end).unwrap_or((rest, ""));
        self.rest = rest;
        number(digits, make)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_of_annotations() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (written, value) in [
            ("'inactive-or-failed'", text("inactive-or-failed")),
            ("\"it's\"", text("it's")),
            (r"'a\'b'", text("a'b")),
            ("true", Value::Bool(true)),
            ("uint64 123456789", Value::U64(123_456_789)),
            ("int32 -5", Value::I32(-5)),
            ("42", Value::I32(42)),
            ("1.5", Value::Double(1.5)),
            ("byte 7", Value::Byte(7)),
            ("@as []", Value::Array("s".to_owned(), vec![])),
            (
                "['a', 'b']",
                Value::Array("s".to_owned(), vec![text("a"), text("b")]),
            ),
        ] {
            assert_eq!(parse(written), Ok(value), "{written}");
        }
        for wrong in [
            "", "'open", "[", "[]", "['a', 1]", "uint64 x", "x", "1 2", "@as 5",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[\\[\\]@'a-z0-9 ,\\\\]{0,24}|\\PC{0,20}") {
            let _value = parse(&text).is_ok();
        }
    }
}
