//! The life of a store: names and their generations, collection, verification, repair.
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

use std::fs::{read, remove_file, set_permissions, write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;

use fixture::{Host, Layer, Layout, Tar, is_root};
use hostrun_image_store::{ErrorKind, Image, LoadOptions, Part, Reference, SaveOptions, Store};
use tar::EntryType;

fn rich() -> Tar {
    Tar::new()
        .dir("./")
        .dir("etc/")
        .file("etc/passwd", b"root:x:0:0:")
        .symlink("etc/link", "passwd")
        .hard_link("etc/hard", "etc/passwd")
        .dir_mode("tmp/", 0o1777)
        .bent(EntryType::Regular, b"su", b"setuid", |h| h.set_mode(0o4755))
        .file("etc/.wh.motd", b"")
        .dir("opt/")
        .file("opt/.wh..wh..opq", b"")
        .file("implied/dir/file", &[7; 3000])
        .device(EntryType::Char, "null", 1, 3)
        .bent(EntryType::Fifo, b"fifo", b"", |_| {})
        .pax(&[
            ("SCHILY.xattr.user.note", b"hello"),
            ("mtime", b"1700000000.25"),
        ])
        .file("noted", b"x")
}

/// A tar in which the same name comes twice, so that its directory cannot give it back.
fn twice() -> Tar {
    Tar::new().dir("d/").file("d/a", b"1").file("d/a", b"22")
}

fn host() -> (Host, Image) {
    let host = Host::new();
    let layers = [
        Layer::gzip(&rich().end()),
        Layer::zstd(&twice().end()),
        Layer::plain(Tar::new().file("last", b"x").end()),
    ];
    let layout = Layout::with_image(&host.path("web"), &layers);
    let image = host.load(&layout.source()).unwrap().remove(0);
    (host, image)
}

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

#[test]
fn a_deep_look_at_a_whole_store_finds_nothing() {
    if !is_root() {
        return;
    }
    let (host, image) = host();
    let found = host.store.verify(true).unwrap();
    assert!(found.damages.is_empty(), "{:?}", found.damages);
    assert_eq!((found.images, found.layers), (1, 3));
    let kept = |index: usize| host.layer(&image, index).with_file_name("blob.zstd");
    assert!(kept(1).exists() && !kept(0).exists());
    host.assert_clean();
}

type Bend = fn(&PathBuf);

#[test]
fn whatever_is_different_in_a_layer_is_found_and_repaired() {
    if !is_root() {
        return;
    }
    let bends: [(&str, usize, Bend); 12] = [
        ("an empty file", 0, |fs| {
            write(fs.join("etc/passwd"), "").unwrap();
        }),
        ("a changed byte", 0, |fs| {
            let mut bytes = read(fs.join("implied/dir/file")).unwrap();
            bytes[1000] ^= 1;
            let file = std::fs::File::options()
                .write(true)
                .open(fs.join("implied/dir/file"));
            let time = std::fs::metadata(fs.join("implied/dir/file")).unwrap();
            std::os::unix::fs::FileExt::write_at(file.as_ref().unwrap(), &bytes, 0).unwrap();
            file.unwrap()
                .set_modified(time.modified().unwrap())
                .unwrap();
        }),
        ("a missing file", 0, |fs| {
            remove_file(fs.join("su")).unwrap();
        }),
        ("another mode", 0, |fs| {
            set_permissions(fs.join("su"), PermissionsExt::from_mode(0o755)).unwrap();
        }),
        ("another owner", 0, |fs| {
            chown(fs.join("tmp"), Some(7), None).unwrap();
        }),
        ("another link", 0, |fs| {
            remove_file(fs.join("etc/link")).unwrap();
            symlink("shadow", fs.join("etc/link")).unwrap();
        }),
        ("a copy for a hard link", 0, |fs| {
            let bytes = read(fs.join("etc/hard")).unwrap();
            remove_file(fs.join("etc/hard")).unwrap();
            write(fs.join("etc/hard"), bytes).unwrap();
        }),
        ("a whiteout that is gone", 0, |fs| {
            remove_file(fs.join("etc/motd")).unwrap();
        }),
        ("a directory that hides nothing", 0, |fs| {
            rustix::fs::removexattr(fs.join("opt"), "trusted.overlay.opaque").unwrap();
        }),
        ("an attribute that is gone", 0, |fs| {
            rustix::fs::removexattr(fs.join("noted"), "user.note").unwrap();
        }),
        ("a changed file where a name came twice", 1, |fs| {
            write(fs.join("d/a"), "33").unwrap();
        }),
        ("a record that is no record", 2, |fs| {
            write(fs.with_file_name("meta.json"), "{").unwrap();
        }),
    ];
    for (what, layer, bend) in bends {
        let (host, image) = host();
        bend(&host.layer(&image, layer));
        let found = host.store.verify(true).unwrap();
        assert_eq!(found.damages.len(), 1, "{what}: {:?}", found.damages);
        let damage = &found.damages[0];
        assert_eq!(damage.part, Part::Layer(image.layers()[layer].clone()));
        assert_eq!(damage.images, [image.id().clone()], "{what}");
        fixture::assert_one_line(&damage.error);
        let repaired = host.store.repair(&found).unwrap();
        assert_eq!(repaired.images, [image.id().clone()], "{what}");
        host.assert_empty();
        let again = format!("oci:{}", host.path("web").display());
        host.load(&again.parse().unwrap()).unwrap();
        assert!(host.store.verify(true).unwrap().damages.is_empty());
    }
}

#[test]
fn damaged_images_of_containers_stay_when_the_rest_is_repaired() {
    if !is_root() {
        return;
    }
    let (host, image) = host();
    host.store.create_container("c", &image).unwrap();
    remove_file(host.layer(&image, 2).join("last")).unwrap();
    let found = host.store.verify(true).unwrap();
    let repaired = host.store.repair(&found).unwrap();
    assert!(repaired.images.is_empty());
    assert_eq!(repaired.in_use, [image.id().clone()]);
    assert!(host.store.resolve("web:v1").is_ok());
}

#[test]
fn documents_and_names_that_are_damaged_are_found_and_repaired() {
    if !is_root() {
        return;
    }
    let store = |host: &Host, name: &str| host.path("lib/store").join(name);
    let (host, image) = host();
    let config = store(&host, "blobs/sha256").join(image.id().hex());
    write(config, "{}").unwrap();
    let found = host.store.verify(false).unwrap();
    assert_eq!(found.damages[0].part, Part::Image(image.id().clone()));
    host.store.repair(&found).unwrap();
    host.assert_empty();

    let (host, image) = self::host();
    host.store.tag("web:v1", &name("web:v2")).unwrap();
    write(store(&host, "generations/2"), "{").unwrap();
    assert!(host.store.resolve("web:v1").is_err());
    let found = host.store.verify(false).unwrap();
    assert_eq!(found.damages[0].part, Part::Generation(2));
    host.store.repair(&found).unwrap();
    assert_eq!(host.store.resolve("web:v1").unwrap().id(), image.id());
    assert!(host.store.verify(true).unwrap().damages.is_empty());
}

#[test]
fn names_go_back_to_what_they_meant() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let load = |text: &str| {
        let tar = Tar::new().file("version", text.as_bytes()).end();
        host.load_tar("app", tar).unwrap().remove(0)
    };
    let (one, two) = (load("1"), load("2"));
    let now = || host.store.resolve("app:v1").unwrap().id().clone();
    assert_eq!(now(), *two.id());
    let numbers = || -> Vec<(u64, bool)> {
        let all = host.store.generations().unwrap();
        all.iter().map(|one| (one.number, one.current)).collect()
    };
    assert_eq!(numbers(), [(1, false), (2, true)]);
    assert_eq!(host.store.roll_back().unwrap(), 1);
    assert_eq!(
        (now(), numbers()),
        (one.id().clone(), vec![(1, true), (2, false)])
    );
    assert_eq!(
        host.store.roll_back().unwrap_err().kind(),
        ErrorKind::NotFound
    );
    // what a kept generation names is not collected
    assert!(host.store.collect().unwrap().images.is_empty());
    host.store.switch(2).unwrap();
    assert_eq!(now(), *two.id());
    assert_eq!(
        host.store.switch(7).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    // the same names again make no generation
    load("2");
    assert_eq!(numbers().len(), 2);
    // and nobody can go back to what was pruned
    let pruned = host.store.prune(false).unwrap();
    assert_eq!(pruned.images, [one.id().clone()]);
    assert_eq!(numbers(), [(2, true)]);
    host.assert_clean();
    assert!(host.store.verify(true).unwrap().damages.is_empty());
}

#[test]
fn only_so_many_generations_are_kept_and_the_rest_is_garbage() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    for n in 0..20 {
        let tar = Tar::new().file("version", format!("{n}").as_bytes()).end();
        host.load_tar("app", tar).unwrap();
    }
    let kept = host.store.generations().unwrap().len();
    assert_eq!(kept, 11);
    assert_eq!(host.store.images().unwrap().len(), 20);
    let collected = host.store.collect().unwrap();
    assert_eq!((collected.images.len(), collected.layers.len()), (9, 9));
    assert!(collected.bytes > 0);
    assert_eq!(host.store.images().unwrap().len(), 11);
}

