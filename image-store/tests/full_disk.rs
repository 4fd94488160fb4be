//! A full disk, out of bytes or inodes, at every size up to enough.
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
use std::process::Command;

use fixture::{Layer, Layout, Tar, assert_one_line, is_root};
use hostrun_image_store::{ErrorKind, LoadOptions, Store};

const INSIDE: &str = "full_disk_inside";

/// Runs the test below in a mount namespace of its own, on a small file system each time.
#[test]
fn full_disk_is_one_clear_line_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    for kind in ["tmpfs", "ext4"] {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "mount --make-rprivate / && export HOSTRUN_TEST_DIR={0} HOSTRUN_TEST_FS={1} && exec \"$@\"",
            dir.path().display(),
            kind
        );
        let own = std::env::current_exe().unwrap();
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", &script, "sh"])
            .arg(own)
            .args(["--exact", INSIDE, "--ignored", "--nocapture"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{kind}: {text}");
        eprintln!("{text}");
    }
}

fn run(words: &[&str]) -> bool {
    let output = Command::new(words[0]).args(&words[1..]).output();
    output.is_ok_and(|output| output.status.success())
}

/// Mounts `size` KiB with so many inodes on `at`.
fn mount(kind: &str, dir: &str, at: &str, size: usize, inodes: usize) {
    if kind == "tmpfs" {
        let options = format!("size={size}k,nr_inodes={inodes}");
        assert!(run(&["mount", "-t", "tmpfs", "-o", &options, "tmpfs", at]));
        return;
    }
    let image = format!("{dir}/disk");
    let (blocks, nodes) = (size.to_string(), inodes.to_string());
    let made = [
        "mkfs.ext4",
        "-q",
        "-F",
        "-m",
        "0",
        "-b",
        "1024",
        "-N",
        &nodes,
        "-O",
        "^has_journal",
        &image,
        &blocks,
    ];
    assert!(run(&made), "mkfs.ext4");
    assert!(run(&["mount", "-o", "loop", &image, at]), "mount -o loop");
}

#[test]
#[ignore = "started by the test above, in a mount namespace of its own"]
fn full_disk_inside() {
    let dir = std::env::var("HOSTRUN_TEST_DIR").unwrap();
    let kind = std::env::var("HOSTRUN_TEST_FS").unwrap();
    // Bytes that do not compress, so that the check beforehand does not answer for all.
    let noise: Vec<u8> = (0..300_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let mut one = Tar::new();
    for n in 0..40 {
        one = one
            .dir(&format!("d{n}/"))
            .file(&format!("d{n}/f"), &noise[..20_000]);
    }
    let two = Tar::new().file("big", &noise);
    let layers = [Layer::gzip(&one.end()), Layer::zstd(&two.end())];
    let layout = Layout::with_image(&Path::new(&dir).join("image"), &layers);
    let at = format!("{dir}/mnt");
    std::fs::create_dir(&at).unwrap();
    let sizes = (600..2900).step_by(100).map(|size| (size, 400));
    let nodes = (30..130).step_by(5).map(|inodes| (8000, inodes));
    let (mut full, mut fine) = (0, 0);
    for (size, inodes) in sizes.chain(nodes) {
        mount(&kind, &dir, &at, size, inodes);
        match one_disk(Path::new(&at), &layout) {
            Some(ErrorKind::NoSpace) => full += 1,
            None => fine += 1,
            other => unreachable!("{size} KiB, {inodes} inodes: {other:?}"),
        }
        assert!(run(&["umount", &at]));
    }
    eprintln!("{kind}: {full} full disks, {fine} large enough");
    assert!(full > 10 && fine > 2);
}

fn one_disk(at: &Path, layout: &Layout) -> Option<ErrorKind> {
    let store = match Store::open(at) {
        Ok(store) => store,
        Err(error) => return Some(error.kind()),
    };
    let outcome = store.load(&layout.source(), &LoadOptions::default());
    store.empty_trash().unwrap();
    for name in ["tmp", "trash"] {
        assert_eq!(
            std::fs::read_dir(at.join("store").join(name))
                .unwrap()
                .count(),
            0,
            "{name}"
        );
    }
    let images = store.images().unwrap();
    let layers = std::fs::read_dir(at.join("store/layers")).unwrap().count();
    match outcome {
        Ok(_) => {
            assert_eq!((images.len(), layers), (1, 2));
            let removed = store.remove("image:v1").unwrap();
            assert_eq!(removed.layers.len(), 2);
            None
        }
        Err(error) => {
            assert_one_line(&error);
            assert_eq!((images.len(), layers), (0, 0), "{error}");
            Some(error.kind())
        }
    }
}
