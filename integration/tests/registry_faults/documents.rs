//! Manifests and what they claim.

use anyhow::Result;
use hostrun_integration::registry::faulty::Truth;
use hostrun_integration::registry::{FaultyRegistry, Reply, Request};

use super::{INDEX, Kept, MANIFEST, fails, fault, is_manifest, manifest_with, pull, with_truth};

#[test]
fn a_manifest_of_another_digest_is_refused() -> Result<()> {
    with_truth(|stage, truth| {
        let own = truth.clone();
        let server = FaultyRegistry::start(move |request| {
            let reply = own.answer(request);
            if is_manifest(request) {
                let text = own.document().unwrap_or_default();
                return Reply::bytes(MANIFEST, format!("{text} "));
            }
            reply
        })?;
        let name = server.name(&format!("box@{}", truth.manifest()?));
        let out = pull(stage, &[], &name)?;
        fails(stage, &out, "digest does not fit", Kept::Nothing)
    })
}

#[test]
fn a_manifest_without_an_end_is_refused() -> Result<()> {
    let change = manifest_with(|_, text| text + &" ".repeat(5 << 20));
    fault(change, "4194304", Kept::Nothing)
}

#[test]
fn documents_of_no_image_are_refused() -> Result<()> {
    let called = |kind: &'static str| {
        move |_: &Truth, request: &Request, reply: Reply| {
            if is_manifest(request) {
                Reply::bytes(kind, reply.bytes)
            } else {
                reply
            }
        }
    };
    fault(called("text/html"), "is no image", Kept::Nothing)?;
    fault(
        called("application/vnd.cncf.helm.config.v1+json"),
        "is no image",
        Kept::Nothing,
    )?;
    fault(
        manifest_with(|_, _| "<html>".to_owned()),
        "json",
        Kept::Nothing,
    )?;
    fault(manifest_with(|_, _| String::new()), "json", Kept::Nothing)
}

#[test]
fn cve_2021_41190_a_document_is_what_all_say_it_is() -> Result<()> {
    let called = |_: &Truth, request: &Request, reply: Reply| {
        if is_manifest(request) {
            Reply::bytes(INDEX, reply.bytes)
        } else {
            reply
        }
    };
    fault(called, "manifest", Kept::Nothing)?;
    let both = manifest_with(|_, text| text.replacen('{', "{\"manifests\":[],", 1));
    fault(both, "both an index and a manifest", Kept::Nothing)
}

#[test]
fn cve_2024_3727_digests_that_are_paths_are_refused() -> Result<()> {
    for digest in ["sha256:../../../../etc/passwd", "sha256:", "md5:0", "../x"] {
        let change = manifest_with(move |truth, text| {
            let layers = truth.layers().unwrap_or_default();
            let largest = layers.first().cloned().unwrap_or_default();
            text.replace(&largest, digest)
        });
        fault(change, "json", Kept::Nothing)?;
    }
    Ok(())
}

#[test]
fn a_layer_of_impossible_size_is_refused() -> Result<()> {
    let change = manifest_with(|truth, text| {
        let largest = truth.layers().unwrap_or_default();
        let largest = largest.first().and_then(|digest| truth.blob(digest).ok());
        let size = largest.unwrap_or_default().len();
        text.replace(&format!("\"size\":{size}"), "\"size\":18446744073709551615")
    });
    fault(change, "free in the store", Kept::Others)
}
