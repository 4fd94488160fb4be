//! Names pinned to digests, and where policies and pins are looked for.

use std::fs::{create_dir_all, write};
use std::path::Path;

use hostrun_image_store::{ErrorKind, LoadOptions, Reference, Store, Trust};
use serde_json::json;

use super::bench::{Bench, NAME, let_in, refused, tried, unsigned};
use crate::fixture::Host;

/// A host's files below a directory.
fn host_files(bench: &Bench, files: &[(&str, String)]) -> Trust {
    let root = bench.path("root");
    drop(std::fs::remove_dir_all(&root));
    for (name, text) in files {
        let path = root.join(name);
        create_dir_all(path.parent().unwrap()).unwrap();
        write(&path, text).unwrap();
    }
    Trust::of_host(&root)
}

#[test]
fn pinned_name_means_one_digest_only() {
    let Some(bench) = Bench::new() else { return };
    let (_, image) = unsigned(&bench.path("probe"), NAME);
    let digest = image["digest"].as_str().unwrap().to_owned();
    let other = format!("sha256:{}", "0".repeat(64));
    let plain = |dir: &Path| unsigned(dir, NAME).0;
    let pin = |name: &str, digest: &str| json!({"pins": {name: digest}}).to_string();
    let off = json!({"pins": {NAME: null}}).to_string();
    let vendor = "usr/lib/hostrun/pins.d/10-vendor.json";
    let (own, drop_in) = ("etc/hostrun/pins.json", "etc/hostrun/pins.d/10.json");
    for (files, fits) in [
        (vec![(own, pin(NAME, &digest))], true),
        (vec![(own, pin(NAME, &other))], false),
        (vec![(vendor, pin(NAME, &other))], false),
        (
            vec![(vendor, pin(NAME, &other)), (own, pin(NAME, &digest))],
            true,
        ),
        (
            vec![(vendor, pin(NAME, &digest)), (own, pin(NAME, &other))],
            false,
        ),
        (vec![(vendor, pin(NAME, &other)), (own, off)], true),
        (
            vec![(own, pin(NAME, &digest)), (drop_in, pin(NAME, &other))],
            false,
        ),
        (vec![(own, pin("another:1", &other))], true),
        (
            vec![("etc/hostrun/pins.d/x.json.off", pin(NAME, &other))],
            true,
        ),
    ] {
        let trust = host_files(&bench, &files);
        if fits {
            let_in(&trust, plain);
        } else {
            refused(&trust, plain, "the name is pinned to sha256:");
        }
    }
    for bad in [r#"{"pins":{},"x":1}"#, "", r#"{"pins":{"a:1":"latest"}}"#] {
        let trust = host_files(&bench, &[(own, bad.to_owned())]);
        tried(&trust, &plain).unwrap_err();
    }
}

#[test]
fn pinned_name_is_not_given_to_another_image() {
    let Some(bench) = Bench::new() else { return };
    let host = Host::new();
    let (layout, image) = unsigned(&host.path("image"), NAME);
    let digest = image["digest"].as_str().unwrap().to_owned();
    let other = format!("sha256:{}", "0".repeat(64));
    let pins = json!({"pins": {"good:1": digest, "bad:1": other}}).to_string();
    let trust = host_files(&bench, &[("etc/hostrun/pins.json", pins)]);
    let store = Store::open(&host.path("lib")).unwrap().with_trust(trust);
    store
        .load(&layout.source(), &LoadOptions::default())
        .unwrap();
    store
        .tag(NAME, &Reference::parse("good:1").unwrap())
        .unwrap();
    let error = store
        .tag(NAME, &Reference::parse("bad:1").unwrap())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(store.resolve("bad:1").is_err());
}

#[test]
fn own_policy_goes_before_containers_and_none_lets_all_in() {
    let Some(bench) = Bench::new() else { return };
    let plain = |dir: &Path| unsigned(dir, NAME).0;
    let reject = || json!({"default": [{"type": "reject"}]}).to_string();
    let accept = || json!({"default": [{"type": "insecureAcceptAnything"}]}).to_string();
    let (own, containers) = ("etc/hostrun/policy.json", "etc/containers/policy.json");
    let_in(&host_files(&bench, &[("etc/other", String::new())]), plain);
    refused(
        &host_files(&bench, &[(containers, reject())]),
        plain,
        "the policy rejects it",
    );
    let_in(
        &host_files(&bench, &[(containers, reject()), (own, accept())]),
        plain,
    );
    refused(
        &host_files(&bench, &[(containers, accept()), (own, reject())]),
        plain,
        "rejects",
    );
    // one that is there and says nothing is a mistake, not a reason to look further
    let broken = host_files(&bench, &[(containers, accept()), (own, String::new())]);
    assert_eq!(
        tried(&broken, &plain).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}
