//! What an image may hold arrives on disk as it was meant.
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

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use fixture::{Host, Layer, Layout, Tar, is_root};
use tar::EntryType;

fn unpacked(tar: Tar) -> (Host, PathBuf) {
    let host = Host::new();
    let image = host.load_tar("image", tar.end()).unwrap().remove(0);
    host.assert_clean();
    let layer = host.layer(&image, 0);
    (host, layer)
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut buffer = [0; 256];
    let count = rustix::fs::lgetxattr(path, name, &mut buffer[..]).ok()?;
    Some(buffer[..count].to_vec())
}

fn stat(path: &Path) -> std::fs::Metadata {
    std::fs::symlink_metadata(path).expect("it is there")
}

#[test]
fn modes_owners_and_times_are_kept() {
    if !is_root() {
        return;
    }
    let mode = |tar: Tar, name: &str, mode| {
        tar.bent(EntryType::Regular, name.as_bytes(), b"x", |h| {
            h.set_mode(mode);
            h.set_uid(1234);
            h.set_gid(5678);
        })
    };
    let tar = Tar::new()
        .dir_mode("./", 0o711)
        .dir_mode("sgid/", 0o2775)
        .dir_mode("sgid/dir/", 0o755)
        .file("sgid/file", b"")
        .dir_mode("tmp/", 0o1777)
        .dir_mode("closed/", 0o000)
        .file("closed/inside", b"x");
    let tar = mode(tar, "suid", 0o4755);
    let tar = mode(tar, "sgid-file", 0o2755);
    let tar = mode(tar, "none", 0);
    let tar = mode(tar, "all", 0o100_777)
        .pax(&[
            ("mtime", b"1700000000.123456789"),
            ("uid", b"4000000000"),
            ("gid", b"0"),
        ])
        .file("pax", b"")
        .pax(&[("mtime", b"-1.25")])
        .file("early", b"")
        .bent(EntryType::Regular, b"base256", b"", |h| {
            h.set_uid(0o77_777_777);
        })
        .pax(&[("mtime", b"5.5")])
        .dir("late/")
        .file("late/f", b"");
    let (_host, root) = unpacked(tar);
    for (name, mode) in [
        ("", 0o711),
        ("sgid", 0o2775),
        ("sgid/dir", 0o755),
        ("tmp", 0o1777),
        ("closed", 0),
        ("suid", 0o4755),
        ("sgid-file", 0o2755),
        ("none", 0),
        ("all", 0o777),
        ("sgid/file", 0o644),
    ] {
        assert_eq!(stat(&root.join(name)).mode() & 0o7777, mode, "{name}");
    }
    let suid = stat(&root.join("suid"));
    assert_eq!(
        (suid.uid(), suid.gid(), suid.mtime()),
        (1234, 5678, 1_000_000_000)
    );
    let pax = stat(&root.join("pax"));
    assert_eq!(
        (pax.uid(), pax.mtime(), pax.mtime_nsec()),
        (4_000_000_000, 1_700_000_000, 123_456_789)
    );
    let early = stat(&root.join("early"));
    assert_eq!((early.mtime(), early.mtime_nsec()), (-2, 750_000_000));
    assert_eq!(stat(&root.join("base256")).uid(), 0o77_777_777);
    let late = stat(&root.join("late"));
    assert_eq!((late.mtime(), late.mtime_nsec()), (5, 500_000_000));
    assert_eq!(stat(&root.join("closed/inside")).len(), 1);
}

