//! Layers as the kernel mounts them: the same tree as a directory gives, whatever the image says.
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

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use fixture::{Host, Layer, Layout, Tar, is_root};
use hostrun_image_store::{
    DriverName, ErrorKind, Image, LoadOptions, Progress, RootOptions, SaveOptions, Source,
};
use proptest::prelude::*;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use std::sync::{Arc, Mutex};
use tar::EntryType;

/// A host whose layers are mounted; none where kernel or file system cannot.
fn erofs_host() -> Option<Host> {
    if !is_root() {
        return None;
    }
    let host = Host::new();
    host.store.set_driver(DriverName::Erofs).unwrap();
    let tar = Tar::new().file("probe", b"x").end();
    let image = host.load_tar("probe", tar).unwrap().remove(0);
    if is_mounted(&host, &image, 0) {
        host.store.remove("probe:v1").unwrap();
        return Some(host);
    }
    eprintln!("SKIPPED: this kernel or file system cannot mount layers from files");
    None
}

fn is_mounted(host: &Host, image: &Image, layer: usize) -> bool {
    let folder = host.layer(image, layer).parent().unwrap().to_owned();
    let (index, fs) = (
        folder.join("index.erofs").exists(),
        folder.join("fs").exists(),
    );
    assert!(index != fs, "a layer has one form");
    assert_eq!(folder.join("data.tar").exists(), index);
    index
}

fn root_of(host: &Host, image: &Image, id: &str) -> OwnedFd {
    let container = host.store.create_container(id, image).unwrap();
    container.mount_root(&RootOptions::default()).unwrap()
}

fn attributes(at: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let count = rustix::fs::llistxattr(at, &mut names[..]).unwrap();
    let names = names[..count]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 64 << 10];
        let count = rustix::fs::lgetxattr(at, name, &mut value[..]).unwrap();
        (name.to_vec(), value[..count].to_vec())
    };
    names.map(value).collect()
}

/// All that can be seen of a tree, a line each: names, types, modes, owners, times, links, contents.
fn listing(root: &OwnedFd) -> BTreeMap<Vec<u8>, String> {
    let mut all = BTreeMap::new();
    let mut linked: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut todo = vec![b".".to_vec()];
    while let Some(path) = todo.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let dir = rustix::fs::openat(root, path.as_slice(), flags, Mode::empty()).unwrap();
        let mut names: Vec<Vec<u8>> = Dir::read_from(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_bytes().to_vec())
            .filter(|name| name != b"..")
            .collect();
        names.sort();
        for name in names {
            let inner = [path.as_slice(), b"/", &name].concat();
            let stat = match rustix::fs::statat(root, inner.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                // Overlayfs lists whiteouts of directories that only one layer has.
                Err(rustix::io::Errno::NOENT) => {
                    all.insert(inner, "listed".to_owned());
                    continue;
                }
                found => found.unwrap(),
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if name == b"." {
                all.insert(path.clone(), describe(root, &path, &stat, kind));
                continue;
            }
            if kind == FileType::Directory {
                todo.push(inner);
                continue;
            }
            let mut line = describe(root, &inner, &stat, kind);
            if stat.st_nlink > 1 {
                let first = linked.entry(stat.st_ino).or_insert(inner.clone());
                write!(
                    line,
                    " links {} like {}",
                    stat.st_nlink,
                    first.escape_ascii()
                )
                .unwrap();
            }
            all.insert(inner, line);
        }
    }
    all
}

fn describe(root: &OwnedFd, path: &[u8], stat: &rustix::fs::Stat, kind: FileType) -> String {
    use std::os::fd::AsRawFd;
    let at = [
        format!("/proc/self/fd/{}/", root.as_raw_fd()).as_bytes(),
        path,
    ]
    .concat();
    let at = String::from_utf8_lossy(&at).into_owned();
    let mut line = format!("{:o} {}:{}", stat.st_mode, stat.st_uid, stat.st_gid);
    // a directory that no entry describes has the time it was made, or none
    let time = (stat.st_mtime, stat.st_mtime_nsec);
    write!(line, " time {time:?}").unwrap();
    if !at.contains('\u{fffd}') {
        write!(line, " {:?}", attributes(&at)).unwrap();
    }
    match kind {
        FileType::RegularFile => {
            let fd = rustix::fs::openat(root, path, OFlags::RDONLY, Mode::empty()).unwrap();
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut std::fs::File::from(fd), &mut text).unwrap();
            write!(line, " {} bytes {}", stat.st_size, fixture::digest(&text)).unwrap();
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(root, path, Vec::new()).unwrap();
            write!(line, " to {target:?}").unwrap();
        }
        FileType::CharacterDevice | FileType::BlockDevice => {
            write!(line, " device {:x}", stat.st_rdev).unwrap();
        }
        _ => {}
    }
    line
}

