//! Names that belong to versions of the system: each has its own again when it runs again.
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

use std::fs::read_link;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use fixture::{Host, Tar, is_root};
use hostrun_image_store::{ErrorKind, Image};

fn load(host: &Host, text: &str) -> Image {
    let tar = Tar::new().file("version", text.as_bytes()).end();
    host.load_tar("app", tar).unwrap().remove(0)
}

fn store(host: &Host, name: &str) -> PathBuf {
    host.path("lib/store").join(name)
}

/// What `app:v1` means.
fn now(host: &Host) -> String {
    host.store.resolve("app:v1").unwrap().id().to_string()
}

fn link(host: &Host, version: &str) -> Option<String> {
    let path = store(host, &format!("generations/systems/{version}"));
    read_link(path)
        .ok()
        .map(|to| to.to_str().unwrap().to_owned())
}

#[test]
fn names_go_with_the_version_that_gave_them() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let one = load(&host, "1");
    let first = host.store.follow("A").unwrap().unwrap();
    assert_eq!((first.number, first.left, first.back), (1, None, false));
    assert!(host.store.follow("A").unwrap().is_none());
    // a new version begins with the names there are, and gives its own
    let second = host.store.follow("B").unwrap().unwrap();
    assert_eq!(second.left, Some(("A".to_owned(), 1)));
    assert!(!second.back);
    let two = load(&host, "2");
    assert_eq!(now(&host), two.id().to_string());
    // back, and forth
    let back = host.store.follow("A").unwrap().unwrap();
    assert_eq!((back.number, back.back), (1, true));
    assert_eq!(now(&host), one.id().to_string());
    let systems = |number: usize| host.store.generations().unwrap()[number].systems.clone();
    assert_eq!(
        (systems(0), systems(1)),
        (vec!["A".to_owned()], vec!["B".to_owned()])
    );
    host.store.follow("B").unwrap().unwrap();
    assert_eq!(now(&host), two.id().to_string());
    assert!(host.store.verify(true).unwrap().damages.is_empty());
    host.assert_clean();
}

#[test]
fn what_another_version_names_stays_whatever_is_removed() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let one = load(&host, "1");
    host.store.follow("A").unwrap();
    host.store.follow("B").unwrap();
    // the same generation still: its last name goes, the image does not
    let removed = host.store.remove("app:v1").unwrap();
    assert_eq!((removed.untagged.len(), removed.image), (1, None));
    for n in 0..20 {
        load(&host, &format!("{n} of B"));
    }
    let refused = host.store.remove(&one.id().to_string()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InUse);
    host.store.prune(true).unwrap();
    host.store.follow("A").unwrap().unwrap();
    assert_eq!(now(&host), one.id().to_string());
    assert!(host.store.verify(true).unwrap().damages.is_empty());
}

#[test]
fn no_names_at_all_are_gone_back_to_as_well() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    host.store.follow("A").unwrap();
    host.store.follow("B").unwrap();
    load(&host, "1");
    host.store.follow("A").unwrap().unwrap();
    assert!(host.store.resolve("app:v1").is_err());
    host.store.follow("B").unwrap().unwrap();
    assert!(host.store.resolve("app:v1").is_ok());
}

/// Whatever step the power was cut behind, the same steps again come to the same end.
#[test]
fn a_cut_between_two_links_is_nothing() {
    if !is_root() {
        return;
    }
    for (cut, next) in [(1, "A"), (1, "B"), (2, "A"), (2, "B")] {
        let host = Host::new();
        load(&host, "1");
        host.store.follow("A").unwrap();
        host.store.follow("B").unwrap();
        load(&host, "2");
        let (a, b) = ("1", "2");
        // B runs, and A is gone back to: its first link is there, then its second, but not its third
        let set = |name: &str, to: &str| {
            let path = store(&host, &format!("generations/{name}"));
            std::fs::remove_file(&path).unwrap();
            symlink(to, path).unwrap();
        };
        set("systems/B", &format!("../{b}"));
        if cut == 2 {
            set("current", a);
        }
        host.store.follow(next).unwrap().unwrap();
        let here = host.store.generations().unwrap();
        let here = here.iter().find(|one| one.current).unwrap().number;
        assert_eq!(here.to_string(), if next == "A" { a } else { b }, "{cut}");
        let other = if next == "A" { ("B", b) } else { ("A", a) };
        assert_eq!(link(&host, next).unwrap(), "../current");
        assert_eq!(link(&host, other.0).unwrap(), format!("../{}", other.1));
    }
}

#[test]
fn versions_that_were_left_long_ago_are_forgotten() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    for version in ["1", "2", "3", "4", "5"] {
        host.store.follow(version).unwrap();
    }
    let there = ["1", "2", "3", "4", "5"].map(|version| link(&host, version).is_some());
    assert_eq!(there.iter().filter(|there| **there).count(), 3);
    assert!(there[3] && there[4]);
}

#[test]
fn what_is_damaged_is_told_and_the_last_whole_names_hold() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let one = load(&host, "1");
    host.store.follow("A").unwrap();
    host.store.follow("B").unwrap();
    load(&host, "2");
    std::fs::write(store(&host, "generations/2"), "{").unwrap();
    assert!(host.store.resolve("app:v1").is_err());
    // the version that runs anyway is given the names before
    let mended = host.store.follow("B").unwrap().unwrap();
    assert_eq!((mended.number, mended.damage.len()), (1, 1));
    assert_eq!(now(&host), one.id().to_string());
    assert!(host.store.follow("B").unwrap().is_none());
    // and one whose own are gone keeps what there is
    let three = load(&host, "3");
    std::fs::write(store(&host, "generations/1"), "{").unwrap();
    let kept = host.store.follow("A").unwrap().unwrap();
    assert_eq!((kept.back, kept.damage.len()), (false, 1));
    assert_eq!(now(&host), three.id().to_string());
    assert!(host.store.follow("A").unwrap().is_none());
    // what is repaired is whole, and one that another version would go back to is gone, and told
    std::fs::write(store(&host, "generations/3"), "{").unwrap();
    let found = host.store.verify(false).unwrap();
    assert!(!found.damages.is_empty());
    host.store.repair(&found).unwrap();
    assert!(host.store.verify(true).unwrap().damages.is_empty());
    host.store.collect().unwrap();
    let told = host.store.follow("B").unwrap().unwrap();
    assert_eq!((told.back, told.damage.len()), (false, 1));
}

#[test]
fn only_versions_are_versions() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let long = "x".repeat(65);
    for bad in [
        "", ".", "..", ".a", "a/b", "a b", "../x", "a\n", "\u{e4}", &long,
    ] {
        let error = host.store.follow(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad:?}");
    }
    host.store.follow("1.2-3_a+b~c^d").unwrap();
}
