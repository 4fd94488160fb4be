//! Images that must be signed.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::Result;
use hostrun_integration::image::Image;
use hostrun_integration::on_stage_of_hostrun;
use hostrun_integration::registry::faulty::Truth;
use hostrun_integration::registry::{FaultyRegistry, Reply};
use hostrun_integration::runtime::Call;

use super::{PLAIN, REASON, digest_of, shown};

/// A signature of an image as cosign keeps it in a registry: the manifest with it, and the blobs that has.
fn signature(key: &str, dir: &Path, name: &str, digest: &str) -> Result<(String, Vec<Vec<u8>>)> {
    let payload = serde_json::json!({
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let payload = payload.to_string().into_bytes();
    fs::write(dir.join("payload"), &payload)?;
    let words = [
        "dgst",
        "-sha256",
        "-sign",
        key,
        "-out",
        "signature",
        "payload",
    ];
    Call::new(Path::new("openssl"), words)
        .in_dir(dir)
        .run()?
        .ok()?;
    let words = ["base64", "-A", "-in", "signature"];
    let signature = Call::new(Path::new("openssl"), words)
        .in_dir(dir)
        .run()?
        .ok()?;
    let config = b"{}".to_vec();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest_of(&config)?,
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "digest": digest_of(&payload)?,
            "size": payload.len(),
            "annotations": {"dev.cosignproject.cosign/signature": signature},
        }],
    });
    Ok((manifest.to_string(), vec![payload, config]))
}

#[test]
fn an_image_that_must_be_signed_is_not_fetched_without_a_signature() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let truth = Truth::new(Path::new(&Image::new(stage.dir())?.layout()));
        let digest = truth.manifest()?;
        let key = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out key.pem";
        for line in [key, "pkey -in key.pem -pubout -out key.pub"] {
            let call = Call::new(Path::new("openssl"), line.split(' '));
            call.in_dir(stage.dir()).run()?.ok()?;
        }
        let policy = stage.dir().join("policy.json");
        let demand = serde_json::json!({
            "type": "sigstoreSigned",
            "keyPath": stage.dir().join("key.pub"),
            "signedIdentity": {"type": "matchRepository"},
        });
        let document = serde_json::json!({"default": [demand]});
        fs::write(&policy, document.to_string())?;
        let policy = shown(&policy);
        for (signed, fits) in [
            (None, false),
            (Some("sha256:".to_owned() + &"0".repeat(64)), false),
            (Some(digest.clone()), true),
        ] {
            let (own, tag) = (truth.clone(), digest.replace(':', "-") + ".sig");
            let (dir, signed_as) = (stage.dir().to_owned(), signed.clone());
            // each signature is another one: there is one for all that is asked
            let made = OnceLock::new();
            let server = FaultyRegistry::start(move |request| {
                let host = request.headers.get("host").cloned().unwrap_or_default();
                let make = || {
                    let digest = signed_as.as_ref()?;
                    signature("key.pem", &dir, &format!("{host}/box"), digest).ok()
                };
                let (manifest, blobs) = made.get_or_init(make).clone().unwrap_or_default();
                let last = request.path.rsplit('/').next().unwrap_or_default();
                let kind = "application/vnd.oci.image.manifest.v1+json";
                let is_it = |bytes: &[u8]| digest_of(bytes).is_ok_and(|digest| digest == last);
                if last == tag || is_it(manifest.as_bytes()) {
                    return match manifest.as_str() {
                        "" => Reply::status(404),
                        manifest => Reply::bytes(kind, manifest),
                    };
                }
                match blobs.into_iter().find(|blob| is_it(blob)) {
                    Some(blob) => Reply::bytes("application/octet-stream", blob),
                    None => own.answer(request),
                }
            })?;
            let name = server.name("box:1");
            let words = ["--signature-policy", &policy, "pull", "-q", PLAIN, &name];
            let out = stage.call(words).run()?;
            assert_eq!(out.code() == 0, fits, "{signed:?}: {}", out.stderr());
            for layer in truth.layers()? {
                let asked = server.asked();
                let fetched = asked.iter().any(|request| request.path.ends_with(&layer));
                assert_eq!(fetched, fits, "{signed:?}: {layer}");
            }
        }
        Ok(())
    })
}
