//! An image's whole way: load, resolve, mount, remove.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "tests panic on purpose and share a fixture"
)]

mod fixture;

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use fixture::{Host, Layer, Layout, Tar, is_root};
use hostrun_image_store::{ErrorKind, LoadOptions, Progress, RootOptions};
use rustix::fs::{Mode, OFlags};

fn read(root: &OwnedFd, path: &str) -> Result<String, rustix::io::Errno> {
    let fd = rustix::fs::openat(root.as_fd(), path, OFlags::RDONLY, Mode::empty())?;
    let mut text = String::new();
    std::fs::File::from(fd).read_to_string(&mut text).unwrap();
    Ok(text)
}

fn three_layers() -> Vec<Layer> {
    let base = Tar::new()
        .dir_mode("./", 0o751)
        .dir("etc/")
        .file("etc/base", b"base")
        .file("etc/gone", b"gone")
        .dir("data/")
        .file("data/old", b"old")
        .dir("swap/")
        .file("swap/inner", b"x");
    let middle = Tar::new()
        .dir("etc/")
        .file("etc/.wh.gone", b"")
        .file("etc/middle", b"middle")
        .file("data/new", b"new")
        .file("data/.wh..wh..opq", b"")
        .file("swap", b"now a file");
    let top = Tar::new().file("etc/base", b"changed").dir("empty/");
    vec![
        Layer::gzip(&base.end()),
        Layer::zstd(&middle.end()),
        Layer::plain(top.end()),
    ]
}

#[test]
fn layers_merge_whiteouts_hide_and_opaque_hides() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let layout = Layout::with_image(&host.path("web"), &three_layers());
    let images = host.load(&layout.source()).unwrap();
    assert_eq!(images[0].names()[0].to_string(), "web:v1");
    let image = host.store.resolve("web:v1").unwrap();
    assert_eq!(image.layers().len(), 3);
    assert_eq!(image.created(), Some("2024-01-02T03:04:05Z"));

    let container = host.store.create_container("c1", &image).unwrap();
    let root = container.mount_root(&RootOptions::default()).unwrap();
    assert_eq!(read(&root, "etc/base").unwrap(), "changed");
    assert_eq!(read(&root, "etc/middle").unwrap(), "middle");
    assert_eq!(read(&root, "etc/gone"), Err(rustix::io::Errno::NOENT));
    assert_eq!(read(&root, "data/new").unwrap(), "new");
    assert_eq!(read(&root, "data/old"), Err(rustix::io::Errno::NOENT));
    assert_eq!(read(&root, "swap").unwrap(), "now a file");
    let stat = rustix::fs::fstat(&root).unwrap();
    assert_eq!(stat.st_mode & 0o7777, 0o751);

    // Writes go to the container alone, and the host sees no mount.
    let made = rustix::fs::openat(
        &root,
        "etc/own",
        OFlags::CREATE | OFlags::WRONLY,
        Mode::RUSR,
    );
    drop(made.unwrap());
    assert!(container.dir().join("upper/etc/own").exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(host.dir.path().to_str().unwrap()));
    host.assert_clean();
}

#[test]
fn mount_points_lie_below_what_the_image_brings() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let own = Tar::new()
        .dir("etc/")
        .file("etc/hosts", b"own")
        .file("sys", b"");
    let layout = Layout::with_image(&host.path("web"), &[Layer::plain(own.end())]);
    let image = host.load(&layout.source()).unwrap().remove(0);
    let options = RootOptions::default().with_mount_points(true);
    for id in ["c1", "c2"] {
        let container = host.store.create_container(id, &image).unwrap();
        let root = container.mount_root(&options).unwrap();
        assert_eq!(read(&root, "etc/hosts").unwrap(), "own");
        assert_eq!(read(&root, "etc/resolv.conf").unwrap(), "");
        let kind = |path: &str| rustix::fs::statat(&root, path, rustix::fs::AtFlags::empty());
        assert_eq!(kind("proc").unwrap().st_mode & 0o170_777, 0o40_555);
        assert_eq!(kind("sys").unwrap().st_mode & 0o170_000, 0o100_000);
        // nothing of it is the container's, and what it writes is seen by no other
        let upper = container.dir().join("upper");
        assert_eq!(std::fs::read_dir(&upper).unwrap().count(), 0);
        let flags = OFlags::WRONLY | OFlags::TRUNC;
        let file = rustix::fs::openat(&root, "etc/resolv.conf", flags, Mode::empty()).unwrap();
        rustix::io::write(&file, b"written").unwrap();
        assert!(upper.join("etc/resolv.conf").exists());
    }
    host.assert_clean();
}

