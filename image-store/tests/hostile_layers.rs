//! Layers that attack: what a tar can say, against a store with and without earlier images.
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

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use fixture::{Host, Layer, Layout, Tar, assert_one_line, is_root, pax_record};
use hostrun_image_store::ErrorKind;
use tar::EntryType;

/// Loads a layer into a fresh store and into one that has an image already; both must refuse it,
/// with one line, and be as they were.
fn refused(name: &str, kind: ErrorKind, tar: &[u8]) {
    let fresh = Host::new();
    let error = fresh.load_tar("evil", tar.to_vec()).expect_err(name);
    fixture::keep_for_others("layer", name, &fresh.path("evil"));
    assert_eq!(error.kind(), kind, "{name}: {error}");
    assert_one_line(&error);
    fresh.assert_empty();

    let warm = Host::new();
    let good = Tar::new().dir("./").dir("etc/").file("etc/a", b"a").end();
    warm.load_tar("good", good.clone()).unwrap();
    let layers = [Layer::plain(good), Layer::plain(tar.to_vec())];
    let layout = Layout::with_image(&warm.path("evil"), &layers);
    let error = warm.load(&layout.source()).expect_err(name);
    assert_eq!(error.kind(), kind, "{name}: {error}");
    warm.assert_clean();
    assert_eq!(warm.store.images().unwrap().len(), 1, "{name}");
    assert_eq!(
        std::fs::read_dir(warm.path("lib/store/layers"))
            .unwrap()
            .count(),
        1,
        "{name}"
    );
}

fn corrupt(name: &str, tar: Tar) {
    refused(name, ErrorKind::Corrupt, &tar.end());
}

/// Loads a layer that must be taken, and lands inside.
fn taken(tar: Tar) -> (Host, std::path::PathBuf) {
    let host = Host::new();
    let image = host.load_tar("image", tar.end()).unwrap().remove(0);
    host.assert_clean();
    let layer = host.layer(&image, 0);
    (host, layer)
}

#[test]
fn names_that_climb_or_start_at_the_top_end_inside() {
    if !is_root() {
        return;
    }
    let (_host, layer) = taken(
        Tar::new()
            .file("../../../../canary", b"evil")
            .file("/absolute", b"x")
            .symlink("up", "../../../../../..")
            .file("up/through", b"x")
            .symlink("abs", "/")
            .file("abs/canary2", b"x")
            .symlink("etc", "/real")
            .dir("real/")
            .file("etc/passwd", b"x"),
    );
    for name in ["canary", "absolute", "through", "canary2", "real/passwd"] {
        assert!(layer.join(name).is_file(), "{name}");
    }
}

#[test]
fn cve_2021_29136_root_retyped_as_link_or_file_is_refused() {
    if !is_root() {
        return;
    }
    for name in [".", "./", "/", "././/"] {
        corrupt(name, Tar::new().symlink(name, "/etc"));
        corrupt(name, Tar::new().hard_link(name, "etc"));
        corrupt(
            name,
            Tar::new().bent(EntryType::Fifo, name.as_bytes(), b"", |_| {}),
        );
    }
    corrupt("file as root", Tar::new().file(".", b"x"));
}

