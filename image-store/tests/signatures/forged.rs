//! Signatures that are of other keys, images or names, or that could be read in two ways.

use std::fs::{read, read_to_string, write};
use std::path::Path;

use hostrun_image_store::ErrorKind;
use serde_json::{Value, json};

use super::bench::{
    Bench, NAME, by, let_in, payload, refused, sig_tag, signature_manifest, signed, tried, unsigned,
};
use crate::fixture::tagged;

#[test]
fn signature_by_another_key_is_refused() {
    let Some(bench) = Bench::new() else { return };
    bench.key("other", "prime256v1");
    let other = |dir: &Path| signed(dir, NAME, by(&bench, "other", NAME));
    refused(&bench.exact(), other, "not by a key of the policy");
    // beside it a good one: one is enough
    let_in(&bench.exact(), |dir| {
        signed(dir, NAME, |digest| {
            [
                by(&bench, "other", NAME)(digest),
                by(&bench, "key", NAME)(digest),
            ]
            .concat()
        })
    });
    // both keys asked for: one is not enough
    let both = ["key", "other"].map(
        |key| json!({"type": "sigstoreSigned", "keyPath": bench.shown(&format!("{key}.pub"))}),
    );
    let trust = bench.policy(&json!({"default": both}).to_string());
    refused(&trust, other, "not by a key");
    let_in(&trust, |dir| {
        signed(dir, NAME, |digest| {
            [
                by(&bench, "other", NAME)(digest),
                by(&bench, "key", NAME)(digest),
            ]
            .concat()
        })
    });
}

#[test]
fn signature_of_another_image_is_refused() {
    let Some(bench) = Bench::new() else { return };
    let other = format!("sha256:{}", "0".repeat(64));
    refused(
        &bench.exact(),
        |dir| signed(dir, NAME, |_| by(&bench, "key", NAME)(&other)),
        "of another image",
    );
}

#[test]
fn signature_for_another_name_is_refused() {
    let Some(bench) = Bench::new() else { return };
    for name in [
        "registry.example.com/team/app:v2",
        "registry.example.com/team/other:v1",
        "registry.example.com/app:v1",
        "registry.example.com:443/team/app:v1",
        "evil.example.com/team/app:v1",
        "team/app:v1",
    ] {
        let swapped = |dir: &Path| signed(dir, NAME, by(&bench, "key", name));
        refused(&bench.exact(), swapped, "for another name");
    }
    // the mirror's name is not the vendor's
    let vendor = |dir: &Path| signed(dir, NAME, by(&bench, "key", "vendor.example.com/app:v1"));
    let remap = |prefix: &str| json!({"type": "remapIdentity", "prefix": prefix, "signedPrefix": "vendor.example.com"});
    let_in(
        &bench.signed_by("key", &remap("registry.example.com/team")),
        vendor,
    );
    refused(
        &bench.signed_by("key", &remap("registry.example.com/tea")),
        vendor,
        "another name",
    );
    let repository =
        json!({"type": "exactRepository", "dockerRepository": "vendor.example.com/app"});
    let_in(&bench.signed_by("key", &repository), vendor);
    let reference =
        json!({"type": "exactReference", "dockerReference": "vendor.example.com/app:v2"});
    refused(&bench.signed_by("key", &reference), vendor, "another name");
}

/// What is done to a payload, given the digest in it.
type Change = fn(&str, &str) -> String;

#[test]
fn payload_that_can_be_read_in_two_ways_is_refused() {
    let Some(bench) = Bench::new() else { return };
    let changes: [(&str, Change); 8] = [
        ("not json", |_, _| "{".to_owned()),
        ("empty", |_, _| String::new()),
        ("list", |text, _| format!("[{text}]")),
        ("digest twice", |text, digest| {
            let key = r#""docker-manifest-digest":"#;
            text.replace(key, &format!(r#"{key}"{digest}",{key}"#))
        }),
        ("unknown member", |text, _| {
            text.replace(r#""identity":"#, r#""expires":1,"identity":"#)
        }),
        ("other type", |text, _| {
            text.replace("cosign container", "atomic container")
        }),
        ("no optional", |text, _| {
            text.replace(r#","optional":null"#, "")
        }),
        ("two documents", |text, _| text.repeat(2)),
    ];
    for (name, change) in changes {
        let bent = |dir: &Path| {
            signed(dir, NAME, |digest| {
                let text = change(&payload(NAME, digest).to_string(), digest).into_bytes();
                let signature = bench.sign("key", &text);
                vec![(text, signature)]
            })
        };
        eprintln!("{name}");
        refused(&bench.exact(), bent, "payload of a signature");
    }
}

#[test]
fn payload_and_signature_must_be_what_their_digests_and_descriptors_say() {
    let Some(bench) = Bench::new() else { return };
    let blob = |dir: &Path, digest: &Value| {
        dir.join("blobs/sha256")
            .join(digest.as_str().unwrap().trim_start_matches("sha256:"))
    };
    // a payload swapped after it was listed
    let swapped = |dir: &Path| {
        let layout = signed(dir, NAME, by(&bench, "key", NAME));
        let index: Value = serde_json::from_slice(&read(dir.join("index.json")).unwrap()).unwrap();
        let manifest = blob(dir, &index["manifests"][1]["digest"]);
        let manifest: Value = serde_json::from_slice(&read(manifest).unwrap()).unwrap();
        let payload = blob(dir, &manifest["layers"][0]["digest"]);
        let text = read_to_string(&payload).unwrap().replace("null", "{}  ");
        write(payload, text).unwrap();
        layout
    };
    refused(&bench.exact(), swapped, "digest does not fit");
    for bad in ["", "!", "AAAA", &"A".repeat(100_000)] {
        let text = |digest: &str| {
            vec![(
                payload(NAME, digest).to_string().into_bytes(),
                bad.to_owned(),
            )]
        };
        refused(
            &bench.exact(),
            |dir| signed(dir, NAME, text),
            "not by a key",
        );
    }
    let huge = |digest: &str| {
        let mut payload = payload(NAME, digest);
        payload["optional"] = json!({"x": "y".repeat(70_000)});
        let payload = payload.to_string().into_bytes();
        let signature = bench.sign("key", &payload);
        vec![(payload, signature)]
    };
    refused(
        &bench.exact(),
        |dir| signed(dir, NAME, huge),
        "the limit is 65536",
    );
}

#[test]
fn long_list_of_signatures_is_refused_before_it_is_read() {
    let Some(bench) = Bench::new() else { return };
    let text = b"not signed".to_vec();
    let many = |dir: &Path| signed(dir, NAME, |_| vec![(text.clone(), "AAAA".to_owned()); 1000]);
    refused(&bench.exact(), many, "more than 64");
    let documents = |dir: &Path| {
        let (layout, image) = unsigned(dir, NAME);
        let tag = sig_tag(&image);
        let mut entries = vec![image];
        for number in 0..200 {
            let payload = format!("{number}").into_bytes();
            let manifest = signature_manifest(&layout, &[(payload, "AAAA".to_owned())]);
            entries.push(tagged(manifest, &tag));
        }
        layout.index(&entries);
        layout
    };
    let error = tried(&bench.exact(), &documents).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
}
