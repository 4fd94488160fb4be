use super::attributes::{
    ATIME, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RELATIME, STRICTATIME,
};
use super::*;

fn of(options: &[&str]) -> Options {
    parse(&options.iter().map(ToString::to_string).collect::<Vec<_>>())
}

#[test]
fn later_options_win() {
    let own = of(&["ro", "nosuid", "rw"]).own;
    assert_eq!(own.of_new(), NOSUID);
    assert_eq!(own.of_locked_bind().clear & RDONLY, RDONLY);
}

#[test]
fn a_bare_bind_keeps_all_flags_and_one_that_names_any_clears_the_others() {
    assert!(of(&["bind", "rprivate"]).own.of_bind().is_empty());
    let cleared = RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW;
    for (options, set) in [
        (["bind", "dev"], 0),
        (["bind", "sync"], 0),
        (["bind", "ro"], RDONLY),
    ] {
        let expected = Attributes {
            set,
            clear: cleared & !set,
        };
        assert_eq!(of(&options).own.of_bind(), expected, "{options:?}");
    }
}

#[test]
fn where_flags_are_locked_only_those_named_are_cleared() {
    let own = of(&["bind", "rw", "nosuid"]).own;
    let expected = Attributes {
        set: NOSUID,
        clear: RDONLY | NOSYMFOLLOW,
    };
    assert_eq!(own.of_locked_bind(), expected);
}

#[test]
fn access_times_are_kept_until_a_mode_is_named() {
    for kept in ["atime", "norelatime", "nostrictatime", "diratime"] {
        assert_eq!(
            of(&["bind", kept]).own.of_bind().clear & (ATIME | NODIRATIME),
            0,
            "{kept}"
        );
    }
    // mount_setattr(2) wants the field cleared whole, the bit that is set included.
    for (options, set) in [
        (["noatime", ""], NOATIME),
        (["relatime", ""], RELATIME),
        (["nodiratime", ""], NODIRATIME),
        (["nodiratime", "norelatime"], NODIRATIME),
        (["nodiratime", "strictatime"], NODIRATIME | STRICTATIME),
        (["noatime", "strictatime"], STRICTATIME),
    ] {
        let bind = of(&options).own.of_bind();
        assert_eq!(bind.set, set, "{options:?}");
        assert_eq!(bind.clear & ATIME, ATIME, "{options:?}");
    }
}

#[test]
fn recursive_forms_act_on_the_tree() {
    let options = of(&["rbind", "rro", "rnosuid", "rprivate", "rw", "shared"]);
    assert_eq!(options.bind, Some(true));
    assert_eq!(options.tree.set, RDONLY | NOSUID);
    assert_eq!(options.own.of_locked_bind().clear & RDONLY, RDONLY);
    let private = libc::MS_PRIVATE | libc::MS_REC;
    assert_eq!(options.propagation, [private, libc::MS_SHARED]);
}

#[test]
fn recursive_access_times_replace_the_whole_field() {
    for (option, set) in [
        ("rnoatime", NOATIME),
        ("rstrictatime", STRICTATIME),
        ("rrelatime", RELATIME),
        ("ratime", RELATIME),
        ("rnostrictatime", RELATIME),
        ("rnorelatime", RELATIME),
    ] {
        assert_eq!(
            of(&[option]).tree,
            Attributes { set, clear: ATIME },
            "{option}"
        );
    }
}

#[test]
fn what_is_not_a_flag_is_data_for_the_file_system() {
    let options = of(&[
        "mode=755",
        "size=64k",
        "newinstance",
        "idmap",
        "sync",
        "nosync",
        "async",
    ]);
    assert_eq!(
        options.data,
        [
            ("mode".into(), "755".into()),
            ("size".into(), "64k".into()),
            ("newinstance".into(), String::new()),
            ("nosync".into(), String::new())
        ]
    );
    assert_eq!(options.idmap, Some(Idmap::One));
    assert!(options.superblock.is_empty());
}