/// Without the times of directories that no entry describes.
fn timeless(mut all: BTreeMap<Vec<u8>, String>, implied: &[&str]) -> BTreeMap<Vec<u8>, String> {
    for path in implied.iter().chain(&["."]) {
        let path = if *path == "." {
            ".".to_owned()
        } else {
            format!("./{path}")
        };
        if let Some(line) = all.get_mut(path.as_bytes()) {
            let (before, rest) = line.split_once(" time ").unwrap();
            let after = rest.split_once(')').unwrap().1;
            *line = format!("{before}{after}");
        }
    }
    all
}

/// Loads the same layers into a host of each kind; what their containers see.
fn both(layers: &[Layer], implied: &[&str]) -> Option<(Host, Image)> {
    let erofs = erofs_host()?;
    let dirs = Host::new();
    dirs.store.set_driver(DriverName::Dirs).unwrap();
    let layout = Layout::with_image(&dirs.path("image"), layers);
    let plain = dirs.load(&layout.source()).unwrap().remove(0);
    let image = erofs.load(&layout.source()).unwrap().remove(0);
    let expected = timeless(listing(&root_of(&dirs, &plain, "c")), implied);
    assert_eq!(
        timeless(listing(&root_of(&erofs, &image, "c")), implied),
        expected
    );
    // and once more out of a warm store
    let again = erofs.load(&layout.source()).unwrap().remove(0);
    assert_eq!(
        timeless(listing(&root_of(&erofs, &again, "d")), implied),
        expected
    );
    assert_eq!(image.size(), plain.size());
    let verified = erofs.store.verify(true).unwrap();
    assert!(verified.damages.is_empty(), "{:?}", verified.damages);
    erofs.assert_clean();
    Some((erofs, image))
}

/// Everything an image may hold.
fn rich() -> Tar {
    let capability = *b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let long = "long-name/".repeat(60) + "end";
    let mut tar = Tar::new()
        .dir_mode("./", 0o711)
        .dir("etc/")
        .file("etc/passwd", b"root:x:0:0:")
        .symlink("etc/link", "passwd")
        .hard_link("etc/hard", "etc/passwd")
        .hard_link("etc/hard-link-to-link", "etc/link")
        .dir_mode("tmp/", 0o1777)
        .dir_mode("sgid/", 0o2775)
        .dir_mode("closed/", 0)
        .file("closed/inside", b"x")
        .bent(EntryType::Regular, b"su", b"setuid", |h| h.set_mode(0o4755))
        .file("empty", b"")
        .file("block", &[1; 512])
        .file("two-blocks", &[2; 513])
        .file("large", &vec![3; 300_001])
        .device(EntryType::Char, "null", 1, 3)
        .device(EntryType::Block, "disk", 259, 70000)
        .bent(EntryType::Fifo, b"fifo", b"", |h| h.set_mode(0o620))
        .pax(&[
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.user.binary", b"\0\n=\xff"),
            ("SCHILY.xattr.user.empty", b""),
            ("SCHILY.xattr.user.large", &[9; 3000]),
            ("SCHILY.xattr.security.selinux", b"dropped"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"dropped"),
            ("uid", b"4000000000"),
            ("gid", b"70000"),
        ])
        .bent(EntryType::Regular, b"ping", b"x", |h| h.set_mode(0o4755))
        .pax(&[("SCHILY.xattr.user.x", b"1")])
        .symlink("link", "ping")
        .pax(&[
            ("SCHILY.xattr.user.dir", b"1"),
            ("mtime", b"1700000000.123456789"),
        ])
        .dir("noted/")
        .pax(&[("mtime", b"-1.25")])
        .file("early", b"")
        .bent(
            EntryType::GNULongName,
            b"L",
            [long.as_bytes(), b"\0"].concat().as_slice(),
            |_| {},
        )
        .file("x", b"4")
        .bent(EntryType::GNULongLink, b"K", &[b't'; 300], |_| {})
        .symlink("long-link", "x")
        .bent(EntryType::GNULongLink, b"K", &[b'u'; 4000], |_| {})
        .symlink("longest-link", "x")
        .bent(EntryType::Regular, b"new\nline", b"2", |_| {})
        .bent(EntryType::Regular, b"!before-dot", b"2", |_| {})
        .dir("many/");
    for number in 0..700 {
        tar = tar.file(
            &format!("many/file-with-a-name-{number}"),
            format!("{number}").as_bytes(),
        );
    }
    let name = format!("many/{}", "n".repeat(255));
    tar.pax(&[("path", name.as_bytes())]).file("x", b"longest")
}

