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
    let (whole, vendor) = (
        "usr/lib/hostrun/pins.json",
        "usr/lib/hostrun/pins.d/10-vendor.json",
    );
    let hides = "etc/hostrun/pins.d/10-vendor.json";
    let later = "etc/hostrun/pins.d/20.json";
    let (own, drop_in) = ("etc/hostrun/pins.json", "etc/hostrun/pins.d/10.json");
    for (files, fits) in [
        (vec![(own, pin(NAME, &digest))], true),
        (vec![(own, pin(NAME, &other))], false),
        (vec![(vendor, pin(NAME, &other))], false),
        // the system's file is replaced whole, its drop-ins come behind
        (
            vec![(whole, pin(NAME, &other)), (own, pin("another:1", &other))],
            true,
        ),
        (
            vec![(vendor, pin(NAME, &digest)), (own, pin(NAME, &other))],
            true,
        ),
        (
            vec![(vendor, pin(NAME, &other)), (hides, pin(NAME, &digest))],
            true,
        ),
        (vec![(vendor, pin(NAME, &other)), (later, off)], true),
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

#[test]
fn drop_ins_of_a_policy_count_by_their_names_and_the_administrators_hide_the_systems() {
    let Some(bench) = Bench::new() else { return };
    let plain = |dir: &Path| unsigned(dir, NAME).0;
    let reject = || json!({"default": [{"type": "reject"}]}).to_string();
    let accept = || json!({"default": [{"type": "insecureAcceptAnything"}]}).to_string();
    let (own, containers, system) = (
        "etc/hostrun/policy.json",
        "etc/containers/policy.json",
        "usr/lib/hostrun/policy.json",
    );
    let (first, second) = (
        "usr/lib/hostrun/policy.d/10-a.json",
        "usr/lib/hostrun/policy.d/20-b.json",
    );
    let hides = "etc/hostrun/policy.d/20-b.json";
    for (files, fits) in [
        (vec![(system, reject())], false),
        (vec![(system, reject()), (containers, accept())], true),
        (vec![(system, reject()), (own, accept())], true),
        (vec![(own, accept()), (first, reject())], false),
        (vec![(first, reject())], false),
        (vec![(first, reject()), (second, accept())], true),
        (vec![(first, accept()), (second, reject())], false),
        (
            vec![(first, accept()), (second, reject()), (hides, accept())],
            true,
        ),
        // not one of them
        (
            vec![(own, accept()), ("etc/hostrun/policy.d/x.off", reject())],
            true,
        ),
    ] {
        let trust = host_files(&bench, &files);
        if fits {
            let_in(&trust, plain);
        } else {
            refused(&trust, plain, "the policy rejects it");
        }
    }
    // a link to nothing takes the system's file away; an empty file is a broken one
    let trust = host_files(&bench, &[(own, accept()), (second, reject())]);
    let mask = bench.path("root").join(hides);
    create_dir_all(mask.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/null", &mask).unwrap();
    let_in(&trust, plain);
    std::fs::remove_file(&mask).unwrap();
    write(&mask, "").unwrap();
    let error = tried(&trust, &plain).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("20-b.json"), "{error}");
}

#[test]
fn drop_ins_say_scopes_anew_and_make_no_broken_policy_whole() {
    let Some(bench) = Bench::new() else { return };
    let plain = |dir: &Path| unsigned(dir, NAME).0;
    let scope = |transport: &str, word: &str| {
        json!({"transports": {transport: {"": [{"type": word}]}}}).to_string()
    };
    let reject = json!({"default": [{"type": "reject"}]}).to_string();
    let (own, first, second) = (
        "etc/hostrun/policy.json",
        "etc/hostrun/policy.d/1.json",
        "etc/hostrun/policy.d/2.json",
    );
    let accepts = scope("oci", "insecureAcceptAnything");
    let files = [(own, reject.clone()), (first, accepts.clone())];
    let_in(&host_files(&bench, &files), plain);
    let files = [
        (own, reject.clone()),
        (first, accepts.clone()),
        (second, scope("oci", "reject")),
    ];
    refused(&host_files(&bench, &files), plain, "the policy rejects it");
    // of another transport nothing was said anew
    let files = [
        (own, reject.clone()),
        (first, accepts.clone()),
        (second, scope("docker", "reject")),
    ];
    let_in(&host_files(&bench, &files), plain);
    for bad in [
        vec![(own, accepts.clone()), (first, reject.clone())],
        vec![(first, accepts.clone())],
        vec![(own, reject.clone()), (first, r#"{"x":1}"#.to_owned())],
        vec![(own, reject), (first, r#"{"default":[]}"#.to_owned())],
    ] {
        let error = tried(&host_files(&bench, &bad), &plain).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{bad:?}: {error}");
    }
}
