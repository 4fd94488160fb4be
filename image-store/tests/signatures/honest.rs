//! What is let in, and what is refused for want of a signature.

use std::fs::{read, read_to_string, write};
use std::path::Path;

use hostrun_image_store::{ErrorKind, LoadOptions, Reference, Store};
use serde_json::{Value, json};

use super::bench::{
    ARTIFACT, Bench, NAME, by, layer, let_in, openssl, refused, sig_tag, signature_manifest,
    signed, unsigned,
};
use crate::fixture::{self, Host, INDEX, Layer, Layout, Tar, tagged};

#[test]
fn image_signed_by_the_policys_key_is_let_in() {
    let Some(bench) = Bench::new() else { return };
    let good = |dir: &Path| signed(dir, NAME, by(&bench, "key", NAME));
    let_in(&bench.exact(), good);
    let_in(
        &bench.signed_by("key", &json!({"type": "matchRepoDigestOrExact"})),
        good,
    );
    // cosign itself signs the repository alone
    let cosign = |dir: &Path| {
        signed(
            dir,
            NAME,
            by(&bench, "key", "registry.example.com/team/app"),
        )
    };
    let_in(
        &bench.signed_by("key", &json!({"type": "matchRepository"})),
        cosign,
    );
    refused(&bench.exact(), cosign, "for another name");
    let key = bench.shown("key.pub");
    let lists = json!({"type": "sigstoreSigned", "keyPaths": [key]});
    let_in(
        &bench.policy(&json!({"default": [lists]}).to_string()),
        good,
    );
    openssl(&["base64", "-A", "-in", &key, "-out", &bench.shown("data")]);
    let data =
        json!({"type": "sigstoreSigned", "keyData": read_to_string(bench.path("data")).unwrap()});
    let_in(&bench.policy(&json!({"default": [data]}).to_string()), good);
}

#[test]
fn image_signed_by_an_ed25519_key_is_let_in() {
    let Some(bench) = Bench::new() else { return };
    bench.key("ed", "ed25519");
    let trust = bench.signed_by("ed", &json!({"type": "matchExact"}));
    let_in(&trust, |dir| signed(dir, NAME, by(&bench, "ed", NAME)));
    refused(
        &trust,
        |dir| signed(dir, NAME, by(&bench, "key", NAME)),
        "not by a key",
    );
}

#[test]
fn unsigned_image_is_refused() {
    let Some(bench) = Bench::new() else { return };
    refused(
        &bench.exact(),
        |dir| unsigned(dir, NAME).0,
        "it is not signed",
    );
    // a signature that nothing says belongs to it
    let stray = |dir: &Path| {
        let layout = signed(dir, NAME, by(&bench, "key", NAME));
        let index: Value = serde_json::from_slice(&read(dir.join("index.json")).unwrap()).unwrap();
        layout.index(&index["manifests"].as_array().unwrap()[..1]);
        layout
    };
    refused(&bench.exact(), stray, "it is not signed");
}

#[test]
fn signatures_are_found_however_they_lie_beside_the_image() {
    let Some(bench) = Bench::new() else { return };
    let with = |dir: &Path, place: &dyn Fn(&Layout, &Value, Value) -> Value| {
        let (layout, image) = unsigned(dir, NAME);
        let digest = image["digest"].as_str().unwrap();
        let manifest = signature_manifest(&layout, &by(&bench, "key", NAME)(digest));
        let entry = place(&layout, &image, manifest);
        layout.index(&[image, entry]);
        layout
    };
    // as `cosign save` marks them
    let_in(&bench.exact(), |dir| {
        with(dir, &|_, _, mut entry| {
            entry["annotations"] = json!({"kind": "dev.cosignproject.cosign/sigs"});
            entry
        })
    });
    // as they refer to the image
    let_in(&bench.exact(), |dir| {
        with(dir, &|_, _, mut entry| {
            entry["artifactType"] = json!(ARTIFACT);
            entry
        })
    });
    // as a list of what refers to it
    let_in(&bench.exact(), |dir| {
        with(dir, &|layout, image, mut entry| {
            entry["artifactType"] = json!(ARTIFACT);
            let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
            let tag = image["digest"].as_str().unwrap().replace(':', "-");
            tagged(layout.json(INDEX, &list), &tag)
        })
    });
    // under a whole name
    let_in(&bench.exact(), |dir| {
        with(dir, &|_, image, entry| {
            tagged(
                entry,
                &format!("registry.example.com/team/app:{}", sig_tag(image)),
            )
        })
    });
}

