use super::*;
use crate::report;

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

/// What engines and scripts call the verbs of an OCI runtime with; the one without a verb before it is the verb itself.
const CALLS: [&str; 30] = [
    "create --bundle B --pid-file F --console-socket S --no-pivot ID",
    "create --bundle B --pid-file F --preserve-fds 3 --no-new-keyring ID",
    "create ID -b B --pidfd-socket S",
    "start ID",
    "state ID",
    "exec --process F --console-socket S --detach --pid-file F ID",
    "exec --pid-file F --process F --detach --tty --console-socket S --preserve-fds 2 ID",
    "exec -t -e A=B --user 1:2 -g 3 -g 4 --cwd / --cap CAP_KILL --no-new-privs ID sh -c -x",
    "exec --cgroup cpu:a --cgroup b --ignore-paused --apparmor P --process-label L ID true",
    "kill ID 15",
    "kill ID SIGTERM",
    "kill --all ID 9",
    "kill -a ID KILL",
    "delete ID",
    "delete --force ID",
    "delete ID -f",
    "pause ID",
    "resume ID",
    "ps --format json ID",
    "ps ID -e -x",
    "ps ID -aux",
    "list -q",
    "list -f json",
    "update --resources=- ID",
    "update --resources=F ID",
    "update ID --cpu-quota -1 --memory -1 --pids-limit -1",
    "events --stats ID",
    "events --interval 100ms ID",
    "spec --bundle B --rootless",
    "features",
];

#[test]
fn every_call_of_an_engine_is_understood_by_both_names() {
    for call in CALLS {
        let words: Vec<OsString> = call.split_whitespace().map(OsString::from).collect();
        for name in [Name::Hostrun, Name::Runc] {
            let verb = find(&words, name).unwrap();
            let parsed = (verb.command)().try_get_matches_from(&words);
            assert!(parsed.is_ok(), "{name:?} {call}: {parsed:?}");
        }
    }
}

#[test]
fn run_is_of_images_by_one_name_and_of_bundles_by_the_other() {
    let words: Vec<OsString> = ["run", "-d", "--keep", "--no-subreaper", "ID"]
        .map(OsString::from)
        .into();
    let args = parse::<bundles::RuncRun>(Name::Runc, &words)
        .unwrap()
        .unwrap();
    assert!(args.detach && args.keep && args.id == "ID");
    assert!(find(&words, Name::Runc).unwrap().group == Group::Bundles);
    assert!(find(&words, Name::Hostrun).unwrap().group == Group::Containers);
    let images = ["images".into()];
    assert!(find(&images, Name::Runc).is_none() && find(&images, Name::Hostrun).is_some());
}

/// What the generator of services writes is what we read.
#[test]
fn every_command_of_a_generated_service_is_one_of_ours() {
    let services = include_str!("../../units/tests/units.txt");
    let values = services.lines().filter(|line| line.starts_with("Exec"));
    let values = values.filter_map(|line| line.split_once('='));
    let mut seen = Vec::new();
    for (_, value) in values {
        let words = hostrun_units::split(value.trim_start_matches('-')).unwrap();
        if words[0] != "/usr/bin/hostrun" {
            continue;
        }
        let verb = VERBS
            .into_iter()
            .find(|verb| verb.name == words[1])
            .unwrap();
        let parsed = (verb.command)().try_get_matches_from(&words[1..]);
        assert!(parsed.is_ok(), "{words:?}: {parsed:?}");
        seen.push(verb.name);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, ["health", "kill", "pull", "rm", "run", "tag"]);
}
