//! That the usual forms mean here what they mean to the whole tree.

use super::*;
use clap::Parser;
use proptest::prelude::*;
use std::fmt::Debug;

/// Words from which every form of these verbs, right or wrong, can be put together.
const WORDS: [&str; 44] = [
    "ID",
    "x",
    "-",
    "--",
    "",
    "9",
    "KILL",
    "-9",
    "3",
    "+3",
    "/b",
    "--force",
    "-f",
    "-a",
    "--all",
    "-s",
    "--signal",
    "--signal=9",
    "-s9",
    "--bundle",
    "--bundle=/b",
    "-b",
    "-b=/b",
    "--pid-file",
    "--pidfile=F",
    "--preserve-fds",
    "--preserve-fds=2",
    "--console-socket",
    "--no-pivot",
    "--no-new-keyring",
    "-d",
    "--detach",
    "--keep",
    "--no-subreaper",
    "--rm",
    "-t",
    "-it",
    "--name=n",
    "--process",
    "--cwd",
    "-u",
    "--help",
    "--config",
    "--frob",
];

/// What is read plainly is what the tree reads.
fn agrees<T: Plain + Parser + Debug>(verb: &str, rest: &[&str]) -> bool {
    let words: Vec<OsString> = [verb].iter().chain(rest).map(OsString::from).collect();
    let Some(plain) = T::plain(&words) else {
        return false;
    };
    let tree = T::try_parse_from(&words).unwrap();
    assert_eq!(format!("{plain:?}"), format!("{tree:?}"), "{words:?}");
    true
}

#[test]
fn the_forms_that_engines_use_are_plain() {
    assert!(agrees::<State>("state", &["ID"]));
    assert!(agrees::<Start>("start", &["ID"]));
    assert!(agrees::<Kill>("kill", &["--all", "ID", "9"]));
    assert!(agrees::<Delete>("delete", &["--force", "ID"]));
    let create = "--bundle B --pid-file F --console-socket S ID";
    let create: Vec<&str> = create.split(' ').collect();
    assert!(agrees::<Create>("create", &create));
    assert!(agrees::<RuncRun>("run", &["-d", "-b", "B", "ID"]));
    assert!(agrees::<Run>("run", &["--bundle", "B", "ID"]));
    assert!(agrees::<Run>(
        "run",
        &["--rm", "image", "sh", "-c", "--", "-x"]
    ));
    let exec = "--process F --detach --pid-file F ID";
    assert!(agrees::<Exec>("exec", &exec.split(' ').collect::<Vec<_>>()));
    assert!(agrees::<Exec>("exec", &["-t", "ID", "sh", "-l"]));
}

#[test]
fn what_is_wrong_is_left_to_the_tree() {
    for rest in [
        &[][..],
        &["a", "b"],
        &["--help"],
        &["--", "ID"],
        &["-x", "ID"],
        &[""],
    ] {
        assert!(!agrees::<State>("state", rest), "{rest:?}");
    }
}

proptest! {
    #[test]
    fn nothing_is_read_otherwise_than_the_tree_reads_it(
        rest in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..6)
    ) {
        agrees::<State>("state", &rest);
        agrees::<Delete>("delete", &rest);
        agrees::<Kill>("kill", &rest);
        agrees::<Create>("create", &rest);
        agrees::<RuncRun>("run", &rest);
        agrees::<Run>("run", &rest);
        agrees::<Exec>("exec", &rest);
    }
}
