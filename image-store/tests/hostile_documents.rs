//! Documents and blobs that lie: descriptors, manifests, configs, archives, compression.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    clippy::too_many_lines,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "tests panic on purpose and share a fixture"
)]

mod fixture;

use std::path::Path;

use fixture::{
    CONFIG, Host, INDEX, LAYER, Layer, Layout, MANIFEST, Tar, assert_one_line, digest, gzip,
    host_architecture, is_root, tagged, zstd,
};
use hostrun_image_store::{Error, ErrorKind, LoadOptions, Platform, Source};
use serde_json::{Value, json};

fn tar() -> Vec<u8> {
    Tar::new().dir("./").file("a", b"some content").end()
}

/// Loads what `make` writes into a fresh store, and into one that already has the same layer.
fn refused(name: &str, kind: ErrorKind, make: impl Fn(&Path)) -> Error {
    let fresh = Host::new();
    make(&fresh.path("evil"));
    fixture::keep_for_others("document", name, &fresh.path("evil"));
    let source = Source::OciLayout {
        dir: fresh.path("evil"),
        tag: None,
    };
    let error = fresh.load(&source).expect_err(name);
    assert_eq!(error.kind(), kind, "{name}: {error}");
    assert_one_line(&error);
    fresh.assert_empty();

    let warm = Host::new();
    for layer in [Layer::plain(tar()), Layer::gzip(&tar())] {
        let dir = warm.path(if layer.media_type == LAYER {
            "plain"
        } else {
            "gzip"
        });
        warm.load(&Layout::with_image(&dir, &[layer]).source())
            .unwrap();
    }
    make(&warm.path("evil"));
    let source = Source::OciLayout {
        dir: warm.path("evil"),
        tag: None,
    };
    let error = warm.load(&source).expect_err(name);
    assert_eq!(error.kind(), kind, "{name} on a warm store: {error}");
    warm.assert_clean();
    // One image under two names: the blobs differ, the content does not.
    assert_eq!(warm.store.images().unwrap().len(), 1, "{name}");
    error
}

fn corrupt(name: &str, make: impl Fn(&Path)) {
    refused(name, ErrorKind::Corrupt, make);
}

fn layer(media_type: &str, blob: &[u8], content: &[u8]) -> Layer {
    Layer {
        media_type: media_type.to_owned(),
        blob: blob.to_vec(),
        diff_id: digest(content),
    }
}

fn bent(layers: &[Layer], bend: impl Fn(&mut Value, &mut Value)) -> impl Fn(&Path) {
    move |dir| drop(Layout::with_image_bent(dir, layers, &bend))
}

#[test]
fn compression_must_be_what_the_media_type_says() {
    if !is_root() {
        return;
    }
    let (plain, packed) = (tar(), gzip(&tar()));
    let gz = format!("{LAYER}+gzip");
    let zst = format!("{LAYER}+zstd");
    corrupt(
        "gzip on plain",
        bent(&[layer(&gz, &plain, &plain)], |_, _| {}),
    );
    corrupt(
        "plain on gzip",
        bent(&[layer(LAYER, &packed, &plain)], |_, _| {}),
    );
    corrupt(
        "plain on gzip, diffID too",
        bent(&[layer(LAYER, &packed, &packed)], |_, _| {}),
    );
    corrupt(
        "zstd on gzip",
        bent(&[layer(&zst, &packed, &plain)], |_, _| {}),
    );
    let tail = [packed.clone(), b"garbage".to_vec()].concat();
    corrupt(
        "gzip garbage",
        bent(&[layer(&gz, &tail, &plain)], |_, _| {}),
    );
    let tail = [packed.clone(), vec![0; 512]].concat();
    corrupt("gzip zeros", bent(&[layer(&gz, &tail, &plain)], |_, _| {}));
    let tail = [zstd(&plain), b"garbage".to_vec()].concat();
    corrupt(
        "zstd garbage",
        bent(&[layer(&zst, &tail, &plain)], |_, _| {}),
    );
    corrupt(
        "gzip cut",
        bent(
            &[layer(&gz, &packed[..packed.len() - 9], &plain)],
            |_, _| {},
        ),
    );
    let cut = zstd(&plain);
    corrupt(
        "zstd cut",
        bent(&[layer(&zst, &cut[..cut.len() - 3], &plain)], |_, _| {}),
    );
    let mut flipped = packed.clone();
    let last = flipped.len() - 5;
    flipped[last] ^= 1;
    corrupt(
        "gzip checksum",
        bent(&[layer(&gz, &flipped, &plain)], |_, _| {}),
    );
    let other = "application/vnd.oci.image.layer.v1.tar+lzma";
    refused(
        "lzma",
        ErrorKind::Unsupported,
        bent(&[layer(other, &packed, &plain)], |_, _| {}),
    );
}

