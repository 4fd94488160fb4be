//! A deserializer that takes what Go's takes. The types themselves say which keys they have, so no
//! second list of the spec's names is kept.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value};

/// A value that is read with tolerance.
#[derive(Debug)]
pub(super) struct Loose(Value);

/// Keys of a process that the spec requires and Go does without, with what Go then has.
fn missing() -> [(&'static str, Value); 2] {
    [("user", Value::Object(Map::new())), ("cwd", "".into())]
}

/// Keys for which an empty text is as good as none, though the types refuse it.
const EMPTY_IS_NONE: [(&str, &str); 2] =
    [("ExecCPUAffinity", "initial"), ("ExecCPUAffinity", "final")];

/// Names of the spec that the types spell in another way.
const RENAMED: [(&str, &str, &str); 2] = [
    (
        "LinuxSchedulerFlag",
        "SCHED_FLAG_RESET_ON_FORK",
        "SCHED_RESET_ON_FORK",
    ),
    (
        "LinuxSchedulerFlag",
        "SCHED_FLAG_DL_OVERRUN",
        "SCHED_FLAG_D_L_OVERRUN",
    ),
];

impl Loose {
    pub(super) fn new(value: Value) -> Loose {
        Loose(value)
    }
}

/// The object with the keys of the type, where they differ in case only, and without what says
/// nothing.
fn fit(name: &str, fields: &[&str], object: Map<String, Value>) -> Map<String, Value> {
    let mut fitting = Map::new();
    let mut others = Vec::new();
    for (key, value) in object {
        let empty = value == "" && EMPTY_IS_NONE.contains(&(name, &key));
        if value.is_null() || empty {
            continue;
        }
        if fields.contains(&key.as_str()) {
            fitting.insert(key, value);
        } else {
            others.push((key, value));
        }
    }
    for (key, value) in others {
        let known = fields.iter().find(|field| field.eq_ignore_ascii_case(&key));
        let free = known.filter(|field| !fitting.contains_key(**field));
        fitting.insert(free.map_or(key, |field| (*field).to_owned()), value);
    }
    if name == "Process" {
        for (key, value) in missing() {
            fitting.entry(key).or_insert(value);
        }
    }
    // A policy that says nothing is none; one without its mode is a mistake.
    if name == "LinuxMemoryPolicy" && fitting.is_empty() {
        fitting.insert("mode".to_owned(), "MPOL_DEFAULT".into());
    }
    fitting
}

fn visit_object<'de, V: Visitor<'de>>(
    object: Map<String, Value>,
    visitor: V,
) -> Result<V::Value, Error> {
    let entries = object.into_iter().map(|(key, value)| (key, Loose(value)));
    let mut entries = MapDeserializer::new(entries);
    let value = visitor.visit_map(&mut entries)?;
    entries.end().map(|()| value)
}

impl<'de> Deserializer<'de> for Loose {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(object) => visit_object(object, visitor),
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter().map(Loose));
                let value = visitor.visit_seq(&mut items)?;
                items.end().map(|()| value)
            }
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(object) => visit_object(fit(name, fields, object), visitor),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let renamed = RENAMED
            .iter()
            .find(|(of, word, _)| *of == name && self.0 == *word);
        let value = renamed.map_or(self.0, |(_, _, ours)| Value::from(*ours));
        value.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Loose {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
