//! Policies and keys themselves: what they cannot mean, where they hold, who may write them.

use std::fs::{create_dir_all, set_permissions, write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use hostrun_image_store::{ErrorKind, LoadOptions, Store, Trust};
use serde_json::{Value, json};

use super::bench::{Bench, NAME, by, let_in, refused, signed, tried, unsigned};
use crate::fixture::Host;

#[test]
fn what_the_policy_cannot_mean_refuses_every_load() {
    let Some(bench) = Bench::new() else { return };
    let good = |dir: &Path| signed(dir, NAME, by(&bench, "key", NAME));
    for bad in [
        "",
        "not json",
        "{}",
        r#"{"default":[]}"#,
        r#"{"default":[{"type":"insecureAcceptAnything"}],"default":[{"type":"reject"}]}"#,
        r#"{"default":[{"type":"insecureAcceptAnything","if":"friday"}]}"#,
        r#"{"default":[{"type":"somethingNew"}]}"#,
    ] {
        let error = tried(&bench.policy(bad), &good).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("policy.json"), "{error}");
    }
    let missing = Trust::none().with_policy(&bench.path("none.json"));
    assert_eq!(
        tried(&missing, &good).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn what_needs_more_than_keys_is_refused_by_its_name() {
    let Some(bench) = Bench::new() else { return };
    let good = |dir: &Path| signed(dir, NAME, by(&bench, "key", NAME));
    let key = bench.shown("key.pub");
    for (requirement, told) in [
        (
            json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": key}),
            "a GPG signature",
        ),
        (
            json!({"type": "sigstoreSigned", "keyPath": key, "rekorPublicKeyPath": key}),
            "rekor",
        ),
        (
            json!({"type": "sigstoreSigned", "fulcio": {"caPath": key}}),
            "fulcio",
        ),
        (json!({"type": "reject"}), "the policy rejects it"),
    ] {
        let trust = bench.policy(&json!({"default": [requirement.clone()]}).to_string());
        refused(&trust, good, told);
        // where it does not apply, it is in nobody's way
        let accept = json!([{"type": "insecureAcceptAnything"}]);
        let elsewhere =
            json!({"default": accept, "transports": {"docker": {"a.io": [requirement]}}});
        let_in(&bench.policy(&elsewhere.to_string()), good);
    }
}

#[test]
fn the_narrowest_scope_of_a_layout_decides() {
    let Some(bench) = Bench::new() else { return };
    let (accept, reject) = (
        json!([{"type": "insecureAcceptAnything"}]),
        json!([{"type": "reject"}]),
    );
    let dir = bench.path("trusted/sub");
    create_dir_all(&dir).unwrap();
    let (layout, _) = unsigned(&dir.join("image"), NAME);
    let scopes = |narrow: &str, scope: &Value, wide: &Value| {
        json!({"default": reject, "transports": {"oci": {
            narrow: scope, bench.shown("trusted"): wide,
        }}})
    };
    let place = bench.shown("trusted/sub/image");
    for (narrow, scope, wide, fits) in [
        (place.clone(), &accept, &reject, true),
        (place.clone(), &reject, &accept, false),
        (format!("{place}:{NAME}"), &reject, &accept, false),
        (format!("{place}:v2"), &reject, &accept, true),
        ("/elsewhere".to_owned(), &reject, &accept, true),
        ("/elsewhere".to_owned(), &accept, &reject, false),
    ] {
        let host = Host::new();
        let trust = bench.policy(&scopes(&narrow, scope, wide).to_string());
        let store = Store::open(&host.path("lib")).unwrap().with_trust(trust);
        // by a link, too: scopes are of the real path
        let link = host.path("link");
        symlink(&layout.dir, &link).unwrap();
        for dir in [layout.dir.clone(), link] {
            let source = hostrun_image_store::Source::OciLayout { dir, tag: None };
            let loaded = store.load(&source, &LoadOptions::default());
            assert_eq!(loaded.is_ok(), fits, "{narrow}: {loaded:?}");
        }
    }
}

#[test]
fn key_that_others_can_write_is_nobodys_key() {
    let Some(bench) = Bench::new() else { return };
    let good = |dir: &Path| signed(dir, NAME, by(&bench, "key", NAME));
    let key = bench.path("key.pub");
    let through_link = |mode: u32| {
        set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
        let link = bench.path("link.pub");
        symlink(&key, &link).ok();
        bench.signed_by("link", &json!({"type": "matchExact"}))
    };
    let_in(&through_link(0o644), good);
    for mode in [0o646, 0o664, 0o666, 0o777] {
        let error = tried(&through_link(mode), &good).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{mode:o}: {error}");
    }
    set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    std::os::unix::fs::chown(&key, Some(12345), None).unwrap();
    assert_eq!(
        tried(&bench.exact(), &good).unwrap_err().kind(),
        ErrorKind::Denied
    );
    std::os::unix::fs::chown(&key, Some(0), None).unwrap();

    let policy = bench.exact();
    set_permissions(bench.path("policy.json"), PermissionsExt::from_mode(0o666)).unwrap();
    assert_eq!(tried(&policy, &good).unwrap_err().kind(), ErrorKind::Denied);
    for (name, kind) in [("none", ErrorKind::NotFound), ("fifo", ErrorKind::Denied)] {
        let status = Command::new("mkfifo").arg(bench.path("fifo.pub")).status();
        drop(status);
        let trust = bench.signed_by(name, &json!({"type": "matchExact"}));
        assert_eq!(tried(&trust, &good).unwrap_err().kind(), kind, "{name}");
    }
}

#[test]
fn keys_of_other_kinds_are_refused_by_their_kind() {
    let Some(bench) = Bench::new() else { return };
    let good = |dir: &Path| signed(dir, NAME, by(&bench, "key", NAME));
    for kind in ["rsa", "secp384r1"] {
        bench.key(kind, kind);
        let trust = bench.signed_by(kind, &json!({"type": "matchExact"}));
        let error = tried(&trust, &good).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    write(bench.path("junk.pub"), "junk").unwrap();
    let trust = bench.signed_by("junk", &json!({"type": "matchExact"}));
    assert_eq!(tried(&trust, &good).unwrap_err().kind(), ErrorKind::Corrupt);
}