#[test]
fn signature_of_the_index_vouches_for_the_image_it_leads_to() {
    let Some(bench) = Bench::new() else { return };
    let make = |dir: &Path, swap: bool| {
        let layout = Layout::new(dir);
        let mut image = layout.image(&[layer()]);
        image["platform"] = json!({"os": "linux", "architecture": fixture::host_architecture()});
        let index = |image: &Value| {
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [image]});
            tagged(layout.json(INDEX, &index), NAME)
        };
        let signed = index(&image);
        let digest = signed["digest"].as_str().unwrap();
        let manifest = signature_manifest(&layout, &by(&bench, "key", NAME)(digest));
        let entry = tagged(manifest, &sig_tag(&signed));
        let shown = if swap {
            image["annotations"] = json!({"swapped": "yes"});
            index(&image)
        } else {
            signed
        };
        layout.index(&[shown, entry]);
        layout
    };
    let_in(&bench.exact(), |dir| make(dir, false));
    refused(&bench.exact(), |dir| make(dir, true), "it is not signed");
}

#[test]
fn one_refused_image_refuses_the_whole_source() {
    let Some(bench) = Bench::new() else { return };
    let two = |dir: &Path| {
        let layout = signed(dir, NAME, by(&bench, "key", NAME));
        let index: Value = serde_json::from_slice(&read(dir.join("index.json")).unwrap()).unwrap();
        let mut entries = index["manifests"].as_array().unwrap().clone();
        let more = Layer::plain(Tar::new().file("b", b"more").end());
        entries.push(tagged(layout.image(&[more]), "z.example.com/unsigned:v1"));
        layout.index(&entries);
        layout
    };
    refused(&bench.exact(), two, "z.example.com/unsigned:v1");
}

#[test]
fn docker_archive_and_root_tar_carry_no_signature() {
    let Some(bench) = Bench::new() else { return };
    let host = Host::new();
    let (layout, _) = unsigned(&host.path("image"), NAME);
    let image = host.load(&layout.source()).unwrap().remove(0);
    let tar = host.path("docker.tar");
    let mut file = std::fs::File::create(&tar).unwrap();
    let options = hostrun_image_store::SaveOptions::default();
    host.store.save(&[NAME], options, &mut file).unwrap();
    let store = Store::open(&host.path("signed"))
        .unwrap()
        .with_trust(bench.exact());
    let source = hostrun_image_store::Source::DockerArchive {
        file: tar,
        reference: None,
    };
    let error = store.load(&source, &LoadOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(
        error
            .to_string()
            .contains("a docker archive carries no signatures"),
        "{error}"
    );
    let plain = host.path("root.tar");
    write(&plain, Tar::new().file("a", b"x").end()).unwrap();
    let import = |store: &Store| {
        let file = std::fs::File::open(&plain).unwrap();
        store.import(
            file,
            image.config().clone(),
            &[Reference::parse("x").unwrap()],
            &LoadOptions::default(),
        )
    };
    assert_eq!(import(&store).unwrap_err().kind(), ErrorKind::Refused);
    assert!(store.images().unwrap().is_empty());
    let tarball = json!({"default": [{"type": "reject"}],
        "transports": {"tarball": {"": [{"type": "insecureAcceptAnything"}]}}});
    let store = Store::open(&host.path("signed")).unwrap();
    import(&store.with_trust(bench.policy(&tarball.to_string()))).unwrap();
}
