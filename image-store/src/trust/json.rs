//! JSON that says each thing once: of a key that is there twice, two readers could take two values.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

/// An object with keys of its author's choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unique<T>(pub(super) BTreeMap<String, T>);

impl<T> Default for Unique<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object(PhantomData))
    }
}

struct Object<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
    type Value = Unique<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry::<String, T>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
            }
            map.insert(key, value);
        }
        Ok(Unique(map))
    }
}

/// An object of which nothing is used, or `null`; it must be there.
#[derive(Debug)]
pub(super) struct Remarks;

impl<'de> Deserialize<'de> for Remarks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not as an option, which may be missing.
        deserializer.deserialize_any(ObjectOrNull)
    }
}

struct ObjectOrNull;

impl<'de> Visitor<'de> for ObjectOrNull {
    type Value = Remarks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or null")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Remarks, E> {
        Ok(Remarks)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Remarks, A::Error> {
        Object::<IgnoredAny>(PhantomData).visit_map(entries)?;
        Ok(Remarks)
    }
}
