//! From a tree to the spec's types, with the tolerance of Go's decoder. The types themselves say
//! which keys they have, so no second list of the spec's names is kept. Whoever reads one of these
//! types goes through here: each of their readers is large, and every further way would double them.

use super::tree::Node;
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

/// Keys of a process that the spec requires and Go does without, with what Go then has.
static MISSING: [(&str, Node<'static>); 2] = [
    ("user", Node::Object(Vec::new())),
    ("cwd", Node::Text(Cow::Borrowed(""))),
];

/// What a memory policy that says nothing has for a mode.
static NO_POLICY: Node<'static> = Node::Text(Cow::Borrowed("MPOL_DEFAULT"));

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

/// How keys are matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// In any case, `null` for nothing.
    Tolerant,
    /// As they are written.
    Strict,
}

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Wrong {
    /// As in `mounts[0].type`; empty for the document itself.
    pub(super) path: String,
    pub(super) reason: String,
}

/// Reads a value of a tree; the paths of keys that nobody reads are added to `unknown`.
pub(super) fn read<T: DeserializeOwned>(
    tree: &Node<'_>,
    manner: Manner,
    unknown: &mut Vec<String>,
) -> Result<T, Wrong> {
    let trail = Trail {
        manner,
        steps: RefCell::default(),
        unknown: RefCell::new(unknown),
    };
    let reader = Reader {
        node: tree,
        trail: &trail,
    };
    T::deserialize(reader).map_err(|Fault(reason)| Wrong {
        path: trail.path(|index| format!("[{index}]")),
        reason,
    })
}

/// The way from the document to the value that is being read. It ends where reading failed.
struct Trail<'t, 'u> {
    manner: Manner,
    steps: RefCell<Vec<Step<'t>>>,
    unknown: RefCell<&'u mut Vec<String>>,
}

#[derive(Clone, Copy)]
enum Step<'t> {
    Key(&'t str),
    Index(usize),
}

impl<'t> Trail<'t, '_> {
    /// Reads one step further down.
    fn beyond<T>(
        &self,
        step: Step<'t>,
        read: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.steps.borrow_mut().push(step);
        let value = read()?;
        self.steps.borrow_mut().pop();
        Ok(value)
    }

    fn path(&self, place: impl Fn(usize) -> String) -> String {
        let mut path = String::new();
        for step in self.steps.borrow().iter() {
            match step {
                Step::Key(key) => {
                    path.push_str(if path.is_empty() { "" } else { "." });
                    path.push_str(key);
                }
                Step::Index(index) => path.push_str(&place(*index)),
            }
        }
        path
    }

    fn note_unknown(&self) {
        let path = self.path(|index| format!(".{index}"));
        self.unknown.borrow_mut().push(path);
    }
}

#[derive(Debug)]
struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

impl Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault(message.to_string())
    }
}

type Entry<'t, 'a> = (&'t str, &'t Node<'a>);

/// The entries with the keys of the type, where they differ in case only, and without what says
/// nothing.
///
/// A key that is there twice, in whatever spelling, is refused. Go takes the last word, merges
/// objects and keeps a value that a later `null` takes back: who has checked the document by other
/// rules has checked another one. The error is the key.
fn fit<'t, 'a>(
    name: &str,
    fields: &'static [&'static str],
    entries: &'t [(Cow<'a, str>, Node<'a>)],
) -> Result<Vec<Entry<'t, 'a>>, &'t str> {
    let mut fitting: Vec<Entry<'t, 'a>> = Vec::with_capacity(entries.len() + MISSING.len());
    let mut unfitting = Vec::new();
    for (key, node) in entries {
        let key: &'t str = key;
        let known = fields.iter().find(|field| **field == key);
        let known = known.or_else(|| fields.iter().find(|field| field.eq_ignore_ascii_case(key)));
        match known {
            Some(field) if fitting.iter().any(|(other, _)| other == field) => return Err(key),
            Some(field) => fitting.push((field, node)),
            None => unfitting.push((key, node)),
        }
    }
    let says_something = |(key, node): &Entry<'_, '_>| match node {
        Node::Null => false,
        Node::Text(text) => !(text.is_empty() && EMPTY_IS_NONE.contains(&(name, key))),
        _ => true,
    };
    fitting.retain(says_something);
    unfitting.retain(says_something);
    let has = |fitting: &[Entry<'_, '_>], field: &str| fitting.iter().any(|(key, _)| *key == field);
    let says_nothing = fitting.is_empty() && unfitting.is_empty();
    if name == "Process" {
        for (key, node) in &MISSING {
            if !has(&fitting, key) {
                fitting.push((key, node));
            }
        }
    }
    // A policy that says nothing is none; one without its mode is a mistake.
    if name == "LinuxMemoryPolicy" && says_nothing {
        fitting.push(("mode", &NO_POLICY));
    }
    fitting.append(&mut unfitting);
    Ok(fitting)
}

