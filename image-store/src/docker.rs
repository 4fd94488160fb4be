//! Docker archives: `manifest.json` lists images, each a config and layer files by member name.

use std::io::Read;

use serde::Deserialize;

use crate::blobs::{Blobs, Magic};
use crate::candidate::{Blob, Candidate, LayerBlob, Wish, check_config};
use crate::decode::Compression;
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Result, quoted};
use crate::layout::verify;
use crate::manifest::json_fault;
use crate::reference::Reference;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The images of a docker archive: all, or the one with this name.
pub(crate) fn find(
    blobs: &Blobs,
    base: &str,
    reference: Option<&str>,
    wish: &Wish<'_>,
) -> Result<Vec<Candidate>> {
    let bytes = blobs
        .read("manifest.json", wish.limits.document_bytes)
        .map_err(|error| error.with_hint("a docker archive has a manifest.json; is this one?"))?;
    let items = parse(&bytes)?;
    let wanted = reference.map(Reference::parse).transpose()?;
    let mut candidates = Vec::new();
    for item in items {
        let names = item_names(&item, base)?;
        let names = match &wanted {
            None => names,
            Some(wanted) if names.contains(wanted) => vec![wanted.clone()],
            Some(_) => continue,
        };
        candidates.push(candidate(blobs, &item, names, wish)?);
    }
    if candidates.is_empty() {
        let cause = match wanted {
            Some(wanted) => format!("no image named {wanted}"),
            None => "no image in it".to_owned(),
        };
        return Err(Error::new(ErrorKind::NotFound, "select", "image", cause));
    }
    Ok(candidates)
}

pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Item>> {
    serde_json::from_slice(bytes).map_err(|error| json_fault(&error).within("\"manifest.json\""))
}

pub(crate) fn item_names(item: &Item, base: &str) -> Result<Vec<Reference>> {
    let tags = item.repo_tags.as_deref().unwrap_or_default();
    let names: Vec<_> = tags
        .iter()
        .map(|tag| Reference::parse(tag))
        .collect::<Result<_>>()?;
    if names.is_empty() {
        Ok(vec![Reference::from_base(base, "latest")?])
    } else {
        Ok(names)
    }
}

fn candidate(
    blobs: &Blobs,
    item: &Item,
    names: Vec<Reference>,
    wish: &Wish<'_>,
) -> Result<Candidate> {
    let bytes = blobs.read(&item.config, wish.limits.document_bytes)?;
    let named = Digest::from_member_name(&item.config);
    let config_blob = Blob {
        digest: named.unwrap_or_else(|| Digest::of(&bytes)),
        bytes,
    };
    verify(&config_blob)?;
    let members = item.layers.as_deref().unwrap_or_default();
    let config = check_config(&config_blob, members.len(), wish)?;
    let pairs = members.iter().zip(&config.diff_ids);
    let layers = pairs
        .map(|(member, diff)| layer(blobs, member, diff))
        .collect::<Result<_>>()?;
    Ok(Candidate {
        names,
        label: None,
        lineage: Vec::new(),
        manifest: None,
        config_blob,
        config,
        layers,
    })
}

/// No media type says how a layer is compressed here, so its first bytes do. The diffID decides
/// in the end.
fn layer(blobs: &Blobs, member: &str, diff_id: &Digest) -> Result<LayerBlob> {
    let section = blobs.open(member)?;
    let size = section.length();
    let mut head = Vec::new();
    section.take(4).read_to_end(&mut head).at("read", member)?;
    let compression = match Magic::of(&head) {
        Magic::None => Compression::None,
        Magic::Gzip => Compression::Gzip,
        Magic::Zstd => Compression::Zstd,
    };
    // Only newer archives name layers by the blob's digest; the others use ids or diffIDs.
    let digest = member
        .starts_with("blobs/")
        .then(|| Digest::from_member_name(member))
        .flatten();
    if member.len() > 4096 {
        return Err(Error::corrupt("read", quoted(member), "name is too long"));
    }
    Ok(LayerBlob {
        member: member.to_owned(),
        digest,
        size,
        compression,
        diff_id: diff_id.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn image_without_a_name_gets_the_files() {
        let items = parse(br#"[{"Config":"c.json","RepoTags":null,"Layers":[]}]"#).unwrap();
        let names = item_names(&items[0], "my.app").unwrap();
        assert_eq!(names[0].to_string(), "my-app:latest");
    }

    #[test]
    fn names_of_an_archive_are_checked() {
        let items = parse(br#"[{"Config":"c","RepoTags":["../../etc:x"],"Layers":[]}]"#).unwrap();
        assert!(item_names(&items[0], "b").is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            drop(parse(&bytes));
        }
    }
}