#[test]
fn special_files_and_links_are_kept() {
    if !is_root() {
        return;
    }
    let (_host, root) = unpacked(
        Tar::new()
            .file("f", b"x")
            .hard_link("hard", "f")
            .symlink("soft", "/no/where")
            .hard_link("hard-soft", "soft")
            .bent(EntryType::Fifo, b"fifo", b"", |h| h.set_mode(0o666))
            .bent(EntryType::Char, b"tty", b"", |h| {
                h.set_device_major(5).unwrap();
                h.set_device_minor(1).unwrap();
                h.set_mode(0o620);
                h.set_gid(5);
            })
            .device(EntryType::Block, "disk", 259, 70000)
            .bent(EntryType::Continuous, b"contiguous", b"y", |_| {}),
    );
    assert_eq!(stat(&root.join("f")).ino(), stat(&root.join("hard")).ino());
    assert_eq!(
        stat(&root.join("soft")).ino(),
        stat(&root.join("hard-soft")).ino()
    );
    assert_eq!(
        std::fs::read_link(root.join("soft")).unwrap(),
        Path::new("/no/where")
    );
    assert_eq!(stat(&root.join("soft")).mtime(), 1_000_000_000);
    let fifo = stat(&root.join("fifo"));
    assert!(fifo.file_type().is_fifo());
    assert_eq!(fifo.mode() & 0o7777, 0o666);
    let tty = stat(&root.join("tty"));
    assert!(tty.file_type().is_char_device());
    assert_eq!(
        (tty.rdev(), tty.mode() & 0o7777, tty.gid()),
        (rustix::fs::makedev(5, 1), 0o620, 5)
    );
    let disk = stat(&root.join("disk"));
    assert!(disk.file_type().is_block_device());
    assert_eq!(disk.rdev(), rustix::fs::makedev(259, 70000));
    assert_eq!(std::fs::read(root.join("contiguous")).unwrap(), b"y");
}

#[test]
fn attributes_are_kept_also_capabilities() {
    if !is_root() {
        return;
    }
    // Version 2, cap_net_raw+ep.
    let capability = *b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let (_host, root) = unpacked(
        Tar::new()
            .pax(&[
                ("SCHILY.xattr.security.capability", &capability),
                ("SCHILY.xattr.user.binary", b"\0\n=\xff"),
                ("SCHILY.xattr.user.empty", b""),
                ("SCHILY.xattr.security.selinux", b"dropped"),
                ("uid", b"1000"),
            ])
            .bent(EntryType::Regular, b"ping", b"x", |h| h.set_mode(0o4755))
            .pax(&[("SCHILY.xattr.user.x", b"1")])
            .symlink("link", "ping"),
    );
    let ping = root.join("ping");
    assert_eq!(xattr(&ping, "security.capability").unwrap(), capability);
    assert_eq!(xattr(&ping, "user.binary").unwrap(), b"\0\n=\xff");
    assert_eq!(xattr(&ping, "user.empty").unwrap(), b"");
    assert_eq!(xattr(&ping, "security.selinux"), None);
    assert_eq!(stat(&ping).mode() & 0o7777, 0o4755);
}

#[test]
fn any_bytes_make_a_name() {
    if !is_root() {
        return;
    }
    let long = "long-name/".repeat(60) + "end";
    let (_host, root) = unpacked(
        Tar::new()
            .bent(EntryType::Regular, b"latin\xe9", b"1", |_| {})
            .bent(EntryType::Regular, b"new\nline", b"2", |_| {})
            .pax(&[("path", b"pax\xff\nname"), ("linkpath", b"unused")])
            .file("x", b"3")
            .bent(
                EntryType::GNULongName,
                b"L",
                [long.as_bytes(), b"\0"].concat().as_slice(),
                |_| {},
            )
            .file("x", b"4")
            .bent(EntryType::GNULongLink, b"K", &[b't'; 300], |_| {})
            .symlink("link", "x")
            .pax(&[("path", b"by-pax")])
            .bent(EntryType::GNULongName, b"L", b"by-gnu\0", |_| {})
            .file("x", b"5"),
    );
    for (name, data) in [
        (&b"latin\xe9"[..], "1"),
        (b"new\nline", "2"),
        (b"pax\xff\nname", "3"),
        (long.as_bytes(), "4"),
        (b"by-pax", "5"),
    ] {
        assert_eq!(
            std::fs::read(root.join(OsStr::from_bytes(name))).unwrap(),
            data.as_bytes()
        );
    }
    assert_eq!(
        std::fs::read_link(root.join("link"))
            .unwrap()
            .as_os_str()
            .len(),
        300
    );
}