#[test]
fn containers_and_names_keep_images_and_nothing_else_does() {
    if !is_root() {
        return;
    }
    let (host, image) = host();
    host.store.tag(image.id().short(), &name("other")).unwrap();
    assert_eq!(host.store.resolve("other").unwrap().names().len(), 2);
    host.store.create_container("c", &image).unwrap();
    let used = host.store.usage().unwrap();
    assert_eq!((used.images, used.images_in_use, used.layers), (1, 1, 3));
    assert_eq!(used.reclaimable_bytes, 0);
    assert!(host.store.prune(true).unwrap().images.is_empty());
    assert!(host.store.remove("other").unwrap().image.is_none());
    assert_eq!(
        host.store.remove("web:v1").unwrap_err().kind(),
        ErrorKind::InUse
    );
    host.store.remove_container("c").unwrap();
    assert_eq!(host.store.prune(true).unwrap().images, [image.id().clone()]);
    host.assert_empty();
}

#[test]
fn removed_layers_are_out_of_sight_at_once_and_deleted_later() {
    if !is_root() {
        return;
    }
    let (host, _image) = host();
    let other = Store::open(&host.path("lib")).unwrap();
    host.store.remove("web:v1").unwrap();
    assert_eq!(other.usage().unwrap().layers, 0);
    assert_eq!(other.usage().unwrap().in_trash, 1);
    other.empty_trash().unwrap();
    assert_eq!(other.usage().unwrap().in_trash, 0);
    host.assert_empty();
}