#[test]
fn everything_an_image_may_hold_looks_the_same_mounted() {
    let implied = implied_of(&("long-name/".repeat(60)));
    let implied: Vec<&str> = implied.iter().map(String::as_str).collect();
    let layers = [Layer::gzip(&rich().end())];
    if let Some((host, image)) = both(&layers, &implied) {
        assert!(is_mounted(&host, &image, 0));
    }
}

fn implied_of(path: &str) -> Vec<String> {
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    (1..=parts.len())
        .map(|end| parts[..end].join("/"))
        .collect()
}

#[test]
fn layers_merge_and_whiteouts_hide_the_same_mounted() {
    let base = Tar::new()
        .dir_mode("./", 0o751)
        .dir("etc/")
        .file("etc/base", b"base")
        .file("etc/gone", b"gone")
        .dir("data/")
        .file("data/old", b"old")
        .dir_mode("shared/", 0o1777)
        .dir("swap/")
        .file("swap/inner", b"x")
        .dir("d2/")
        .file("d2/hidden", b"")
        .dir("d3/")
        .file("d3/hidden", b"")
        .file("becomes-dir", b"");
    let middle = Tar::new()
        .dir("etc/")
        .file("etc/.wh.gone", b"")
        .file("etc/middle", b"middle")
        .dir("data/")
        .file("data/new", b"new")
        .file("data/.wh..wh..opq", b"")
        .file("shared/from-middle", b"")
        .file(".wh.d2", b"")
        .dir("d2/")
        .file("d2/kept", b"")
        .file(".wh.d3", b"")
        .file("d3/implied", b"")
        .dir("becomes-dir/")
        .file("becomes-dir/inner", b"")
        .file("swap", b"now a file");
    let top = Tar::new()
        .file("etc/base", b"changed")
        .dir("empty/")
        .file("twice", b"first")
        .bent(EntryType::Regular, b"twice", b"second", |h| {
            h.set_mode(0o600);
        })
        .dir("kind/")
        .file("kind/inner", b"")
        .file("kind", b"a file now")
        .file("other", b"")
        .dir("other/")
        .file("other/inner", b"");
    let layers = [
        Layer::gzip(&base.end()),
        Layer::zstd(&middle.end()),
        Layer::plain(top.end()),
    ];
    if let Some((host, image)) = both(&layers, &["d3", "shared", "etc"]) {
        for layer in 0..3 {
            assert!(is_mounted(&host, &image, layer), "{layer}");
        }
        let hidden = Tar::new().file(".wh..wh..opq", b"").file("alone", b"1");
        let layers = [layers[0].clone(), Layer::gzip(&hidden.end())];
        both(&layers, &[]).unwrap();
    }
}

#[test]
fn sparse_files_of_whole_blocks_are_mounted_and_others_become_directories() {
    let sparse = |name: &str, segments: [(u64, u64); 2], length: u64| {
        let data: Vec<u8> = (0..segments[0].1 + segments[1].1)
            .map(|byte| u8::try_from(byte % 251).unwrap())
            .collect();
        Tar::new()
            .bent(EntryType::GNUSparse, name.as_bytes(), &data, |h| {
                let gnu = h.as_gnu_mut().unwrap();
                gnu.set_real_size(length);
                for (slot, (offset, length)) in gnu.sparse.iter_mut().zip(segments) {
                    slot.set_offset(offset);
                    slot.set_length(length);
                }
            })
            .file("after", b"z")
            .end()
    };
    for (segments, length, mounted) in [
        ([(0, 4096), (1 << 20, 4096)], 1 << 21, true),
        ([(512, 512), (4096, 100)], 5000, true),
        ([(4096, 4096), (12288, 7)], 12295, true),
        ([(0, 4), ((1 << 20) - 4, 4)], 1 << 20, false),
    ] {
        let layers = [Layer::gzip(&sparse("sparse", segments, length))];
        if let Some((host, image)) = both(&layers, &[]) {
            assert_eq!(is_mounted(&host, &image, 0), mounted, "{segments:?}");
        }
    }
}