#[test]
fn volatile_root_is_mounted_once_and_loses_nothing_while_it_is() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let layout = Layout::with_image(&host.path("web"), &three_layers());
    let image = host.load(&layout.source()).unwrap().remove(0);
    let container = host.store.create_container("c1", &image).unwrap();
    let options = RootOptions::default().with_volatile(true);
    let root = container.mount_root(&options).unwrap();
    let flags = OFlags::CREATE | OFlags::WRONLY;
    let file = rustix::fs::openat(&root, "new", flags, Mode::RUSR).unwrap();
    rustix::io::write(&file, b"x").unwrap();
    assert_eq!(read(&root, "new").unwrap(), "x");
    drop((file, root));
    // the kernel keeps a mark that it was not synced
    assert!(container.mount_root(&options).is_err());
    host.store.remove_container("c1").unwrap();
    host.assert_clean();
}

#[test]
fn image_with_a_container_is_kept_until_the_container_goes() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let layout = Layout::with_image(&host.path("web"), &three_layers());
    let image = host.load(&layout.source()).unwrap().remove(0);
    let container = host.store.create_container("c1", &image).unwrap();
    assert_eq!(
        std::fs::metadata(container.dir()).unwrap().mode() & 0o7777,
        0o700
    );
    let taken = host.store.create_container("c1", &image).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    let pinned = host.store.remove("web:v1").unwrap_err();
    assert_eq!(pinned.kind(), ErrorKind::InUse);
    fixture::assert_one_line(&pinned);
    assert!(host.store.resolve("web:v1").is_ok());

    drop(
        host.store
            .container("c1")
            .unwrap()
            .mount_root(&RootOptions::default())
            .unwrap(),
    );
    host.store.remove_container("c1").unwrap();
    assert_eq!(
        host.store.container("c1").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let removed = host.store.remove("web:v1").unwrap();
    assert_eq!((removed.untagged.len(), removed.layers.len()), (1, 3));
    assert_eq!(
        host.store.resolve("web:v1").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    host.assert_empty();
}

#[test]
fn many_layers_mount() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let layers: Vec<Layer> = (0..140)
        .map(|n| {
            Layer::plain(
                Tar::new()
                    .file(&format!("f{n}"), format!("{n}").as_bytes())
                    .end(),
            )
        })
        .collect();
    let layout = Layout::with_image(&host.path("many"), &layers);
    let image = host
        .store
        .load(&layout.source(), &LoadOptions::default())
        .unwrap()
        .remove(0);
    let container = host.store.create_container("c", &image).unwrap();
    let root = container.mount_root(&RootOptions::default()).unwrap();
    assert_eq!(read(&root, "f0").unwrap(), "0");
    assert_eq!(read(&root, "f139").unwrap(), "139");
}

/// A layer that brings `tmp/x` without an entry for `tmp` must not take `/tmp`'s mode away.
#[test]
fn directories_without_an_entry_keep_the_lower_layers_attributes() {
    if !is_root() {
        return;
    }
    let owned = |tar: Tar, name: &str| {
        tar.bent(tar::EntryType::Directory, name.as_bytes(), b"", |h| {
            h.set_mode(0o2750);
            h.set_uid(1000);
            h.set_gid(1001);
        })
    };
    let base = Tar::new()
        .dir_mode("tmp/", 0o1777)
        .dir_mode("root/", 0o700)
        .dir("home/");
    let base = owned(owned(base, "home/app/"), "gone/").file("home/app/old", b"old");
    let top = Tar::new()
        .file("tmp/x", b"")
        .file("home/app/deep/new", b"new")
        .file(".wh.gone", b"")
        .file("gone/again", b"");
    let third = Tar::new().file("home/app/third", b"");
    let layers: Vec<Layer> = [base, top, third]
        .into_iter()
        .map(|tar| Layer::plain(tar.end()))
        .collect();
    let host = Host::new();
    let layout = Layout::with_image(&host.path("web"), &layers);
    let image = host.load(&layout.source()).unwrap().remove(0);
    let container = host.store.create_container("c", &image).unwrap();
    let root = container.mount_root(&RootOptions::default()).unwrap();
    for (path, mode, uid, gid) in [
        ("tmp", 0o1777, 0, 0),
        ("root", 0o700, 0, 0),
        ("home", 0o755, 0, 0),
        ("home/app", 0o2750, 1000, 1001),
        ("home/app/deep", 0o755, 0, 0),
        ("gone", 0o755, 0, 0),
    ] {
        let stat = rustix::fs::statat(&root, path, rustix::fs::AtFlags::empty()).unwrap();
        assert_eq!(
            (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid),
            (mode, uid, gid),
            "{path}"
        );
    }
    assert_eq!(read(&root, "home/app/old").unwrap(), "old");
    assert_eq!(read(&root, "home/app/deep/new").unwrap(), "new");
}