#[test]
fn cve_2021_32760_chmod_through_symlink_does_not_happen() {
    if !is_root() {
        return;
    }
    let (host, layer) = taken(
        Tar::new()
            .symlink("link", "../../../../canary")
            .bent(EntryType::Regular, b"link", b"x", |h| h.set_mode(0o4777))
            .symlink("dir", "/")
            .dir_mode("dir/", 0o777),
    );
    let mode = std::fs::metadata(host.path("canary")).unwrap().mode();
    assert_eq!(mode & 0o7000, 0);
    assert!(layer.join("link").symlink_metadata().unwrap().is_file());
    assert!(layer.join("dir").symlink_metadata().unwrap().is_dir());
    assert_eq!(std::fs::metadata(&layer).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn cve_2025_47290_parent_swapped_for_a_link_within_the_layer_stays_inside() {
    if !is_root() {
        return;
    }
    let mut tar = Tar::new();
    for round in 0..50 {
        tar = tar
            .dir("a/")
            .file(&format!("a/f{round}"), b"x")
            .symlink("a", "../../../../..")
            .file("a/canary", b"evil");
    }
    let (_host, layer) = taken(tar);
    assert!(layer.join("canary").is_file());
}

#[test]
fn hard_links_reach_only_what_the_layer_has() {
    if !is_root() {
        return;
    }
    let base = || {
        Tar::new()
            .dir("d/")
            .file("d/f", b"x")
            .symlink("l", "d")
            .symlink("out", "/")
    };
    corrupt("outside", base().hard_link("h", "/etc/passwd"));
    corrupt("dotdot", base().hard_link("h", "d/../d/f"));
    corrupt("climb", base().hard_link("h", "../../../canary"));
    corrupt("through link", base().hard_link("h", "l/f"));
    corrupt("through absolute link", base().hard_link("h", "out/d/f"));
    corrupt("directory", base().hard_link("h", "d"));
    corrupt("root", base().hard_link("h", "/"));
    corrupt("itself", base().hard_link("h", "h"));
    corrupt("missing", base().hard_link("h", "nothing"));
    corrupt("whiteout", base().file(".wh.w", b"").hard_link("h", "w"));
    corrupt("no target", base().hard_link("h", ""));
    let (_host, layer) = taken(base().hard_link("h", "./d/f").hard_link("s", "l"));
    assert_eq!(std::fs::read(layer.join("h")).unwrap(), b"x");
    assert!(layer.join("s").symlink_metadata().unwrap().is_symlink());
}

#[test]
fn odd_whiteouts_are_refused() {
    if !is_root() {
        return;
    }
    for name in [
        ".wh.",
        "d/.wh.",
        ".wh..",
        ".wh...",
        ".wh..wh.plnk",
        ".wh.a/b",
    ] {
        corrupt(name, Tar::new().file(name, b""));
    }
    corrupt("directory", Tar::new().dir(".wh.a/"));
    corrupt("link", Tar::new().symlink(".wh.a", "b"));
    corrupt("opaque directory", Tar::new().dir(".wh..wh..opq/"));
    corrupt("forged", Tar::new().device(EntryType::Char, "a", 0, 0));
}

#[test]
fn names_that_are_no_names_are_refused() {
    if !is_root() {
        return;
    }
    for name in ["", "..", "a/..", "a/../", "../"] {
        corrupt(name, Tar::new().dir(name));
    }
    let long = "x/".repeat(2500);
    corrupt(
        "5000 bytes",
        Tar::new().pax(&[("path", long.as_bytes())]).file("x", b""),
    );
    let climbing = "a/../".repeat(300) + "f";
    corrupt(
        "300 climbs",
        Tar::new()
            .pax(&[("path", climbing.as_bytes())])
            .file("x", b""),
    );
    corrupt("file as parent", Tar::new().file("a", b"").file("a/b", b""));
    corrupt(
        "dangling parent",
        Tar::new().symlink("a", "nowhere").file("a/b", b""),
    );
    corrupt(
        "looping parent",
        Tar::new().symlink("a", "a").file("a/b", b""),
    );
}

#[test]
fn malformed_headers_are_refused() {
    if !is_root() {
        return;
    }
    let bad_sum = {
        let mut tar = Tar::new().file("a", b"x");
        tar.0[148] ^= 1;
        tar
    };
    corrupt("checksum", bad_sum);
    let with = |bend: fn(&mut tar::Header)| Tar::new().bent(EntryType::Regular, b"a", b"x", bend);
    corrupt("negative size", with(|h| h.as_old_mut().size = [0xff; 12]));
    corrupt(
        "huge size",
        with(|h| h.as_old_mut().size = *b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
    );
    corrupt(
        "garbage size",
        with(|h| h.as_old_mut().size = *b"0000000000x\0"),
    );
    corrupt(
        "plus size",
        with(|h| h.as_old_mut().size = *b"+0000000001\0"),
    );
    corrupt("uid -1", with(|h| h.set_uid(u64::from(u32::MAX))));
    corrupt("uid 2^32", with(|h| h.set_uid(1 << 32)));
    corrupt("gid -1", with(|h| h.set_gid(u64::from(u32::MAX))));
    let kind = |kind| Tar::new().bent(EntryType::new(kind), b"a", b"", |_| {});
    for letter in *b"DMNVXAZ8" {
        corrupt("type", kind(letter));
    }
    corrupt(
        "directory with data",
        Tar::new().bent(EntryType::Directory, b"a", b"x", |_| {}),
    );
    corrupt(
        "link with data",
        Tar::new().bent(EntryType::Symlink, b"a", b"x", |_| {}),
    );
    corrupt("symlink to nothing", Tar::new().symlink("a", ""));
    corrupt(
        "device number",
        Tar::new().device(EntryType::Char, "a", 0o7_777_777, 1),
    );
}

#[test]
fn malformed_pax_is_refused() {
    if !is_root() {
        return;
    }
    for data in [
        &b"x"[..],
        b"11 path=abc",
        b"99 path=a\n",
        b"011 path=ab\n",
        b"6 =ab\n",
        b"8 pathx\n",
        b"8 path=\n",
        b"11 path=a\0\n",
        b"9 uid=-1\n",
        b"10 size=-1\n",
        b"13 mtime=1.-1\n",
    ] {
        let tar = Tar::new()
            .bent(EntryType::XHeader, b"p", data, |_| {})
            .file("a", b"");
        corrupt(&String::from_utf8_lossy(data), tar);
    }
    corrupt(
        "uid -1",
        Tar::new().pax(&[("uid", b"4294967295")]).file("a", b""),
    );
    corrupt(
        "uid 2^32",
        Tar::new().pax(&[("uid", b"4294967296")]).file("a", b""),
    );
    corrupt(
        "twice",
        Tar::new()
            .pax(&[("uid", b"1")])
            .pax(&[("uid", b"2")])
            .file("a", b""),
    );
    corrupt("dangling", Tar::new().file("a", b"").pax(&[("path", b"b")]));
    corrupt(
        "size past the end",
        Tar::new().pax(&[("size", b"99999999")]).file("a", b"x"),
    );
    let big = vec![b'x'; 2 << 20];
    corrupt(
        "2 MiB header",
        Tar::new().pax(&[("comment", &big)]).file("a", b""),
    );
    corrupt(
        "long name with NUL",
        Tar::new()
            .bent(EntryType::GNULongName, b"L", b"a\0b", |_| {})
            .file("x", b""),
    );
    corrupt(
        "empty long name",
        Tar::new()
            .bent(EntryType::GNULongName, b"L", b"\0", |_| {})
            .file("x", b""),
    );
    corrupt(
        "huge long name",
        Tar::new()
            .bent(EntryType::GNULongName, b"L", b"", |h| h.set_size(1 << 40))
            .file("x", b""),
    );
}

#[test]
fn global_names_and_owners_are_ignored() {
    if !is_root() {
        return;
    }
    let data: Vec<u8> = [pax_record("path", b"../../canary"), pax_record("uid", b"7")].concat();
    let (_host, layer) = taken(
        Tar::new()
            .bent(EntryType::XGlobalHeader, b"g", &data, |_| {})
            .file("a", b"x"),
    );
    assert_eq!(std::fs::metadata(layer.join("a")).unwrap().uid(), 0);
}

#[test]
fn archive_that_ends_wrongly_is_refused() {
    if !is_root() {
        return;
    }
    let whole = Tar::new().file("a", &[7; 2000]).end();
    for cut in [1, 511, 513, 1500, 2400] {
        refused("cut", ErrorKind::Corrupt, &whole[..cut]);
    }
    let second = [whole.clone(), Tar::new().file("b", b"").end()].concat();
    refused("second archive", ErrorKind::Corrupt, &second);
    let mut one_zero = Tar::new().file("a", b"");
    one_zero.0.resize(one_zero.0.len() + 512, 0);
    corrupt("one zero block", one_zero.file("b", b""));
}

#[test]
fn overlay_words_in_attributes_are_dropped() {
    if !is_root() {
        return;
    }
    let (_host, layer) = taken(
        Tar::new()
            .pax(&[
                ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
                ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
                ("SCHILY.xattr.user.overlay.opaque", b"y"),
                ("SCHILY.xattr.trusted.other", b"y"),
                ("SCHILY.xattr.user.kept", b"\0\xff"),
            ])
            .dir("d/"),
    );
    let mut list = [0; 1024];
    let count = rustix::fs::listxattr(layer.join("d"), &mut list[..]).unwrap();
    assert_eq!(&list[..count], b"user.kept\0");
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    if !is_root() {
        return;
    }
    let map = |map: &[u8], size: &[u8]| {
        Tar::new()
            .pax(&[
                ("GNU.sparse.map", map),
                ("GNU.sparse.size", size),
                ("GNU.sparse.name", b"s"),
            ])
            .file("GNUSparseFile.0/s", &[1; 8])
    };
    corrupt("overlap", map(b"0,4,2,4", b"100"));
    corrupt("past the end", map(b"0,4,98,4", b"100"));
    corrupt("too little", map(b"0,4", b"100"));
    corrupt(
        "overflow",
        map(b"0,4,9223372036854775807,4", b"9223372036854775807"),
    );
    corrupt("odd", map(b"0,4,8", b"100"));
    let ten = |data: &[u8]| {
        Tar::new()
            .pax(&[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"s"),
                ("GNU.sparse.realsize", b"100"),
            ])
            .file("GNUSparseFile.0/s", data)
    };
    corrupt("no map", ten(b""));
    corrupt("endless map", ten(&[b'1'; 1024]));
    corrupt(
        "count",
        ten(&[b"99999999999\n".as_slice(), &[0; 500]].concat()),
    );
    corrupt(
        "map longer than data",
        ten(&[b"9\n0\n".as_slice(), &[b'\n'; 508]].concat()),
    );
}

#[test]
fn bombs_are_stopped_by_limits() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let tar = Tar::new().file("zeros", &vec![0; 16 << 20]).end();
    let layout = Layout::with_image(&host.path("bomb"), &[Layer::gzip(&tar)]);
    let mut limits = hostrun_image_store::Limits::default();
    assert!(limits.ratio <= 100 && limits.ratio_free_bytes <= 256 << 20);
    limits.ratio_free_bytes = 4 << 20;
    let options = hostrun_image_store::LoadOptions::default().with_limits(limits);
    let error = host.store.load(&layout.source(), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_one_line(&error);
    host.assert_empty();

    let mut limits = hostrun_image_store::Limits::default();
    (limits.entries, limits.directory_bytes) = (10, 100);
    let options = hostrun_image_store::LoadOptions::default().with_limits(limits);
    let deep = "d/".repeat(20) + "f";
    let many = (0..11).fold(Tar::new(), |tar, n| tar.file(&format!("f{n}"), b""));
    for (name, tar) in [
        ("many", many),
        ("deep", Tar::new().file(&deep, b"").file("x", b"")),
    ] {
        let layout = Layout::with_image(&host.path(name), &[Layer::plain(tar.end())]);
        let error = host.store.load(&layout.source(), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        host.assert_empty();
    }
}

#[test]
fn cve_2024_25621_store_is_closed_to_other_users() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let setuid = Tar::new().bent(EntryType::Regular, b"su", b"x", |h| h.set_mode(0o4755));
    let image = host.load_tar("image", setuid.end()).unwrap().remove(0);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&host.layer(&image, 0).join("su")), 0o4755);
    let store = host.path("lib/store");
    assert_eq!(mode(&store), 0o700);
    std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o755)).unwrap();
    hostrun_image_store::Store::open(&host.path("lib")).unwrap();
    assert_eq!(mode(&store), 0o700);
    for name in [
        "layers",
        "blobs",
        "images",
        "generations",
        "containers",
        "tmp",
        "trash",
    ] {
        assert_eq!(mode(&store.join(name)), 0o700, "{name}");
    }
}

#[test]
fn removal_of_a_very_deep_tree_leaves_nothing() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let mut tar = Tar::new();
    for half in 0..2 {
        let deep = "d/".repeat(1200) + &half.to_string();
        tar = tar.pax(&[("path", deep.as_bytes())]).file("x", b"x");
    }
    host.load_tar("image", tar.clone().end()).unwrap();
    host.store.remove("image:v1").unwrap();
    host.assert_empty();
    // The same when the layer is refused at its end, or the tree is replaced on the way.
    corrupt("deep", tar.clone().device(EntryType::Char, "forged", 0, 0));
    taken(tar.file("d", b""));
}