#[derive(Clone, Copy)]
struct Reader<'r, 't, 'a, 'u> {
    node: &'t Node<'a>,
    trail: &'r Trail<'t, 'u>,
}

impl<'de> Deserializer<'de> for Reader<'_, '_, '_, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Unsigned(value) => visitor.visit_u64(*value),
            Node::Signed(value) => visitor.visit_i64(*value),
            Node::Float(value) => visitor.visit_f64(*value),
            Node::Text(text) => visitor.visit_str(text),
            Node::List(items) => {
                let mut rest = Items {
                    items: items.iter().enumerate(),
                    trail: self.trail,
                };
                let value = visitor.visit_seq(&mut rest)?;
                match rest.items.len() {
                    0 => Ok(value),
                    _ => Err(Fault::invalid_length(
                        items.len(),
                        &"fewer elements in array",
                    )),
                }
            }
            Node::Object(entries) => {
                let entries = entries.iter().map(|(key, node)| (&**key, node));
                visitor.visit_map(Entries::new(entries.collect(), self.trail))
            }
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match (self.trail.manner, self.node) {
            (Manner::Tolerant, Node::Object(entries)) => {
                let entries = fit(name, fields, entries).or_else(|key| {
                    let twice = || Err(Fault("it is there twice".to_owned()));
                    self.trail.beyond(Step::Key(key), twice)
                })?;
                visitor.visit_map(Entries::new(entries, self.trail))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Node::Text(text) = self.node else {
            return Err(Fault::invalid_type(
                self.node.unexpected(),
                &"string or map",
            ));
        };
        let renamed = RENAMED
            .iter()
            .find(|(of, word, _)| *of == name && text == word);
        let word = renamed.map_or(&**text, |(_, _, ours)| *ours);
        let word: StrDeserializer<'_, Fault> = word.into_deserializer();
        visitor.visit_enum(word)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    /// Only what no field is for is asked for so.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.trail.note_unknown();
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier
    }
}

struct Items<'r, 't, 'a, 'u> {
    items: std::iter::Enumerate<std::slice::Iter<'t, Node<'a>>>,
    trail: &'r Trail<'t, 'u>,
}

impl<'de> SeqAccess<'de> for Items<'_, '_, '_, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some((index, node)) = self.items.next() else {
            return Ok(None);
        };
        let trail = self.trail;
        let read = || seed.deserialize(Reader { node, trail });
        trail.beyond(Step::Index(index), read).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'r, 't, 'a, 'u> {
    rest: std::vec::IntoIter<Entry<'t, 'a>>,
    value: Option<Entry<'t, 'a>>,
    trail: &'r Trail<'t, 'u>,
}

impl<'r, 't, 'a, 'u> Entries<'r, 't, 'a, 'u> {
    fn new(entries: Vec<Entry<'t, 'a>>, trail: &'r Trail<'t, 'u>) -> Self {
        Entries {
            rest: entries.into_iter(),
            value: None,
            trail,
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'_, '_, '_, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        self.value = self.rest.next();
        let Some((key, _)) = self.value else {
            return Ok(None);
        };
        // A key that is refused is where it is.
        let word: StrDeserializer<'_, Fault> = key.into_deserializer();
        let read = || seed.deserialize(word);
        self.trail.beyond(Step::Key(key), read).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, node)) = self.value.take() else {
            return Err(Fault::custom("a value without a key"));
        };
        let trail = self.trail;
        let read = || seed.deserialize(Reader { node, trail });
        trail.beyond(Step::Key(key), read)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}