#[test]
fn what_only_a_directory_can_say_becomes_one_and_is_told() {
    let Some(host) = erofs_host() else { return };
    let acl = *b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x04\0\x04\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";
    let mut dirty = Tar::new().file("dirty", b"x").end();
    dirty[1000] = 7;
    // as `umoci insert` ends a layer
    let mut short = Tar::new().file("f", b"eleven byte").0;
    short.truncate(512 + 11);
    for (name, tar) in [
        (
            "through-a-link",
            Tar::new()
                .dir("a/")
                .symlink("l", "a")
                .file("l/f", b"x")
                .end(),
        ),
        (
            "through-dots",
            Tar::new().dir("a/").file("a/../f", b"x").end(),
        ),
        (
            "acl",
            Tar::new()
                .pax(&[("SCHILY.xattr.system.posix_acl_access", &acl)])
                .file("f", b"")
                .end(),
        ),
        ("dirty-padding", dirty),
        ("short", short),
    ] {
        let told = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&told);
        let options = LoadOptions::default().with_progress(move |progress| {
            if let Progress::Warning { text, .. } = progress {
                hear.lock().unwrap().push((*text).to_owned());
            }
        });
        let layers = [
            Layer::gzip(&tar),
            Layer::gzip(&Tar::new().file("other", b"").end()),
        ];
        let layout = Layout::with_image(&host.path(name), &layers);
        let image = host
            .store
            .load(&layout.source(), &options)
            .unwrap()
            .remove(0);
        assert!(!is_mounted(&host, &image, 0), "{name}");
        assert!(is_mounted(&host, &image, 1), "{name}");
        let told = told.lock().unwrap();
        assert!(
            told.iter()
                .any(|text| text.starts_with("it becomes a directory: ")),
            "{told:?}"
        );
        // both forms in one overlay
        let names = listing(&root_of(&host, &image, name));
        assert!(names.contains_key(&b"./other"[..]), "{name}");
    }
    let verified = host.store.verify(true).unwrap();
    assert!(verified.damages.is_empty(), "{:?}", verified.damages);
}

#[test]
fn what_a_directory_refuses_is_refused_mounted() {
    let Some(host) = erofs_host() else { return };
    let name = "n".repeat(256);
    for (what, tar) in [
        (
            "forged whiteout",
            Tar::new().device(EntryType::Char, "x", 0, 0),
        ),
        ("link to nothing", Tar::new().hard_link("a", "b")),
        (
            "link to a directory",
            Tar::new().dir("d/").hard_link("a", "d"),
        ),
        (
            "file as directory",
            Tar::new().file("f", b"").file("f/inner", b""),
        ),
        ("whiteout as directory", Tar::new().dir(".wh.d/")),
        ("root as file", Tar::new().file(".", b"")),
        (
            "long name",
            Tar::new().pax(&[("path", name.as_bytes())]).file("x", b""),
        ),
    ] {
        let error = host
            .load_tar(&what.replace(' ', "-"), tar.end())
            .unwrap_err();
        fixture::assert_one_line(&error);
        host.assert_empty();
    }
}

