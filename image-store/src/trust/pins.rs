//! Names that may mean one digest only, whatever a registry or an archive says they mean.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::json::Unique;
use super::places;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::manifest::json_fault;
use crate::reference::Reference;

/// What each pinned name must be.
#[derive(Debug, Default)]
pub(super) struct Pins(BTreeMap<Reference, Digest>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// `null` takes back what a file before said.
    pins: Unique<Option<Digest>>,
}

pub(super) fn parse(bytes: &[u8]) -> Result<BTreeMap<Reference, Option<Digest>>> {
    let document: Document =
        serde_json::from_slice(bytes).map_err(|error| json_fault(&error).within("pins"))?;
    let mut pins = BTreeMap::new();
    for (text, digest) in document.pins.0 {
        let name = Reference::parse(&text)?;
        if name.digest().is_some() {
            let cause = "a name with a digest needs no pin";
            return Err(Error::corrupt("read", quoted(&text), cause));
        }
        // Two spellings of one name would be two words about it.
        if pins.insert(name, digest).is_some() {
            return Err(Error::corrupt("read", quoted(&text), "pinned twice"));
        }
    }
    Ok(pins)
}

impl Pins {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut all = BTreeMap::new();
        let whole = places::first(
            root,
            &["etc/hostrun/pins.json", "usr/lib/hostrun/pins.json"],
        )?;
        for (path, text) in whole.into_iter().chain(places::drop_ins(root, "pins.d")?) {
            all.extend(parse(&text).map_err(|error| error.within(&quoted(&path)))?);
        }
        let pinned = all.into_iter();
        let pinned = pinned.filter_map(|(name, digest)| Some((name, digest?)));
        Ok(Self(pinned.collect()))
    }

    /// Refuses what has a pinned name and not its digest.
    pub(super) fn check<'a>(
        &self,
        name: &Reference,
        mut digests: impl Iterator<Item = &'a Digest>,
    ) -> Result<()> {
        let Some(pinned) = self.0.get(&untied(name)) else {
            return Ok(());
        };
        if digests.any(|digest| digest == pinned) {
            return Ok(());
        }
        let cause = format!("the name is pinned to {pinned}, and this is another image");
        Err(Error::new(
            ErrorKind::Refused,
            "let in",
            format!("image {name}"),
            cause,
        ))
    }
}

/// The name without its digest: `a:1@sha256:…` is a word about `a:1`.
fn untied(name: &Reference) -> Reference {
    let tag = name.tag().unwrap_or("latest");
    Reference::parse(&format!("{}:{tag}", name.expanded())).unwrap_or_else(|_long| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_that_could_be_read_in_two_ways_are_refused() {
        let one = Digest::of(b"x");
        let pins = |text: &str| parse(text.replace('D', &format!("\"{one}\"")).as_bytes());
        assert_eq!(pins(r#"{"pins":{"a":D,"b:1":null}}"#).unwrap().len(), 2);
        for text in [
            "",
            "{}",
            "[]",
            r#"{"pins":[]}"#,
            r#"{"pins":{},"more":1}"#,
            r#"{"pins":{},"pins":{}}"#,
            r#"{"pins":{"a":D,"a":D}}"#,
            r#"{"pins":{"a":D,"docker.io/library/a:latest":D}}"#,
            r#"{"pins":{"A":D}}"#,
            r#"{"pins":{"a":"sha256:../x"}}"#,
            r#"{"pins":{"a":"latest"}}"#,
            r#"{"pins":{"a":D}} x"#,
        ] {
            assert!(pins(text).is_err(), "{text}");
        }
        assert!(parse(format!(r#"{{"pins":{{"a@{one}":null}}}}"#).as_bytes()).is_err());
    }
}
