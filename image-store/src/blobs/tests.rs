use super::*;

#[test]
fn member_names_stay_inside() {
    assert_eq!(clean("./a//b/../c").as_deref(), Some("a/c"));
    for name in ["", ".", "..", "a/../..", "/etc/passwd", "a/../../b"] {
        assert_eq!(clean(name), None, "{name:?}");
    }
}

#[test]
fn links_between_members_are_followed_inside_only() {
    let members = BTreeMap::from([
        (
            "a/layer.tar".to_owned(),
            Member::Data {
                offset: 512,
                size: 7,
            },
        ),
        (
            "b/layer.tar".to_owned(),
            Member::Symlink("../a/layer.tar".to_owned()),
        ),
        ("c".to_owned(), Member::HardLink("b/layer.tar".to_owned())),
        (
            "out".to_owned(),
            Member::Symlink("../etc/passwd".to_owned()),
        ),
        ("abs".to_owned(), Member::Symlink("/a/layer.tar".to_owned())),
        ("loop".to_owned(), Member::Symlink("loop".to_owned())),
    ]);
    assert_eq!(find(&members, "c").unwrap(), (512, 7));
    for name in ["out", "abs", "loop", "none"] {
        assert!(find(&members, name).is_err(), "{name}");
    }
}