#[test]
fn damage_is_found_saving_gives_the_same_tar_and_removal_leaves_nothing() {
    let Some(host) = erofs_host() else { return };
    let layers = [
        Layer::gzip(&rich().end()),
        Layer::plain(Tar::new().file("f", &[7; 9000]).end()),
    ];
    let layout = Layout::with_image(&host.path("web"), &layers);
    let image = host.load(&layout.source()).unwrap().remove(0);
    let saved = host.path("saved");
    host.store
        .save_layout(&["web:v1"], SaveOptions::default(), &saved)
        .unwrap();
    for layer in &layers {
        let blob = saved
            .join("blobs/sha256")
            .join(layer.diff_id.trim_start_matches("sha256:"));
        assert_eq!(
            fixture::digest(&std::fs::read(blob).unwrap()),
            layer.diff_id
        );
    }
    for (name, at) in [
        ("data.tar", 600),
        ("index.erofs", 1600),
        ("index.erofs", 1030),
    ] {
        let path = host.layer(&image, 0).with_file_name(name);
        let whole = std::fs::read(&path).unwrap();
        let mut bent = whole.clone();
        bent[at] ^= 1;
        std::fs::write(&path, &bent).unwrap();
        assert!(host.store.verify(false).unwrap().damages.is_empty());
        assert_eq!(
            host.store.verify(true).unwrap().damages.len(),
            1,
            "{name} {at}"
        );
        std::fs::write(&path, &whole).unwrap();
        assert!(host.store.verify(true).unwrap().damages.is_empty());
        std::fs::write(&path, &whole[..whole.len() - 512]).unwrap();
        assert_eq!(
            host.store.verify(true).unwrap().damages.len(),
            1,
            "{name} short"
        );
        std::fs::write(&path, &whole).unwrap();
    }
    host.store.remove("web:v1").unwrap();
    host.assert_empty();
}

/// What the format's own tools say of an image of ours; `fsck.erofs` before 1.7 knows no blocks of 512.
#[test]
fn the_formats_own_checker_finds_nothing() {
    let fsck = std::env::var("HOSTRUN_TEST_FSCK_EROFS").unwrap_or_else(|_| "fsck.erofs".to_owned());
    let Some(host) = erofs_host() else { return };
    let words: Vec<&str> = fsck.split(' ').collect();
    let run = |more: &[&str]| Command::new(words[0]).args(&words[1..]).args(more).output();
    let Ok(out) = run(&["-V"]) else {
        eprintln!("SKIPPED: there is no fsck.erofs");
        return;
    };
    let text = [out.stdout, out.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let version = text.split_whitespace().find_map(|word| {
        let (major, minor) = word.split_once('.')?;
        Some((
            major.parse::<u32>().ok()?,
            minor.split('.').next()?.parse::<u32>().ok()?,
        ))
    });
    if version.is_none_or(|version| version < (1, 7)) {
        eprintln!("SKIPPED: fsck.erofs is too old for blocks of 512 bytes: {text}");
        return;
    }
    let image = host.load_tar("image", rich().end()).unwrap().remove(0);
    let (index, data) = (
        host.layer(&image, 0).with_file_name("index.erofs"),
        host.layer(&image, 0).with_file_name("data.tar"),
    );
    let device = format!("--device={}", data.display());
    let checked = run(&["--extract", &device, index.to_str().unwrap()]).unwrap();
    let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    assert!(checked.status.success(), "{said}");
}

#[test]
fn other_drivers_and_other_words_are_refused() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    host.store.set_driver(DriverName::Dirs).unwrap();
    assert_eq!(
        "btrfs".parse::<DriverName>().unwrap_err().kind(),
        ErrorKind::Invalid
    );
    host.store.set_driver("erofs".parse().unwrap()).unwrap();
    let format = std::fs::read_to_string(host.path("lib/store/format")).unwrap();
    assert_eq!(format, "{\"version\":2,\"driver\":\"erofs\"}\n");
    host.store.set_driver(DriverName::Dirs).unwrap();
    assert_eq!(host.store.driver().unwrap(), DriverName::Dirs);
    host.assert_clean();
}

/// A store in memory, from which the kernel mounts no files: layers become directories, and that is
/// told once for each image.
#[test]
fn a_file_system_that_cannot_gets_directories_and_a_note() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let place = host.path("memory");
    std::fs::create_dir(&place).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "none"])
        .arg(&place)
        .status()
        .unwrap();
    if !mounted.success() {
        eprintln!("SKIPPED: tmpfs cannot be mounted");
        return;
    }
    let notes = Arc::new(Mutex::new(Vec::new()));
    let outcome = load_in_memory(&host, &place, &notes);
    assert!(
        Command::new("umount")
            .arg("-l")
            .arg(&place)
            .status()
            .unwrap()
            .success()
    );
    outcome.unwrap();
    assert_eq!(notes.lock().unwrap().len(), 1, "{notes:?}");
}

