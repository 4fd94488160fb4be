//! Keys by openssl, documents as cosign writes them, and the trial of an image on two stores.

use std::fs::{read_to_string, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hostrun_image_store::{Error, ErrorKind, LoadOptions, Store, Trust};
use serde_json::{Value, json};

use crate::fixture::{self, CONFIG, Host, Layer, Layout, MANIFEST, Tar, assert_one_line, tagged};

pub(crate) const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
pub(crate) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
pub(crate) const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
pub(crate) const NAME: &str = "registry.example.com/team/app:v1";

/// A directory with keys, policies and pins, and the images that are tried on them.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn openssl(words: &[&str]) {
    let out = Command::new("openssl").args(words).output().unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

impl Bench {
    pub(crate) fn new() -> Option<Self> {
        if !fixture::is_root() {
            return None;
        }
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        bench.key("key", "prime256v1");
        Some(bench)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn shown(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// Makes a pair of keys: `name.pem` and `name.pub`.
    pub(crate) fn key(&self, name: &str, kind: &str) {
        let (private, public) = (
            self.shown(&format!("{name}.pem")),
            self.shown(&format!("{name}.pub")),
        );
        match kind {
            "ed25519" => openssl(&["genpkey", "-algorithm", "ed25519", "-out", &private]),
            "rsa" => openssl(&["genrsa", "-out", &private, "2048"]),
            curve => openssl(&[
                "ecparam", "-name", curve, "-genkey", "-noout", "-out", &private,
            ]),
        }
        openssl(&["pkey", "-in", &private, "-pubout", "-out", &public]);
        set_permissions(&public, PermissionsExt::from_mode(0o644)).unwrap();
    }

    /// Signs as cosign does, and gives the signature in base64.
    pub(crate) fn sign(&self, key: &str, payload: &[u8]) -> String {
        let (file, out) = (self.shown("signed"), self.shown("signature"));
        write(&file, payload).unwrap();
        let private = self.shown(&format!("{key}.pem"));
        if read_to_string(&private).unwrap().contains("EC") {
            openssl(&["dgst", "-sha256", "-sign", &private, "-out", &out, &file]);
        } else {
            openssl(&[
                "pkeyutl", "-sign", "-rawin", "-inkey", &private, "-in", &file, "-out", &out,
            ]);
        }
        let text = self.shown("base64");
        openssl(&["base64", "-A", "-in", &out, "-out", &text]);
        read_to_string(text).unwrap()
    }

    pub(crate) fn policy(&self, text: &str) -> Trust {
        let path = self.path("policy.json");
        write(&path, text).unwrap();
        set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        Trust::none().with_policy(&path)
    }

    /// Signed by `key`, under a name by this rule.
    pub(crate) fn signed_by(&self, key: &str, identity: &Value) -> Trust {
        let key = self.shown(&format!("{key}.pub"));
        let requirement =
            json!({"type": "sigstoreSigned", "keyPath": key, "signedIdentity": identity});
        self.policy(&json!({"default": [requirement]}).to_string())
    }

    pub(crate) fn exact(&self) -> Trust {
        self.signed_by("key", &json!({"type": "matchExact"}))
    }
}

pub(crate) fn layer() -> Layer {
    Layer::gzip(&Tar::new().dir("./").file("a", b"content").end())
}

/// What cosign signs.
pub(crate) fn payload(name: &str, digest: &str) -> Value {
    json!({
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
}

/// A layout with an image under a name, and the descriptor of its manifest.
pub(crate) fn unsigned(dir: &Path, name: &str) -> (Layout, Value) {
    let layout = Layout::new(dir);
    let image = tagged(layout.image(&[layer()]), name);
    layout.index(std::slice::from_ref(&image));
    (layout, image)
}

/// The manifest that holds these signatures: payload and signature of each.
pub(crate) fn signature_manifest(layout: &Layout, signatures: &[(Vec<u8>, String)]) -> Value {
    let layers: Vec<Value> = signatures
        .iter()
        .map(|(payload, signature)| {
            let mut layer = layout.blob(PAYLOAD, payload);
            layer["annotations"] = json!({SIGNATURE: signature});
            layer
        })
        .collect();
    let config = layout.json(CONFIG, &json!({"architecture": "", "os": ""}));
    let manifest =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
    layout.json(MANIFEST, &manifest)
}

pub(crate) fn sig_tag(image: &Value) -> String {
    format!(
        "{}.sig",
        image["digest"].as_str().unwrap().replace(':', "-")
    )
}

/// A layout with an image that is signed as this says.
pub(crate) fn signed(
    dir: &Path,
    name: &str,
    signatures: impl Fn(&str) -> Vec<(Vec<u8>, String)>,
) -> Layout {
    let (layout, image) = unsigned(dir, name);
    let signatures = signatures(image["digest"].as_str().unwrap());
    let manifest = signature_manifest(&layout, &signatures);
    let tag = sig_tag(&image);
    layout.index(&[image, tagged(manifest, &tag)]);
    layout
}

/// A whole and honest signature of this key and name.
pub(crate) fn by<'a>(
    bench: &'a Bench,
    key: &'a str,
    name: &'a str,
) -> impl Fn(&str) -> Vec<(Vec<u8>, String)> + 'a {
    move |digest| {
        let payload = payload(name, digest).to_string().into_bytes();
        let signature = bench.sign(key, &payload);
        vec![(payload, signature)]
    }
}

/// Loads into a fresh store, and into one that has the layer by an image with another name, of a
/// time before there was a policy. What is refused leaves no trace, what is let in has its name.
pub(crate) fn tried(trust: &Trust, make: &dyn Fn(&Path) -> Layout) -> Result<(), Error> {
    let mut results = Vec::new();
    for warm in [false, true] {
        let host = Host::new();
        if warm {
            let (other, _) = unsigned(&host.path("other"), "other.example.com/other:v1");
            host.load(&other.source()).unwrap();
        }
        let layout = make(&host.path("image"));
        let store = Store::open(&host.path("lib"))
            .unwrap()
            .with_trust(trust.clone());
        let loaded = store.load(&layout.source(), &LoadOptions::default());
        match &loaded {
            Ok(_) => assert_eq!(
                store.resolve(NAME).unwrap().names().len(),
                1 + usize::from(warm)
            ),
            Err(error) => {
                assert_one_line(error);
                assert_eq!(store.resolve(NAME).unwrap_err().kind(), ErrorKind::NotFound);
                if !warm {
                    host.assert_empty();
                }
            }
        }
        host.assert_clean();
        results.push(loaded.map(drop));
    }
    let kinds: Vec<_> = results
        .iter()
        .map(|r| r.as_ref().err().map(Error::kind))
        .collect();
    assert_eq!(kinds[0], kinds[1], "a warm store judges otherwise");
    results.remove(0)
}

#[track_caller]
pub(crate) fn let_in(trust: &Trust, make: impl Fn(&Path) -> Layout) {
    tried(trust, &make).unwrap();
}

#[track_caller]
pub(crate) fn refused(trust: &Trust, make: impl Fn(&Path) -> Layout, cause: &str) {
    let error = tried(trust, &make).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains(cause), "{error}");
}
