//! Indexes and manifests: bytes in, checked descriptors out.
//!
//! Which of the two a document is, is said three times: by the descriptor that led here, by its
//! own `mediaType`, and by its members. All three must agree (CVE-2021-41190).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::decode::Compression;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::platform::Platform;

/// Annotation with the name or tag of a manifest in a layout.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation with the whole name, beside which [`REF_NAME`] is the tag alone.
pub(crate) const FULL_NAME: &str = "io.containerd.image.name";

/// A reference to a blob: what it is, its digest, its size in bytes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) platform: Option<Platform>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Of a document that is known by a tag.
    pub(crate) fn tagged(tag: &str, media_type: String, digest: Digest, size: u64) -> Self {
        let mut annotations = BTreeMap::new();
        annotations.insert(REF_NAME.to_owned(), tag.to_owned());
        Self {
            media_type,
            digest,
            size,
            platform: None,
            artifact_type: None,
            annotations: Some(annotations),
        }
    }

    /// What a manifest that is no image says it is.
    pub(crate) fn artifact_type(&self) -> Option<&str> {
        self.artifact_type.as_deref()
    }
}

/// What a descriptor in an index leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DocumentKind {
    Index,
    Manifest,
}

impl DocumentKind {
    /// None for media types that are no image.
    pub(crate) fn of(media_type: &str) -> Option<Self> {
        match media_type {
            "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json" => Some(Self::Index),
            "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json" => Some(Self::Manifest),
            _ => None,
        }
    }
}

/// A checked manifest.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// A checked index or manifest.
#[derive(Debug, Clone)]
pub(crate) enum Document {
    Index(Vec<Descriptor>),
    Manifest(Manifest),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    fs_layers: Option<IgnoredAny>,
}

/// Reads a document; `media_type` is what the descriptor that led here called it, none for the
/// index at the top of a layout.
pub(crate) fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Document> {
    let raw: Raw = serde_json::from_slice(bytes).map_err(|error| json_fault(&error))?;
    let confused = |cause| Error::corrupt("read", "manifest", cause);
    if raw.schema_version != 2 || raw.fs_layers.is_some() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "read",
            "manifest",
            "schema version is not 2",
        ));
    }
    if let (Some(outer), Some(own)) = (media_type, raw.media_type.as_deref())
        && outer != own
    {
        let cause = format!("media type is {} but was announced otherwise", quoted(own));
        return Err(Error::corrupt("read", "manifest", cause));
    }
    let kind = match media_type.or(raw.media_type.as_deref()) {
        None => DocumentKind::Index,
        Some(name) => DocumentKind::of(name).ok_or_else(|| {
            let cause = format!("media type {} is no image", quoted(name));
            Error::new(ErrorKind::Unsupported, "read", "manifest", cause)
        })?,
    };
    match (kind, raw.manifests, raw.config, raw.layers) {
        (DocumentKind::Index, Some(manifests), None, None) => Ok(Document::Index(manifests)),
        (DocumentKind::Manifest, None, Some(config), Some(layers)) => {
            Ok(Document::Manifest(Manifest { config, layers }))
        }
        (DocumentKind::Index, None, None, None) => Err(confused("index without manifests")),
        (DocumentKind::Manifest, None, ..) => Err(confused("manifest without config or layers")),
        _ => Err(confused("both an index and a manifest")),
    }
}

/// What a document says of itself that it is; one that is silent is what its members make it.
pub(crate) fn own_media_type(bytes: &[u8]) -> Result<String> {
    let raw: Raw = serde_json::from_slice(bytes).map_err(|error| json_fault(&error))?;
    let silent = match raw.manifests {
        Some(_) => "application/vnd.oci.image.index.v1+json",
        None => "application/vnd.oci.image.manifest.v1+json",
    };
    Ok(raw.media_type.unwrap_or_else(|| silent.to_owned()))
}

/// The compression a layer's media type promises.
pub(crate) fn layer_compression(media_type: &str) -> Result<Compression> {
    let rest = media_type
        .strip_prefix("application/vnd.oci.image.layer.v1.tar")
        .or_else(|| {
            media_type.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.tar")
        })
        .or_else(|| media_type.strip_prefix("application/vnd.docker.image.rootfs.diff.tar"))
        .or_else(|| {
            media_type.strip_prefix("application/vnd.docker.image.rootfs.foreign.diff.tar")
        });
    match rest {
        Some("") => Ok(Compression::None),
        Some("+gzip" | ".gzip") => Ok(Compression::Gzip),
        Some("+zstd" | ".zstd") => Ok(Compression::Zstd),
        _ => {
            let subject = format!("layer media type {}", quoted(media_type));
            Err(Error::new(
                ErrorKind::Unsupported,
                "read",
                subject,
                "not known",
            ))
        }
    }
}

