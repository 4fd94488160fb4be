//! What of a policy is understood, and what is refused.

use super::*;
use proptest::prelude::*;

fn of(requirement: &str) -> Result<Policy> {
    parse(format!(r#"{{"default":[{requirement}]}}"#).as_bytes())
}

#[test]
fn requirements_are_read_as_containers_tools_write_them() {
    for good in [
        r#"{"type":"insecureAcceptAnything"}"#,
        r#"{"type":"reject"}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k"}"#,
        r#"{"type":"sigstoreSigned","keyPaths":["/k","/l"]}"#,
        r#"{"type":"sigstoreSigned","keyData":"AAAA"}"#,
        r#"{"type":"sigstoreSigned","keyDatas":["AAAA"],"signedIdentity":{"type":"matchExact"}}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"remapIdentity","prefix":"a.io","signedPrefix":"b.io/c"}}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"exactReference","dockerReference":"a:1"}}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"exactRepository","dockerRepository":"a"}}"#,
    ] {
        let policy = of(good).unwrap();
        assert!(
            !matches!(policy.default[0], Requirement::Unsupported(_)),
            "{good}"
        );
    }
    for unsupported in [
        r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","rekorPublicKeyPath":"/r"}"#,
        r#"{"type":"sigstoreSigned","fulcio":{"caPath":"/c"},"rekorPublicKeyData":"AA=="}"#,
        r#"{"type":"sigstoreSigned","pki":{"caRootsPath":"/c"}}"#,
        r#"{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchExact"}}"#,
    ] {
        let policy = of(unsupported).unwrap();
        assert!(
            matches!(policy.default[0], Requirement::Unsupported(_)),
            "{unsupported}"
        );
    }
}

#[test]
fn what_is_not_understood_whole_is_refused() {
    for bad in [
        "",
        r#"{"type":"frob"}"#,
        r#"{"type":"reject","type":"insecureAcceptAnything"}"#,
        r#"{"type":"insecureAcceptAnything","keyPath":"/k"}"#,
        r#"{"type":"reject","unless":1}"#,
        r#"{"keyPath":"/k"}"#,
        r#"{"type":"sigstoreSigned"}"#,
        r#"{"type":"sigstoreSigned","keyPath":"k"}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","keyData":"AAAA"}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","keyPath":"/l"}"#,
        r#"{"type":"sigstoreSigned","keyPaths":[]}"#,
        r#"{"type":"sigstoreSigned","keyData":"!"}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","fulcio":{}}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","keyType":"GPGKeys"}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"matchAny"}}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"matchExact","prefix":"a.io"}}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"exactReference","dockerReference":"a"}}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"remapIdentity","prefix":"a.io"}}"#,
        r#"{"type":"signedBy","keyPath":"/k"}"#,
        r#"{"type":"signedBy","keyType":"X","keyPath":"/k"}"#,
        r#"{"type":"signedBy","keyType":"GPGKeys"}"#,
    ] {
        assert!(of(bad).is_err(), "{bad}");
    }
    let accept = r#"[{"type":"insecureAcceptAnything"}]"#;
    for bad in [
        "{}".to_owned(),
        r#"{"default":[]}"#.to_owned(),
        format!(r#"{{"default":{accept},"default":{accept}}}"#),
        format!(r#"{{"default":{accept},"defaults":{accept}}}"#),
        format!(r#"{{"default":{accept},"transports":{{"docker":{{"a.io":[]}}}}}}"#),
        format!(r#"{{"default":{accept},"transports":{{"oci":{{}},"oci":{{}}}}}}"#),
        format!(
            r#"{{"default":{accept},"transports":{{"docker":{{"a":{accept},"a":{accept}}}}}}}"#
        ),
        format!(r#"{{"default":{accept},"transports":{{"docker":{{"a*.io":{accept}}}}}}}"#),
        format!(r#"{{"default":{accept},"transports":{{"oci":{{"a":{accept}}}}}}}"#),
        format!(r#"{{"default":{accept},"transports":{{"oci":{{"/":{accept}}}}}}}"#),
        format!(r#"{{"default":{accept},"transports":{{"oci":{{"/a/../b":{accept}}}}}}}"#),
        format!(r#"{{"default":{accept},"transports":{{"docker-archive":{{"/a":{accept}}}}}}}"#),
        format!(r#"{{"default":{accept}}} more"#),
    ] {
        assert!(parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn the_narrowest_scope_counts_and_no_other() {
    let policy = parse(
        br#"{"default":[{"type":"reject"}],"transports":{
            "docker":{"":[{"type":"insecureAcceptAnything"}],"a.io/x":[{"type":"reject"}]},
            "who-knows":{"what":[{"type":"reject"}]}}}"#,
    );
    let policy = policy.unwrap();
    let accepts = |transport: &str, scopes: &[&str]| {
        let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        matches!(
            policy.requirements(transport, &scopes),
            [Requirement::Accept]
        )
    };
    assert!(accepts("docker", &["a.io/y", "a.io", ""]));
    assert!(!accepts("docker", &["a.io/x:1", "a.io/x", "a.io", ""]));
    assert!(!accepts("oci", &[""]));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        drop(parse(&bytes));
    }
}