#[test]
fn gzip_of_several_members_is_read_whole() {
    if !is_root() {
        return;
    }
    let plain = tar();
    let parts = [gzip(&plain[..700]), gzip(&plain[700..])].concat();
    let host = Host::new();
    let made = layer(&format!("{LAYER}+gzip"), &parts, &plain);
    let image = host
        .load(&Layout::with_image(&host.path("i"), &[made]).source())
        .unwrap()
        .remove(0);
    assert_eq!(
        std::fs::read(host.layer(&image, 0).join("a")).unwrap(),
        b"some content"
    );
}

#[test]
fn sizes_and_digests_must_fit() {
    if !is_root() {
        return;
    }
    let good = [Layer::plain(tar())];
    for delta in [-1_i64, 1] {
        corrupt(
            "layer size",
            bent(&good, move |_, manifest| {
                let size = manifest["layers"][0]["size"].as_i64().unwrap() + delta;
                manifest["layers"][0]["size"] = json!(size);
            }),
        );
    }
    corrupt(
        "negative size",
        bent(&good, |_, m| m["layers"][0]["size"] = json!(-1)),
    );
    let other = digest(b"other");
    corrupt(
        "diffID",
        bent(&good, |config, _| {
            config["rootfs"]["diff_ids"] = json!([other]);
        }),
    );
    corrupt(
        "diffID missing",
        bent(&good, |c, _| c["rootfs"]["diff_ids"] = json!([])),
    );
    corrupt(
        "diffIDs null",
        bent(&good, |c, _| c["rootfs"]["diff_ids"] = Value::Null),
    );
    let own = digest(&tar());
    corrupt(
        "diffID extra",
        bent(&good, |c, _| c["rootfs"]["diff_ids"] = json!([own, own])),
    );
    let path = "sha256:../../../../../../etc/passwd";
    for bad in [path, "md5:00", "sha256:", &own.to_uppercase(), &own[..70]] {
        corrupt(
            bad,
            bent(&good, |_, m| m["layers"][0]["digest"] = json!(bad)),
        );
        corrupt(
            bad,
            bent(&good, |c, _| c["rootfs"]["diff_ids"] = json!([bad])),
        );
    }
    let swap = |dir: &Path, bytes: &[u8]| {
        let layout = Layout::with_image(dir, &good);
        let hex = own.trim_start_matches("sha256:");
        std::fs::write(layout.dir.join("blobs/sha256").join(hex), bytes).unwrap();
    };
    let mut same_length = tar();
    same_length[600] ^= 1;
    corrupt("content", |dir| swap(dir, &same_length));
    corrupt("longer", |dir| swap(dir, &[tar(), vec![0; 512]].concat()));
    corrupt("shorter", |dir| swap(dir, &tar()[..512]));
    refused("missing", ErrorKind::NotFound, |dir| {
        let layout = Layout::with_image(dir, &good);
        let hex = own.trim_start_matches("sha256:");
        std::fs::remove_file(layout.dir.join("blobs/sha256").join(hex)).unwrap();
    });
}

/// A blob with a true digest whose content is not the diffID, which the store already has: a warm
/// store must not believe the config.
#[test]
fn diff_id_of_a_layer_the_store_has_is_still_checked() {
    if !is_root() {
        return;
    }
    let lie = Layer {
        diff_id: digest(&tar()),
        ..Layer::plain(Tar::new().file("b", b"").end())
    };
    corrupt("borrowed diffID", bent(&[lie], |_, _| {}));
    let lie = layer(&format!("{LAYER}+gzip"), &tar(), &tar());
    corrupt("known blob read otherwise", bent(&[lie], |_, _| {}));
}

