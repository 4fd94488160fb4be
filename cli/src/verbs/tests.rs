use super::*;

#[test]
fn every_tree_is_sound_and_named_as_its_verb() {
    for verb in VERBS.into_iter().chain([MONITOR, RUNC_RUN]) {
        let command = (verb.command)();
        assert_eq!(command.get_name(), verb.name);
        command.debug_assert();
    }
    tree().debug_assert();
}

#[test]
fn options_end_at_the_image() {
    let words = [
        "run", "-d", "-e", "A=1", "busybox", "-d", "--", "--rm", "-x",
    ]
    .map(OsString::from);
    let args = parse::<run::Run>(Name::Hostrun, &words).unwrap().unwrap();
    assert!(args.detach && !args.rm);
    assert_eq!(args.words, ["busybox", "-d", "--", "--rm", "-x"]);
}

#[test]
fn flags_that_a_bundle_decides_are_refused_beside_one() {
    for flag in [
        "-t",
        "--read-only",
        "-m1g",
        "-eA=1",
        "--privileged",
        "--name=x",
    ] {
        let words = ["run", "--bundle", "/b", flag, "id"].map(OsString::from);
        assert!(parse::<run::Run>(Name::Hostrun, &words).is_err(), "{flag}");
    }
    let words = ["run", "-d", "--bundle", "/b", "--pidfile", "/p", "id"].map(OsString::from);
    assert!(
        parse::<run::Run>(Name::Hostrun, &words)
            .unwrap()
            .unwrap()
            .detach
    );
}

#[test]
fn short_flags_combine_and_h_is_the_host_name() {
    let words = ["run", "-it", "-hweb", "-m", "64m", "-v/a:/b", "img"].map(OsString::from);
    let args = parse::<run::Run>(Name::Hostrun, &words).unwrap().unwrap();
    assert!(args.interactive && args.tty);
    assert_eq!(args.isolation.hostname.as_deref(), Some("web"));
    assert_eq!(args.limits.memory, Some(64 << 20));
    assert_eq!(args.files.volumes.len(), 1);
}

#[test]
fn wrong_calls_are_told_in_one_line_with_code_125() {
    let told = |words: &[&str]| {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        report::Told::of(&parse::<run::Run>(Name::Hostrun, &words).unwrap_err())
    };
    let unknown = told(&["run", "--frob", "img"]);
    assert_eq!(
        (unknown.message.as_str(), unknown.code),
        ("run: unexpected argument '--frob' found", report::USAGE)
    );
    let value = told(&["run", "-m", "lots", "img"]);
    assert!(
        value.message.contains("'lots' is not an amount of memory"),
        "{}",
        value.message
    );
    assert!(value.message.contains("--memory"), "{}", value.message);
    let missing = told(&["run", "-d"]);
    assert_eq!(missing.message, "run: IMAGE is missing");
}
