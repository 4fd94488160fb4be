//! The example for embedders does what it says. `make examples` builds it, as cargo does where all tests
//! are run.
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

use std::process::Command;

use fixture::{Layer, Layout, Tar, is_root};

#[test]
fn the_embedders_example_brings_an_image_in_mounts_it_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layers = [
        Layer::gzip(&Tar::new().dir("./").dir("etc/").file("old", b"x").end()),
        Layer::plain(Tar::new().file("new", b"y").file(".wh.old", b"").end()),
    ];
    let layout = Layout::with_image(&dir.path().join("app"), &layers);
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples/engine");
    assert!(program.exists(), "run `make examples`");
    let out = Command::new(&program)
        .arg(dir.path().join("engine"))
        .arg(format!("oci:{}", layout.dir.display()))
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let mut lines: Vec<&str> = said.lines().collect();
    let done = lines.iter().filter(|line| line.ends_with("bytes is done"));
    assert_eq!(done.count(), 2, "{said}");
    lines.retain(|line| !line.starts_with("layer "));
    let expected = [
        "app:v1 has 2 layers",
        "removable: false",
        "root: etc new",
        "images: 0",
    ];
    assert_eq!(lines, expected);
    for folder in ["layers", "images", "containers", "tmp", "trash"] {
        let left = std::fs::read_dir(dir.path().join("engine/store").join(folder));
        assert_eq!(left.unwrap().count(), 0, "left in {folder}");
    }
}