#[test]
fn cve_2021_41190_manifest_index_confusion() {
    if !is_root() {
        return;
    }
    let good = [Layer::plain(tar())];
    corrupt(
        "both",
        bent(&good, |_, manifest| manifest["manifests"] = json!([])),
    );
    corrupt(
        "own media type",
        bent(&good, |_, manifest| manifest["mediaType"] = json!(INDEX)),
    );
    corrupt("announced as index", |dir| {
        let layout = Layout::new(dir);
        let mut descriptor = layout.image(&good);
        descriptor["mediaType"] = json!(INDEX);
        layout.index(&[descriptor]);
    });
    corrupt(
        "schema 2 without layers",
        bent(&good, |_, manifest| {
            manifest.as_object_mut().unwrap().remove("layers");
        }),
    );
    refused(
        "schema 1",
        ErrorKind::Unsupported,
        bent(&good, |_, m| m["schemaVersion"] = json!(1)),
    );
    refused("artifact", ErrorKind::Unsupported, |dir| {
        let layout = Layout::new(dir);
        let manifest = layout.image_bent(&good, |_, manifest| {
            manifest["config"] = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
        });
        layout.index(&[manifest]);
    });
}

#[test]
fn broken_documents_are_one_clear_line() {
    if !is_root() {
        return;
    }
    let good = [Layer::plain(tar())];
    let broken = |file: &'static str, text: &'static str| {
        let good = good.clone();
        move |dir: &Path| {
            let layout = Layout::with_image(dir, &good);
            std::fs::write(layout.dir.join(file), text).unwrap();
        }
    };
    for text in [
        "",
        "{",
        "[]",
        "null",
        "{\"schemaVersion\":2,\n\n\"manifests\":",
        "\u{0}",
    ] {
        corrupt(text, broken("index.json", text));
        corrupt(text, broken("oci-layout", text));
    }
    refused(
        "layout 2",
        ErrorKind::Unsupported,
        broken("oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#),
    );
    refused(
        "empty",
        ErrorKind::NotFound,
        broken("index.json", r#"{"schemaVersion":2,"manifests":[]}"#),
    );
    refused("no index", ErrorKind::NotFound, |dir| {
        let layout = Layout::with_image(dir, &good);
        std::fs::remove_file(layout.dir.join("index.json")).unwrap();
    });
    refused("no layers", ErrorKind::Unsupported, bent(&[], |_, _| {}));
    refused("a device as a blob", ErrorKind::Corrupt, |dir| {
        let layout = Layout::with_image(dir, &good);
        let fifo = layout.dir.join("index.json");
        std::fs::remove_file(&fifo).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
    });
}

#[test]
fn documents_over_4_mib_and_deep_indexes_are_refused() {
    if !is_root() {
        return;
    }
    let good = [Layer::plain(tar())];
    let long = "x".repeat(5 << 20);
    refused(
        "manifest",
        ErrorKind::TooLarge,
        bent(&good, |_, m| m["padding"] = json!(long)),
    );
    refused(
        "config",
        ErrorKind::TooLarge,
        bent(&good, |c, _| c["author"] = json!(long)),
    );
    refused("index", ErrorKind::TooLarge, |dir| {
        let layout = Layout::with_image(dir, &good);
        std::fs::write(layout.dir.join("index.json"), "x".repeat(5 << 20)).unwrap();
    });
    // Each index names the one below a hundred times.
    refused("laughing", ErrorKind::TooLarge, |dir| {
        let layout = Layout::new(dir);
        let mut at = layout.blob("application/vnd.example+json", b"{}");
        for _ in 0..3 {
            let many = vec![at; 100];
            at = layout.json(
                INDEX,
                &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": many}),
            );
        }
        layout.index(&[at]);
    });
    refused("nested", ErrorKind::TooLarge, |dir| {
        let layout = Layout::new(dir);
        let mut at = layout.image(&good);
        for _ in 0..50 {
            at = layout.json(
                INDEX,
                &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [at]}),
            );
        }
        layout.index(&[at]);
    });
}