#[test]
fn images_of_a_second_store_run_and_are_only_read() {
    if !is_root() {
        return;
    }
    let (system, image) = host();
    let host = Host::new();
    let store = Store::open(&host.path("lib")).unwrap();
    let store = store.with_shipped(&system.path("lib"));
    let found = store.resolve("web:v1").unwrap();
    assert!(found.is_shipped());
    assert_eq!(store.images().unwrap().len(), 1);
    assert_eq!(
        store.remove("web:v1").unwrap_err().kind(),
        ErrorKind::Denied
    );
    store.create_container("c", &found).unwrap();
    let root = store.container("c").unwrap();
    let root = root.mount_root(&hostrun_image_store::RootOptions::default());
    let file = rustix::fs::openat(
        root.unwrap(),
        "last",
        rustix::fs::OFlags::RDONLY,
        rustix::fs::Mode::empty(),
    );
    assert!(file.is_ok());
    // the host's own name goes before the system's, and its image has layers of its own
    let own = host
        .load(
            &format!("oci:{}", system.path("web").display())
                .parse()
                .unwrap(),
        )
        .unwrap();
    assert_eq!(own[0].id(), image.id());
    assert!(!store.resolve("web:v1").unwrap().is_shipped());
    assert_eq!(store.usage().unwrap().layers, 3);
    assert_eq!(store.images().unwrap().len(), 1);
    // a store that others may enter is no store
    let open = PermissionsExt::from_mode(0o755);
    set_permissions(system.path("lib/store"), open).unwrap();
    let store = Store::open(&host.path("lib")).unwrap();
    let store = store.with_shipped(&system.path("lib"));
    assert_eq!(store.images().unwrap_err().kind(), ErrorKind::Denied);
}

