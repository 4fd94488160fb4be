//! What is signed: a "simple signing" document that says which manifest, and under which name.

use serde::Deserialize;

use super::identity::Claim;
use super::json::Remarks;
use crate::digest::Digest;
use crate::error::{Error, Result, quoted};
use crate::manifest::json_fault;

/// Written by cosign, and by containers' tools since.
const TYPE: &str = "cosign container image signature";

/// The parts of a payload that count.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) digest: Digest,
    pub(super) reference: Claim,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    critical: Critical,
    #[expect(dead_code, reason = "it must be there, and nobody goes by it")]
    optional: Remarks,
}

/// Critical is what a reader must understand: another member might take the rest back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: Image,
    identity: Identity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

impl Payload {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|error| json_fault(&error).within("payload of a signature"))?;
        let critical = document.critical;
        if critical.kind != TYPE {
            let cause = format!("type {}", quoted(&critical.kind));
            return Err(Error::corrupt("read", "payload of a signature", cause));
        }
        Ok(Self {
            digest: critical.image.digest,
            reference: Claim::parse(&critical.identity.reference)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(change: impl Fn(&str) -> String) -> Result<Payload> {
        let digest = Digest::of(b"x");
        let text = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"a.example/x"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{TYPE}"}},"optional":null}}"#
        );
        Payload::parse(change(&text).as_bytes())
    }

    #[test]
    fn payloads_that_could_be_read_in_two_ways_are_refused() {
        payload(str::to_owned).unwrap();
        payload(|text| text.replace("null", r#"{"creator":"x","timestamp":1}"#)).unwrap();
        let other = Digest::of(b"y");
        for (from, to) in [
            ("null", "1".to_owned()),
            (r#","optional":null"#, String::new()),
            ("null", r#"{"a":1,"a":2}"#.to_owned()),
            (TYPE, "atomic container signature".to_owned()),
            (r#""optional""#, r#""optional":null,"optional""#.to_owned()),
            (r#""critical""#, r#""x":1,"critical""#.to_owned()),
            (r#""identity""#, r#""x":1,"identity""#.to_owned()),
            (
                r#""docker-manifest-digest""#,
                format!(r#""docker-manifest-digest":"{other}","docker-manifest-digest""#),
            ),
            ("sha256:", "sha256:../".to_owned()),
            ("a.example/x", "A B".to_owned()),
            (r#"{"critical""#, r#"[{"critical""#.to_owned()),
        ] {
            assert!(payload(|text| text.replacen(from, &to, 1)).is_err(), "{to}");
        }
        assert!(payload(|text| format!("{text}{text}")).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            drop(Payload::parse(&bytes));
        }
    }
}
