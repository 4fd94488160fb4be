//! Whatever a tar says, nothing outside the layer's directory changes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Cursor;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use proptest::prelude::*;
use tar::{EntryType, Header};

use super::unpack;
use crate::limits::Limits;
use crate::store::Seat;
use crate::tape::{EntryStream, Streamed};
use crate::unpack::Site;

#[derive(Debug, Clone)]
struct Wish {
    kind: u8,
    name: String,
    target: String,
    mode: u32,
    data: usize,
}

fn append(tar: &mut Vec<u8>, wish: &Wish) {
    let mut header = Header::new_gnu();
    let kind = EntryType::new(wish.kind);
    let size = if kind.is_file() { wish.data } else { 0 };
    header.set_entry_type(kind);
    header.set_mode(wish.mode);
    header.set_uid(1000);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(size as u64);
    header.set_device_major(1).unwrap();
    header.set_device_minor(3).unwrap();
    let old = header.as_old_mut();
    for (field, text) in [
        (&mut old.name, &wish.name),
        (&mut old.linkname, &wish.target),
    ] {
        let text = text.as_bytes();
        let length = text.len().min(field.len());
        field[..length].copy_from_slice(&text[..length]);
    }
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.resize(tar.len() + size, b'x');
    tar.resize(tar.len().next_multiple_of(512), 0);
}

fn path() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a",
        "b",
        "c",
        "..",
        ".",
        "",
        ".wh.a",
        ".wh.b",
        ".wh..wh..opq",
        "OUTSIDE",
    ]);
    (prop::collection::vec(part, 1..5), any::<bool>()).prop_map(|(parts, absolute)| {
        let path = parts.join("/");
        if absolute { format!("/{path}") } else { path }
    })
}

fn wish() -> impl Strategy<Value = Wish> {
    let kind = prop::sample::select(b"00005551223".to_vec());
    let mode = prop::sample::select(vec![0o644, 0o4755, 0o777, 0, 0o1777]);
    let data = prop::sample::select(vec![0, 1, 600]);
    (kind, path(), path(), mode, data).prop_map(|(kind, name, target, mode, data)| Wish {
        kind,
        name,
        target,
        mode,
        data,
    })
}

/// Everything a layer could have changed on what is not its own.
fn outside(dir: &Path) -> String {
    let mut text = String::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let stat = std::fs::symlink_metadata(&path).unwrap();
        let (mode, uid, links) = (stat.mode(), stat.uid(), stat.nlink());
        writeln!(
            text,
            "{path:?} {mode:o} {uid} {links} {} {}",
            stat.mtime(),
            stat.mtime_nsec()
        )
        .unwrap();
        if stat.is_dir() {
            let mut names: Vec<_> = std::fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            names.sort();
            todo.extend(names);
        } else {
            writeln!(text, "{:?}", std::fs::read(&path).unwrap()).unwrap();
        }
    }
    text
}

fn stays_inside(wishes: &[Wish]) {
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let (canary, layer, scrap) = (make("outside"), make("layer"), make("scrap"));
    std::fs::create_dir(canary.join("a")).unwrap();
    for name in ["b", "a/b", "c"] {
        std::fs::write(canary.join(name), "canary").unwrap();
    }
    let before = outside(&canary);
    let open = |path: &Path| std::fs::File::open(path).unwrap();
    let root = open(&layer);
    let put = |tar: Vec<u8>, number: usize| {
        let scraps = scrap.join(number.to_string());
        std::fs::create_dir(&scraps).unwrap();
        let limits = Limits::default();
        let scrap = open(&scraps);
        let site = Site {
            root: root.as_fd(),
            scrap: scrap.as_fd(),
            seat: Seat::CALLERS,
        };
        unpack(&mut Streamed(Cursor::new(tar)), site, &limits).ok();
    };
    let mut whole = Vec::new();
    for (number, wish) in wishes.iter().enumerate() {
        let mut wish = wish.clone();
        let real = canary.to_str().unwrap();
        wish.name = wish.name.replace("OUTSIDE", "../../outside");
        wish.target = wish
            .target
            .replace("/OUTSIDE", real)
            .replace("OUTSIDE", "../outside");
        append(&mut whole, &wish);
        // Each on its own as well: a refused entry must not shield the next one.
        let mut single = Vec::new();
        append(&mut single, &wish);
        put(single, number);
    }
    put(whole, wishes.len());
    assert_eq!(outside(&canary), before, "{wishes:?}");
    let mut names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["layer", "outside", "scrap"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn hostile_layers_never_leave_their_directory(wishes in prop::collection::vec(wish(), 1..14)) {
        if rustix::process::geteuid().is_root() {
            stays_inside(&wishes);
        } else {
            eprintln!("SKIPPED: this test needs root");
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let mut tape = Streamed(Cursor::new(bytes));
        let mut stream = EntryStream::new(&mut tape);
        while let Ok(Some(_)) = stream.next_entry() {}
    }

    #[test]
    fn bent_archives_never_panic(
        wishes in prop::collection::vec(wish(), 1..6),
        bends in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        seal: bool,
    ) {
        let mut tar = Vec::new();
        for wish in &wishes {
            append(&mut tar, wish);
        }
        for (index, byte) in bends {
            let at = index.index(tar.len());
            tar[at] = byte;
        }
        if seal {
            // Make the checksums fit again, so that what is behind them is reached.
            for block in tar.chunks_exact_mut(512) {
                let mut header = Header::new_old();
                header.as_mut_bytes().copy_from_slice(block);
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
        }
        let mut tape = Streamed(Cursor::new(tar));
        let mut stream = EntryStream::new(&mut tape);
        let mut seen = BTreeMap::new();
        while let Ok(Some(entry)) = stream.next_entry() {
            prop_assert!(!entry.path.is_empty());
            seen.insert(entry.path, stream.position());
        }
    }
}
