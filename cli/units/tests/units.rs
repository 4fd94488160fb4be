//! Files of every kind, the services that are made of them, and what is said of bad ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "tests panic on purpose"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

fn call(words: &[&str], dirs: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hostrun-units"))
        .args(words)
        .env("QUADLET_UNIT_DIRS", dirs)
        .output()
        .unwrap()
}

/// Everything below a directory: a file with its text, a link with what it leads to.
fn tree(dir: &Path, below: &Path, found: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.strip_prefix(below).unwrap().display().to_string();
        if let Ok(target) = fs::read_link(&path) {
            found.push(format!("=== {name} -> {}\n", target.display()));
        } else if path.is_dir() {
            tree(&path, below, found);
        } else {
            found.push(format!(
                "=== {name}\n{}",
                fs::read_to_string(&path).unwrap()
            ));
        }
    }
}

/// Compares, or writes anew what is expected where `HOSTRUN_BLESS` is set.
fn expect(name: &str, text: &str) {
    let own = folder("").parent().unwrap().display().to_string();
    let text = text.replace(&own, "/HERE");
    let file = folder(name);
    if std::env::var_os("HOSTRUN_BLESS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&file).unwrap(), "{name}");
}

#[test]
fn files_become_services_and_links() {
    let to = tempfile::tempdir().unwrap();
    let made = call(&[to.path().to_str().unwrap()], &folder("units"));
    assert!(made.status.success());
    assert_eq!(String::from_utf8(made.stderr).unwrap(), "");
    let mut found = Vec::new();
    tree(to.path(), to.path(), &mut found);
    expect("units.txt", &found.concat());
}

#[test]
fn all_that_is_wrong_is_told_with_file_and_line_and_nothing_is_made() {
    let file = folder("bad/bad.container");
    let checked = call(&["check", file.to_str().unwrap()], &folder("bad"));
    assert_eq!(checked.status.code(), Some(1));
    expect("bad.txt", &String::from_utf8(checked.stdout).unwrap());
    let to = tempfile::tempdir().unwrap();
    let made = call(&[to.path().to_str().unwrap()], &folder("bad"));
    // the boot goes on
    assert!(made.status.success());
    assert!(!made.stderr.is_empty());
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
}

#[test]
fn good_files_are_checked_in_silence_and_bad_ones_do_not_hide_them() {
    let file = folder("units/web.container");
    let checked = call(&["check", file.to_str().unwrap()], Path::new("/nowhere"));
    assert_eq!((checked.status.code(), checked.stdout.len()), (Some(0), 0));
    let both = std::env::join_paths([folder("bad"), folder("units")]).unwrap();
    let to = tempfile::tempdir().unwrap();
    let made = call(&[to.path().to_str().unwrap()], both.as_ref());
    assert!(made.status.success() && !made.stderr.is_empty());
    assert!(to.path().join("web.service").exists());
    assert!(!to.path().join("bad.service").exists());
}

#[test]
fn files_of_kinds_that_are_not_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.kube", "b.build", "c.container"] {
        fs::write(dir.path().join(name), "[Container]\n").unwrap();
    }
    // an empty file hides one of a later directory
    fs::write(dir.path().join("d.container"), "").unwrap();
    let to = tempfile::tempdir().unwrap();
    let made = call(&[to.path().to_str().unwrap()], dir.path());
    let said = String::from_utf8(made.stderr).unwrap();
    for name in ["a.kube: ", "b.build: ", "c.container: no image"] {
        assert!(said.contains(name), "{said}");
    }
    assert!(!said.contains("d.container"), "{said}");
}

#[test]
fn first_directory_goes_before_the_others() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |dir: &Path, name: &str, image: &str| {
        fs::write(dir.join(name), format!("[Container]\nImage={image}\n")).unwrap();
    };
    write(first.path(), "a.container", "first");
    write(second.path(), "a.container", "second");
    write(second.path(), "b.container", "hidden");
    fs::write(first.path().join("b.container"), "").unwrap();
    let dirs = std::env::join_paths([first.path(), second.path()]).unwrap();
    let to = tempfile::tempdir().unwrap();
    call(&[to.path().to_str().unwrap()], dirs.as_ref());
    let text = fs::read_to_string(to.path().join("a.service")).unwrap();
    assert!(text.contains(" first\n"), "{text}");
    assert!(!to.path().join("b.service").exists());
}