fn load_in_memory(
    host: &Host,
    place: &Path,
    notes: &Arc<Mutex<Vec<String>>>,
) -> hostrun_image_store::Result<()> {
    let store = hostrun_image_store::Store::open(place)?;
    store.set_driver(DriverName::Erofs)?;
    let tars = [
        Tar::new().file("a", b"1").end(),
        Tar::new().file("b", b"2").end(),
    ];
    let layers: Vec<Layer> = tars.iter().map(|tar| Layer::gzip(tar)).collect();
    let layout = Layout::with_image(&host.path("image"), &layers);
    let hear = Arc::clone(notes);
    let options = LoadOptions::default().with_progress(move |progress| {
        if let Progress::Note { text } = progress {
            hear.lock().unwrap().push((*text).to_owned());
        }
    });
    let source: Source = layout.source();
    store.load(&source, &options)?;
    let found: Vec<PathBuf> = std::fs::read_dir(place.join("store/layers"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(found.len() == 2 && found.iter().all(|layer| layer.join("fs").is_dir()));
    Ok(())
}

#[derive(Debug, Clone)]
struct Wish {
    kind: EntryType,
    name: String,
    target: String,
    mode: u32,
    data: usize,
}

fn wish() -> impl Strategy<Value = Wish> {
    let part = || prop::sample::select(vec!["a", "b", "c", "d", ".wh.a", ".wh.b", ".wh..wh..opq"]);
    let path = || prop::collection::vec(part(), 1..4).prop_map(|parts| parts.join("/"));
    let kinds = [
        EntryType::Regular,
        EntryType::Regular,
        EntryType::Directory,
        EntryType::Directory,
        EntryType::Link,
        EntryType::Symlink,
        EntryType::Fifo,
    ];
    let mode = prop::sample::select(vec![0o644, 0o4755, 0o777, 0, 0o1777]);
    (
        prop::sample::select(kinds.to_vec()),
        path(),
        path(),
        mode,
        prop::sample::select(vec![0_usize, 1, 600, 5000]),
    )
        .prop_map(|(kind, name, target, mode, data)| Wish {
            kind,
            name,
            target,
            mode,
            data,
        })
}

fn tar_of(wishes: &[Wish]) -> Vec<u8> {
    let mut tar = Tar::new();
    for wish in wishes {
        let size = if wish.kind == EntryType::Regular {
            wish.data
        } else {
            0
        };
        tar = tar.bent(wish.kind, wish.name.as_bytes(), &vec![b'x'; size], |h| {
            h.set_mode(wish.mode);
            h.as_old_mut().linkname[..wish.target.len()].copy_from_slice(wish.target.as_bytes());
        });
    }
    tar.end()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    /// Two layers of anything: refused by both or the same in both.
    #[test]
    fn any_two_layers_look_the_same_in_both_forms(lower in prop::collection::vec(wish(), 0..10), upper in prop::collection::vec(wish(), 0..10)) {
        if let Some(erofs) = erofs_host() {
            let dirs = Host::new();
            dirs.store.set_driver(DriverName::Dirs).unwrap();
            let layers = [Layer::gzip(&tar_of(&lower)), Layer::gzip(&tar_of(&upper))];
            let layout = Layout::with_image(&dirs.path("image"), &layers);
            match (dirs.load(&layout.source()), erofs.load(&layout.source())) {
                (Ok(plain), Ok(mounted)) => {
                    let seen = |host: &Host, image: &Image| {
                        let all = listing(&root_of(host, image, "c"));
                        // which directories no entry describes is not known here
                        let timeless = |(path, line): (Vec<u8>, String)| {
                            let is_directory = line.starts_with('4');
                            let line = if is_directory { line.split(" time ").next().unwrap().to_owned() } else { line };
                            (path, line)
                        };
                        all.into_iter().map(timeless).collect::<BTreeMap<_, _>>()
                    };
                    prop_assert_eq!(seen(&dirs, &plain[0]), seen(&erofs, &mounted[0]));
                    let verified = erofs.store.verify(true).unwrap();
                    prop_assert!(verified.damages.is_empty());
                }
                (Err(plain), Err(mounted)) => prop_assert_eq!(plain.kind(), mounted.kind()),
                (plain, mounted) => prop_assert!(false, "{:?} {:?}", plain.map(|_| ()), mounted.map(|_| ())),
            }
        }
    }
}