#[test]
fn later_entries_win_and_kinds_may_change() {
    if !is_root() {
        return;
    }
    let (_host, root) = unpacked(
        Tar::new()
            .file("dup", b"old")
            .bent(EntryType::Regular, b"dup", b"new", |h| h.set_mode(0o600))
            .dir("a/")
            .file("a/x", b"")
            .file("a", b"file now")
            .file("b", b"")
            .dir("b/")
            .file("b/y", b"")
            .dir_mode("c/", 0o700)
            .file("c/z", b"")
            .dir_mode("c/", 0o755)
            .symlink("l", "c")
            .dir("l/")
            .file("implied/parents/of/this", b""),
    );
    assert_eq!(std::fs::read(root.join("dup")).unwrap(), b"new");
    assert_eq!(std::fs::read(root.join("a")).unwrap(), b"file now");
    assert!(root.join("b/y").is_file() && root.join("c/z").is_file());
    assert_eq!(stat(&root.join("c")).mode() & 0o777, 0o755);
    assert!(stat(&root.join("l")).is_dir());
    let implied = stat(&root.join("implied/parents"));
    assert_eq!((implied.mode() & 0o7777, implied.uid()), (0o755, 0));
}

/// Whether the path is overlayfs' mark for a deleted name.
fn is_whiteout(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == 0)
}

#[test]
fn whiteouts_are_about_lower_layers_whatever_their_order() {
    if !is_root() {
        return;
    }
    let (_host, root) = unpacked(
        Tar::new()
            .file(".wh.plain", b"")
            .dir("d1/")
            .file("d1/kept", b"")
            .file(".wh.d1", b"")
            .file(".wh.d2", b"")
            .dir("d2/")
            .file("d2/kept", b"")
            .file("f1", b"1")
            .file(".wh.f1", b"")
            .file(".wh.f2", b"")
            .file("f2", b"2")
            .file("o1/.wh..wh..opq", b"")
            .file("o1/kept", b"")
            .file("o2/kept", b"")
            .file("o2/.wh..wh..opq", b"")
            .file(".wh.d3", b"")
            .file("d3/implied", b"")
            .file("in/.wh.gone", b""),
    );
    let opaque = |name: &str| xattr(&root.join(name), "trusted.overlay.opaque");
    assert!(is_whiteout(&root.join("plain")) && is_whiteout(&root.join("in/gone")));
    for name in ["d1", "d2", "d3", "o1", "o2"] {
        assert_eq!(opaque(name).as_deref(), Some(&b"y"[..]), "{name}");
    }
    assert_eq!(opaque("in"), None);
    for name in [
        "d1/kept",
        "d2/kept",
        "d3/implied",
        "f1",
        "f2",
        "o1/kept",
        "o2/kept",
    ] {
        assert!(root.join(name).is_file(), "{name}");
    }
}

fn block(text: &[u8]) -> Vec<u8> {
    let mut data = text.to_vec();
    data.resize(data.len().next_multiple_of(512), 0);
    data
}