#[test]
fn platform_is_selected_and_a_wrong_one_refused() {
    if !is_root() {
        return;
    }
    let foreign = if host_architecture() == "s390x" {
        "amd64"
    } else {
        "s390x"
    };
    let host = Host::new();
    let layout = Layout::new(&host.path("multi"));
    let own = layout.image(&[Layer::plain(tar())]);
    let other_tar = Tar::new().file("foreign", b"").end();
    let other = layout.image_bent(&[Layer::plain(other_tar)], |config, _| {
        config["architecture"] = json!(foreign);
    });
    let with = |mut descriptor: Value, architecture: &str| {
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        descriptor
    };
    let attestation = with(layout.image(&[Layer::plain(tar())]), "unknown");
    let manifests = [
        attestation,
        with(other.clone(), foreign),
        with(own, host_architecture()),
    ];
    let inner = layout.json(
        INDEX,
        &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}),
    );
    layout.index(&[tagged(inner, "v1")]);
    let image = host.load(&layout.source()).unwrap().remove(0);
    assert_eq!(
        image.config().architecture().to_string(),
        host_architecture()
    );

    let platform: Platform = format!("linux/{foreign}").parse().unwrap();
    let options = LoadOptions::default().with_platform(platform);
    let image = host
        .store
        .load(&layout.source(), &options)
        .unwrap()
        .remove(0);
    assert_eq!(image.config().architecture().to_string(), foreign);

    layout.index(&[tagged(with(other.clone(), foreign), "v1")]);
    let error = host.load(&layout.source()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongArchitecture);
    assert!(error.to_string().contains(foreign), "{error}");
    assert_one_line(&error);
    // The index may lie about it, or say nothing.
    layout.index(&[tagged(with(other.clone(), host_architecture()), "v1")]);
    assert_eq!(
        host.load(&layout.source()).unwrap_err().kind(),
        ErrorKind::WrongArchitecture
    );
    layout.index(&[tagged(other, "v1")]);
    assert_eq!(
        host.load(&layout.source()).unwrap_err().kind(),
        ErrorKind::WrongArchitecture
    );
    host.assert_clean();
}