#[test]
fn what_is_saved_is_what_was_loaded() {
    if !is_root() {
        return;
    }
    let (host, image) = host();
    host.store
        .tag("web:v1", &name("example.org/web:2"))
        .unwrap();
    let archive = host.path("saved.tar");
    let save = |gzip: bool, names: &[&str]| {
        let mut file = std::fs::File::create(&archive).unwrap();
        let options = SaveOptions::default().with_gzip(gzip);
        host.store.save(names, options, &mut file).unwrap();
    };
    for gzip in [false, true] {
        save(gzip, &["web:v1", image.id().short()]);
        let first = read(&archive).unwrap();
        save(gzip, &["web:v1", image.id().short()]);
        assert_eq!(first, read(&archive).unwrap(), "the same each time");
        for transport in ["oci-archive", "docker-archive"] {
            let other = Host::new();
            let source = format!("{transport}:{}", archive.display());
            other.load(&source.parse().unwrap()).unwrap();
            let loaded = other.store.resolve("example.org/web:2").unwrap();
            assert_eq!(loaded.id(), image.id());
            assert_eq!(loaded.names().len(), 2);
            assert!(other.store.verify(true).unwrap().damages.is_empty());
        }
    }
    let options = SaveOptions::default();
    let layout = host.path("saved");
    host.store
        .save_layout(&["web:v1"], options, &layout)
        .unwrap();
    let other = Host::new();
    let source = format!("oci:{}:v1", layout.display());
    assert_eq!(
        other.load(&source.parse().unwrap()).unwrap()[0].id(),
        image.id()
    );
    let again = host.store.save_layout(&["web:v1"], options, &layout);
    assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
    host.assert_clean();

    // what is damaged is not saved as something else
    write(host.layer(&image, 0).join("su"), "other").unwrap();
    let mut sink = std::io::sink();
    let error = host
        .store
        .save(&["web:v1"], options, &mut sink)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn a_root_file_system_becomes_an_image() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let tar = rich().end();
    let config = || {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Cmd":["/bin/sh"]},
            "rootfs":{"type":"layers","diff_ids":[]}}"#;
        serde_json::from_str(text).unwrap()
    };
    let mut ids = Vec::new();
    for bytes in [tar.clone(), fixture::gzip(&tar), fixture::zstd(&tar)] {
        let path = host.path("root.tar");
        write(&path, &bytes).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let options = LoadOptions::default();
        let image = host.store.import(file, config(), &[name("root")], &options);
        ids.push(image.unwrap().id().clone());
    }
    // through a pipe, which cannot be read twice
    let (reader, mut writer) = std::io::pipe().unwrap();
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &tar).unwrap());
    let file = std::fs::File::from(std::os::fd::OwnedFd::from(reader));
    let options = LoadOptions::default();
    let image = host.store.import(file, config(), &[name("root")], &options);
    ids.push(image.unwrap().id().clone());
    sender.join().unwrap();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    let image = host.store.resolve("root").unwrap();
    assert_eq!(image.layers().len(), 1);
    assert!(host.store.verify(true).unwrap().damages.is_empty());
    host.assert_clean();

    write(
        host.path("bad.tar"),
        b"no tar at all, and long enough".repeat(40),
    )
    .unwrap();
    let file = std::fs::File::open(host.path("bad.tar")).unwrap();
    let bad = host.store.import(file, config(), &[name("bad")], &options);
    assert_eq!(bad.unwrap_err().kind(), ErrorKind::Corrupt);
    host.assert_clean();
}