#[test]
fn sparse_files_stay_sparse_in_all_four_encodings() {
    if !is_root() {
        return;
    }
    // 1 MiB: "head" at 0, "tail" at 1 MiB - 4.
    let (size, at): (&[u8], &[u8]) = (b"1048576", b"1048572");
    let map = [b"0,4,".as_slice(), at, b",4"].concat();
    let pax00: Vec<u8> = [
        ("GNU.sparse.size", size),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"0"),
        ("GNU.sparse.numbytes", b"4"),
        ("GNU.sparse.offset", at),
        ("GNU.sparse.numbytes", b"4"),
    ]
    .iter()
    .flat_map(|(key, value)| fixture::pax_record(key, value))
    .collect();
    let data_map = block(&[b"2\n0\n4\n".as_slice(), at, b"\n4\n"].concat());
    let tar = Tar::new()
        .bent(EntryType::GNUSparse, b"old", b"headtail", |h| {
            let gnu = h.as_gnu_mut().unwrap();
            gnu.set_real_size(1 << 20);
            gnu.sparse[0].set_offset(0);
            gnu.sparse[0].set_length(4);
            gnu.sparse[1].set_offset((1 << 20) - 4);
            gnu.sparse[1].set_length(4);
        })
        .bent(EntryType::XHeader, b"p", &pax00, |_| {})
        .file("pax00", b"headtail")
        .pax(&[
            ("GNU.sparse.size", size),
            ("GNU.sparse.name", b"pax01"),
            ("GNU.sparse.map", &map),
        ])
        .file("GNUSparseFile.1/pax01", b"headtail")
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"pax10"),
            ("GNU.sparse.realsize", size),
        ])
        .file(
            "GNUSparseFile.1/pax10",
            &[data_map, b"headtail".to_vec()].concat(),
        )
        .pax(&[
            ("GNU.sparse.size", b"4096"),
            ("GNU.sparse.name", b"hole"),
            ("GNU.sparse.map", b"4096,0"),
        ])
        .file("GNUSparseFile.1/hole", b"")
        .file("after", b"z");
    let (_host, root) = unpacked(tar);
    for name in ["old", "pax00", "pax01", "pax10"] {
        let data = std::fs::read(root.join(name)).unwrap();
        assert_eq!(data.len(), 1 << 20, "{name}");
        assert!(
            data.starts_with(b"head") && data.ends_with(b"tail"),
            "{name}"
        );
        assert!(data[4..data.len() - 4].iter().all(|b| *b == 0), "{name}");
        assert!(stat(&root.join(name)).blocks() * 512 < 100_000, "{name}");
    }
    assert_eq!(stat(&root.join("hole")).len(), 4096);
    assert_eq!(std::fs::read(root.join("after")).unwrap(), b"z");
}

#[test]
fn old_sparse_map_may_continue_in_blocks_of_its_own() {
    if !is_root() {
        return;
    }
    let mut header = Tar::header(EntryType::GNUSparse, b"s", 6 * 512);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(100 * 512);
    gnu.set_is_extended(true);
    for n in 0..4 {
        gnu.sparse[n].set_offset(n as u64 * 1024);
        gnu.sparse[n].set_length(512);
    }
    let mut more = tar::GnuExtSparseHeader::new();
    for n in 0..2 {
        more.sparse_mut()[n].set_offset(8192 + n as u64 * 1024);
        more.sparse_mut()[n].set_length(512);
    }
    let data = [more.as_bytes().as_slice(), &[7; 6 * 512]].concat();
    let (_host, root) = unpacked(Tar::new().raw(header, &data).file("after", b"z"));
    let data = std::fs::read(root.join("s")).unwrap();
    assert_eq!(data.len(), 100 * 512);
    assert_eq!(
        data.iter().map(|b| usize::from(*b)).sum::<usize>(),
        7 * 6 * 512
    );
    assert_eq!(data[8192 + 1024], 7);
    assert!(root.join("after").is_file());
}

#[test]
fn shared_layers_are_unpacked_once_and_kept_until_the_last_image() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let base = Layer::gzip(&Tar::new().file("base", b"").end());
    let one = [base.clone(), Layer::gzip(&Tar::new().file("1", b"").end())];
    let two = [base, Layer::gzip(&Tar::new().file("2", b"").end())];
    let first = host
        .load(&Layout::with_image(&host.path("one"), &one).source())
        .unwrap()
        .remove(0);
    let before = stat(&host.layer(&first, 0).join("base")).ino();
    let second = host
        .load(&Layout::with_image(&host.path("two"), &two).source())
        .unwrap()
        .remove(0);
    assert_eq!(stat(&host.layer(&second, 0).join("base")).ino(), before);
    assert_eq!(host.store.images().unwrap().len(), 2);
    assert_eq!(host.store.remove("one:v1").unwrap().layers.len(), 1);
    assert_eq!(host.store.remove("two:v1").unwrap().layers.len(), 2);
    host.assert_empty();
}