#[test]
fn names_come_from_annotations_or_the_directory() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let layout = Layout::new(&host.path("My.App"));
    let image = |n: &str| layout.image(&[Layer::plain(Tar::new().file(n, b"").end())]);
    let full = json!({
        "io.containerd.image.name": "docker.io/library/full:2",
        "org.opencontainers.image.ref.name": "2",
    });
    let mut containerd = image("c");
    containerd["annotations"] = full;
    layout.index(&[
        tagged(image("a"), "v1"),
        tagged(image("b"), "quay.io/org/b:3"),
        containerd,
        image("d"),
        layout.blob("application/vnd.example+json", b"{}"),
    ]);
    host.load(&layout.source()).unwrap();
    for name in ["my-app:v1", "quay.io/org/b:3", "full:2", "my-app"] {
        assert!(host.store.resolve(name).is_ok(), "{name}");
    }
    let one = |tag: &str| Source::OciLayout {
        dir: layout.dir.clone(),
        tag: Some(tag.into()),
    };
    assert_eq!(
        host.load(&one("v1")).unwrap()[0].names()[0].to_string(),
        "my-app:v1"
    );
    assert_eq!(
        host.load(&one("v2")).unwrap_err().kind(),
        ErrorKind::NotFound
    );

    let id = host.store.resolve("full:2").unwrap().id().clone();
    for text in [id.to_string(), id.hex().to_owned(), id.short().to_owned()] {
        assert_eq!(*host.store.resolve(&text).unwrap().id(), id);
    }
    assert_eq!(
        host.store.resolve("UPPER").unwrap_err().kind(),
        ErrorKind::Invalid
    );
    assert_eq!(
        host.store.resolve("ffffffffffff").unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

fn archive(files: &[(&str, Vec<u8>)]) -> Tar {
    files
        .iter()
        .fold(Tar::new(), |tar, (name, data)| tar.file(name, data))
}

fn docker(layer: &[u8], layer_name: &str) -> (Vec<(&'static str, Vec<u8>)>, String) {
    let config = json!({
        "architecture": host_architecture(), "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    })
    .to_string();
    let name = digest(config.as_bytes()).replace("sha256:", "") + ".json";
    let manifest = json!([{"Config": name, "RepoTags": ["a/b:1", "c:2"], "Layers": [layer_name]}]);
    let files = vec![("manifest.json", manifest.to_string().into_bytes())];
    let config_file = json!([name, config]).to_string();
    (files, config_file)
}

fn docker_archive(host: &Host, build: impl Fn(Tar) -> Tar, layer_name: &str) -> Source {
    let (files, config) = docker(&tar(), layer_name);
    let config: Vec<String> = serde_json::from_str(&config).unwrap();
    let archive = archive(&files)
        .pax(&[("path", config[0].as_bytes())])
        .file("c", config[1].as_bytes());
    let file = host.path("image.tar");
    std::fs::write(&file, build(archive).end()).unwrap();
    Source::DockerArchive {
        file,
        reference: None,
    }
}

#[test]
fn docker_archives_load_with_their_names_and_links() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let source = docker_archive(
        &host,
        |tar_| {
            tar_.dir("x/")
                .file("x/layer.tar", &tar())
                .dir("y/")
                .symlink("y/layer.tar", "../x/layer.tar")
        },
        "y/layer.tar",
    );
    let image = host.load(&source).unwrap().remove(0);
    let names: Vec<String> = image.names().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a/b:1", "c:2"]);
    let one = Source::DockerArchive {
        file: source.path().into(),
        reference: Some("c:2".into()),
    };
    assert!(host.load(&one).is_ok());
    let none = Source::DockerArchive {
        file: source.path().into(),
        reference: Some("d".into()),
    };
    assert_eq!(host.load(&none).unwrap_err().kind(), ErrorKind::NotFound);

    // Both names must go before the image does.
    assert_eq!(
        host.store.remove(image.id().short()).unwrap_err().kind(),
        ErrorKind::InUse
    );
    assert!(host.store.remove("c:2").unwrap().image.is_none());
    assert!(host.store.remove("a/b:1").unwrap().image.is_some());
    host.assert_empty();

    // The same image, whichever way it comes.
    let packed = docker_archive(&host, |t| t.file("l", &gzip(&tar())), "l");
    assert_eq!(host.load(&packed).unwrap()[0].id(), image.id());
}

#[test]
fn cve_2024_3727_members_outside_the_archive_are_not_opened() {
    if !is_root() {
        return;
    }
    for name in ["../canary", "/etc/passwd", "y/layer.tar", "z", "loop"] {
        let host = Host::new();
        let build = |t: Tar| {
            t.symlink("y/layer.tar", "../../../canary")
                .symlink("z", "/etc/passwd")
                .symlink("loop", "loop")
        };
        let source = docker_archive(&host, build, name);
        assert_one_line(&host.load(&source).expect_err(name));
        host.assert_empty();
    }
    let host = Host::new();
    let source = docker_archive(&host, |t| t.file("../escape", b"").file("l", &tar()), "l");
    assert_eq!(host.load(&source).unwrap_err().kind(), ErrorKind::Corrupt);
    let source = docker_archive(&host, |t| t.file("l", &tar()).file("./l", b""), "l");
    assert_eq!(host.load(&source).unwrap_err().kind(), ErrorKind::Corrupt);
    host.assert_empty();
}

#[test]
fn docker_config_that_is_not_its_name_is_refused() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let source = docker_archive(&host, |t| t.file("l", &tar()), "l");
    let bytes = std::fs::read(source.path()).unwrap();
    let text = bytes.windows(5).position(|w| w == b"linux").unwrap();
    let mut bent = bytes.clone();
    bent[text - 2] = b' ';
    std::fs::write(source.path(), bent).unwrap();
    assert_eq!(host.load(&source).unwrap_err().kind(), ErrorKind::Corrupt);
    std::fs::write(source.path(), gzip(&bytes)).unwrap();
    let error = host.load(&source).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint().is_some());
    std::fs::write(source.path(), b"").unwrap();
    assert_one_line(&host.load(&source).unwrap_err());
    host.assert_empty();
}

#[test]
fn oci_archives_load_like_layouts() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let layout = Layout::with_image(&host.path("x"), &[Layer::gzip(&tar())]);
    let mut all = Tar::new();
    for name in ["oci-layout", "index.json"] {
        all = all.file(
            &format!("./{name}"),
            &std::fs::read(layout.dir.join(name)).unwrap(),
        );
    }
    for entry in std::fs::read_dir(layout.dir.join("blobs/sha256")).unwrap() {
        let entry = entry.unwrap();
        let name = format!("blobs/sha256/{}", entry.file_name().to_str().unwrap());
        all = all.file(&name, &std::fs::read(entry.path()).unwrap());
    }
    let file = host.path("web.tar");
    std::fs::write(&file, all.end()).unwrap();
    let source: Source = format!("oci-archive:{}:v1", file.display())
        .parse()
        .unwrap();
    let image = host.load(&source).unwrap().remove(0);
    assert_eq!(image.names()[0].to_string(), "web:v1");
    assert_eq!(
        image.manifest().map(ToString::to_string),
        layout_manifest(&layout)
    );
}

fn layout_manifest(layout: &Layout) -> Option<String> {
    let index = std::fs::read(layout.dir.join("index.json")).ok()?;
    let index: Value = serde_json::from_slice(&index).ok()?;
    assert_eq!(index["manifests"][0]["mediaType"], MANIFEST);
    assert_ne!(index["manifests"][0]["mediaType"], CONFIG);
    index["manifests"][0]["digest"].as_str().map(str::to_owned)
}