#[test]
fn leftovers_of_a_crash_are_swept_and_other_formats_refused() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    for name in ["tmp/1-0-dead/w0/fs/etc", "trash/1-0-dead/w1/fs"] {
        std::fs::create_dir_all(host.path("lib/store").join(name)).unwrap();
    }
    let layout = Layout::with_image(&host.path("web"), &three_layers());
    let seen = Arc::new(Mutex::new((0, 0)));
    let count = Arc::clone(&seen);
    let options = LoadOptions::default().with_progress(move |progress| {
        let mut seen = count.lock().unwrap();
        match progress {
            Progress::LayerStarted { known: false, .. } => seen.0 += 1,
            Progress::LayerDone { .. } => seen.1 += 1,
            _ => {}
        }
    });
    host.store.load(&layout.source(), &options).unwrap();
    host.store.load(&layout.source(), &options).unwrap();
    assert_eq!(*seen.lock().unwrap(), (3, 6));
    host.assert_clean();

    std::fs::write(
        host.path("lib/store/format"),
        r#"{"version":9,"driver":"dirs"}"#,
    )
    .unwrap();
    let error = hostrun_image_store::Store::open(&host.path("lib")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    fixture::assert_one_line(&error);
    let error = hostrun_image_store::Store::open(&host.path("canary")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

/// The first load goes on when the second has begun to wait: in between, both want the same layers.
#[test]
fn two_loads_at_once_unpack_each_layer_once() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let layout = Layout::with_image(&host.path("web"), &three_layers());
    let unpacked = Arc::new(AtomicUsize::new(0));
    let (begun, has_begun) = mpsc::sync_channel(16);
    let (waits, is_awaited) = mpsc::sync_channel(16);
    let is_awaited = Mutex::new(is_awaited);
    let counter = Arc::clone(&unpacked);
    let first = LoadOptions::default().with_progress(move |progress| {
        if let Progress::LayerStarted { known: false, .. } = progress {
            counter.fetch_add(1, Ordering::Relaxed);
            begun.try_send(()).unwrap();
            let patience = std::time::Duration::from_secs(20);
            is_awaited.lock().unwrap().recv_timeout(patience).ok();
        }
    });
    let counter = Arc::clone(&unpacked);
    let second = LoadOptions::default().with_progress(move |progress| match progress {
        Progress::LayerStarted { known: false, .. } => {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Progress::Elsewhere { .. } => (0..3).for_each(|_| waits.try_send(()).unwrap()),
        _ => {}
    });
    let source = layout.source();
    std::thread::scope(|scope| {
        let store = || hostrun_image_store::Store::open(&host.path("lib")).unwrap();
        let (one, two) = (store(), store());
        let source = &source;
        scope.spawn(move || one.load(source, &first).unwrap());
        has_begun.recv().unwrap();
        scope.spawn(move || two.load(source, &second).unwrap());
    });
    assert_eq!(unpacked.load(Ordering::Relaxed), 3);
    host.assert_clean();
    let left = std::fs::read_dir(host.path("lib/store/partial")).unwrap();
    assert_eq!(left.count(), 0, "in partial");
}

/// Loads, removals and containers at once: everything ends whole, nothing is left.
#[test]
fn several_threads_share_a_store() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let base = Layer::gzip(&Tar::new().dir("etc/").file("etc/base", b"base").end());
    let layouts: Vec<Layout> = (0..3)
        .map(|n| {
            let own = Layer::plain(Tar::new().file(&format!("own{n}"), b"").end());
            Layout::with_image(&host.path(&format!("image{n}")), &[base.clone(), own])
        })
        .collect();
    let open = || hostrun_image_store::Store::open(&host.path("lib")).unwrap();
    let work = |worker: usize, n: usize| {
        let store = open();
        for round in 0..12 {
            store
                .load(&layouts[n].source(), &LoadOptions::default())
                .unwrap();
            let id = format!("c{worker}-{round}");
            // Another worker may have removed it again.
            let image = store.resolve(&format!("image{n}:v1"));
            let container = image.and_then(|image| store.create_container(&id, &image));
            match container {
                Ok(container) => {
                    let root = container.mount_root(&RootOptions::default()).unwrap();
                    assert_eq!(read(&root, "etc/base").unwrap(), "base");
                    drop(root);
                    store.remove_container(&id).unwrap();
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
            }
            if let Err(error) = store.remove(&format!("image{n}:v1")) {
                let kind = error.kind();
                assert!(
                    matches!(kind, ErrorKind::NotFound | ErrorKind::InUse),
                    "{error}"
                );
            }
        }
    };
    std::thread::scope(|scope| {
        for worker in 0..6 {
            scope.spawn(move || work(worker, worker % 3));
        }
    });
    for n in 0..3 {
        host.store.remove(&format!("image{n}:v1")).ok();
    }
    host.assert_empty();
}