/// Refuses what is packed as an image but is none.
pub(crate) fn check_config_type(media_type: &str) -> Result<()> {
    match media_type {
        "application/vnd.oci.image.config.v1+json"
        | "application/vnd.docker.container.image.v1+json" => Ok(()),
        _ => {
            let subject = format!("config media type {}", quoted(media_type));
            Err(Error::new(
                ErrorKind::Unsupported,
                "read",
                subject,
                "an artifact, not an image",
            ))
        }
    }
}

/// A JSON error as one line.
pub(crate) fn json_fault(error: &serde_json::Error) -> Error {
    let text: String = error
        .to_string()
        .chars()
        .flat_map(char::escape_debug)
        .take(200)
        .collect();
    Error::corrupt("read", "json", text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

    fn blob(size: &str) -> String {
        let digest = Digest::of(b"");
        format!(r#"{{"mediaType":"x","digest":"{digest}","size":{size}}}"#)
    }

    fn manifest(extra: &str) -> String {
        let one = blob("1");
        format!(r#"{{"schemaVersion":2,"config":{one},"layers":[{one}]{extra}}}"#)
    }

    #[test]
    fn cve_2021_41190_manifest_index_confusion_is_refused() {
        let good = manifest("");
        assert!(matches!(
            parse(good.as_bytes(), Some(MANIFEST)),
            Ok(Document::Manifest(_))
        ));
        for (text, outer) in [
            (manifest(r#","manifests":[]"#), Some(MANIFEST)),
            (manifest(r#","manifests":[]"#), Some(INDEX)),
            (
                manifest(&format!(r#","mediaType":"{INDEX}""#)),
                Some(MANIFEST),
            ),
            (manifest(""), Some(INDEX)),
            (manifest(""), None),
            (
                r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(),
                Some(MANIFEST),
            ),
            (
                r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#.to_owned(),
                Some(INDEX),
            ),
            (r#"{"schemaVersion":2}"#.to_owned(), Some(INDEX)),
            (
                r#"{"schemaVersion":1,"manifests":[]}"#.to_owned(),
                Some(INDEX),
            ),
        ] {
            assert!(parse(text.as_bytes(), outer).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_digests_of_descriptors_are_checked() {
        for size in ["-1", "1.5", "1e3", "\"1\"", "18446744073709551616", "null"] {
            let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, blob(size));
            assert!(parse(text.as_bytes(), None).is_err(), "{size}");
        }
        let evil = blob("1").replace("sha256:", "sha256:../");
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{evil}]}}"#);
        assert!(parse(text.as_bytes(), None).is_err());
    }

    #[test]
    fn deep_json_does_not_overflow_the_stack() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse(deep.as_bytes(), None).is_err());
        // A member nobody reads is passed over without recursion.
        let inside = manifest(&format!(r#","x":{deep}"#));
        assert!(parse(inside.as_bytes(), Some(MANIFEST)).is_ok());
    }

    #[test]
    fn layer_media_types_are_a_contract() {
        let oci = "application/vnd.oci.image.layer.v1.tar";
        assert_eq!(layer_compression(oci).unwrap(), Compression::None);
        assert_eq!(
            layer_compression(&format!("{oci}+gzip")).unwrap(),
            Compression::Gzip
        );
        assert_eq!(
            layer_compression(&format!("{oci}+zstd")).unwrap(),
            Compression::Zstd
        );
        for suffix in ["+lzma", "+gzip+zstd", "x", "+", "+GZIP"] {
            assert!(
                layer_compression(&format!("{oci}{suffix}")).is_err(),
                "{suffix}"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, outer in proptest::option::of(".*")) {
            drop(parse(&bytes, outer.as_deref()));
        }

        #[test]
        fn almost_manifests_never_panic(text in r#"\{("(schemaVersion|mediaType|config|layers|manifests)":(2|"x"|\[\]|\{\}|null),?){0,5}\}"#) {
            drop(parse(text.as_bytes(), Some(MANIFEST)));
        }
    }
}
